"""Official checkpoints: fetched once, whole or not at all, checked, and read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch

from panosam2_ros.model import checkpoints
from panosam2_ros.model.build import build_model
from panosam2_ros.model.checkpoints import (
    OFFICIAL,
    OFFICIAL_SIZE,
    OfficialWeights,
    fetch_official,
    load_official,
    official_config,
)
from panosam2_ros.model.panosam2 import PanoSAM2

NAME = "sam2.1_hiera_tiny"
CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves ``CONTENT``; ``cut`` ends an answer early, ``ranges`` says whether parts can be had."""

    cut: int | None = None
    ranges = True
    content = CONTENT

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One answer."""

    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        body = self.server.content[start:]
        if not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a small file that passes for the tiny checkpoint, and an empty cache."""
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(checkpoints.SOURCE_VARIABLE, f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv(checkpoints.CACHE_VARIABLE, str(tmp_path / "cache"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(OFFICIAL, NAME, OfficialWeights(f"{NAME}.pt", digest, len(CONTENT)))
    yield server
    server.shutdown()


def test_a_checkpoint_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = fetch_official(NAME)
    assert path == tmp_path / "cache" / f"{NAME}.pt" and path.read_bytes() == CONTENT
    assert fetch_official(NAME) == path and len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(server: Server, ranges: bool) -> None:
    server.cut, server.ranges = 1_200_000, ranges
    with pytest.raises(ConnectionError, match="start again"):
        fetch_official(NAME)
    server.cut = None
    assert fetch_official(NAME).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-"]


def test_a_download_that_was_only_not_renamed_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch_official(NAME).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_kept(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match="SHA-256"):
        fetch_official(NAME)
    assert not list((tmp_path / "cache").iterdir())


def test_a_damaged_file_in_the_cache_is_named_not_deleted(server: Server, tmp_path: Path) -> None:
    path = fetch_official(NAME)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"{path}.*delete it"):
        fetch_official(NAME)
    assert path.exists()


def test_without_a_network_the_place_to_put_the_file_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checkpoints.SOURCE_VARIABLE, "http://127.0.0.1:9/")
    with pytest.raises(ConnectionError, match=str(tmp_path / "cache" / f"{NAME}.pt")):
        fetch_official(NAME)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the tiny network in the official format."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    torch.save({"model": PanoSAM2(official_config(NAME, *OFFICIAL_SIZE)).state_dict()}, path)
    return path


def test_a_checkpoint_says_which_network_it_is(checkpoint: Path) -> None:
    model = build_model(str(checkpoint), "cpu")
    assert model.config.name == NAME and model.input_size == OFFICIAL_SIZE
    assert model.config.wrap and model.config.canonical_yaw


def test_by_name_the_cache_is_used(server: Server, checkpoint: Path, tmp_path: Path,
                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    cached = tmp_path / "cache" / f"{NAME}.pt"
    cached.parent.mkdir()
    cached.write_bytes(checkpoint.read_bytes())
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()
    monkeypatch.setitem(OFFICIAL, NAME, OfficialWeights(cached.name, digest, None))
    assert build_model(NAME, "cpu").config.name == NAME
    assert not server.asked


def test_files_of_other_things_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(checkpoint.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="damaged"):
        load_official(wrong, OFFICIAL_SIZE)
    torch.save({"weights": {}}, wrong)
    with pytest.raises(ValueError, match="under 'model'"):
        load_official(wrong, OFFICIAL_SIZE)
    torch.save({"model": {"a": torch.zeros(1)}}, wrong)
    with pytest.raises(ValueError, match="none of the networks"):
        load_official(wrong, OFFICIAL_SIZE)
    state = torch.load(checkpoint, weights_only=True)["model"]
    del state["no_obj_ptr"]
    torch.save({"model": state}, wrong)
    with pytest.raises(ValueError, match="no_obj_ptr"):
        load_official(wrong, OFFICIAL_SIZE)
    with pytest.raises(FileNotFoundError):
        load_official(tmp_path / "none.pt", OFFICIAL_SIZE)


def test_a_wrap_margin_shows_the_encoder_what_is_across_the_seam_and_is_cut_off_again() -> None:
    torch.manual_seed(1)
    config = replace(official_config(NAME, 64, 128), wrap=False)
    plain = PanoSAM2(config).eval().requires_grad_(False)
    with_margin = PanoSAM2(replace(config, wrap_margin=32)).eval().requires_grad_(False)
    with_margin.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 128) * 255
    found = with_margin.encode_image(image)
    wider = plain.encode_image(torch.cat([image[..., 96:], image, image[..., :32]], -1))
    assert torch.equal(found.embedding, wider.embedding[..., 2:10])
    assert torch.equal(found.high_res_s4, wider.high_res_s4[..., 8:40])
    assert torch.equal(found.high_res_s8, wider.high_res_s8[..., 4:20])
