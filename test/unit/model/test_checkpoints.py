"""Official checkpoints: resumable, atomic and checked downloads, and strict loading."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch

from helpers.process import ROOT, wait_for
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
    """A server of ``CONTENT``; ``cut`` ends responses early, ``ranges`` permits range requests."""

    cut: int | None = None
    ranges = True
    content = CONTENT
    may_go_on: Event | None = None  # what a response waits for after its first bytes

    def __init__(self) -> None:
        self.asked: list[str | None] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """One response."""

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
        if self.server.may_go_on is not None:
            self.wfile.write(body[:1000])
            self.wfile.flush()
            assert self.server.may_go_on.wait(60)
            body = body[1000:]
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serve a small file in place of the tiny checkpoint, with an empty cache."""
    server = Server()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(checkpoints.SOURCE_VARIABLE, f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv(checkpoints.CACHE_VARIABLE, str(tmp_path / "cache"))
    digest = hashlib.sha256(CONTENT).hexdigest()
    monkeypatch.setitem(OFFICIAL, NAME, OfficialWeights(f"{NAME}.pt", digest, len(CONTENT)))
    yield server
    server.shutdown()


def test_checkpoints_are_downloaded_once(server: Server, tmp_path: Path) -> None:
    path = fetch_official(NAME)
    assert path == tmp_path / "cache" / f"{NAME}.pt" and path.read_bytes() == CONTENT
    assert fetch_official(NAME) == path and len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("ranges", [True, False])
def test_interrupted_downloads_are_resumed(server: Server, ranges: bool) -> None:
    server.cut, server.ranges = 1_200_000, ranges
    with pytest.raises(ConnectionError, match="start again"):
        fetch_official(NAME)
    server.cut = None
    assert fetch_official(NAME).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-"]


def test_complete_partial_files_are_used(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{NAME}.part").write_bytes(CONTENT)
    assert fetch_official(NAME).read_bytes() == CONTENT


def test_other_contents_are_refused_and_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match="SHA-256"):
        fetch_official(NAME)
    assert not list((tmp_path / "cache").iterdir())


def test_damaged_files_in_the_cache_are_named_not_deleted(server: Server, tmp_path: Path) -> None:
    path = fetch_official(NAME)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=f"{path}.*delete it"):
        fetch_official(NAME)
    assert path.exists()


def test_failed_downloads_name_the_place_to_put_the_file(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(checkpoints.SOURCE_VARIABLE, "http://127.0.0.1:9/")
    with pytest.raises(ConnectionError, match=str(tmp_path / "cache" / f"{NAME}.pt")):
        fetch_official(NAME)


@pytest.mark.faults
def test_processes_that_fetch_the_same_file_wait_for_each_other(server: Server, tmp_path: Path) -> None:
    command = (
        "from pathlib import Path; from panosam2_ros.io.download import download;"
        f"download('http://127.0.0.1:{server.server_port}/x', Path('{tmp_path}/cache/x.pt'),"
        f" '{hashlib.sha256(CONTENT).hexdigest()}', size={len(CONTENT)})"
    )
    server.may_go_on = Event()
    processes = [
        subprocess.Popen([sys.executable, "-c", command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    wait_for(lambda: len(server.asked) > 0, 60)
    server.may_go_on.wait(2.0)  # the others come to the lock meanwhile
    server.may_go_on.set()
    said = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert len(server.asked) == 1 and (tmp_path / "cache" / "x.pt").read_bytes() == CONTENT
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["x.pt"]


def test_a_fetch_that_fails_leaves_the_file_to_the_next(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with monkeypatch.context() as unreachable:
            unreachable.setenv(checkpoints.SOURCE_VARIABLE, "http://127.0.0.1:9/")
            with pytest.raises(ConnectionError):
                fetch_official(NAME)
        assert not list((tmp_path / "cache").iterdir())
    assert fetch_official(NAME).read_bytes() == CONTENT


def test_edgetam_has_a_source_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(checkpoints, "download", lambda url, *_, **__: asked.append(url))
    monkeypatch.setenv(checkpoints.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.delenv(checkpoints.SOURCE_VARIABLE, raising=False)
    assert fetch_official("edgetam") == tmp_path / "edgetam.pt"
    fetch_official(NAME)
    monkeypatch.setenv(checkpoints.SOURCE_VARIABLE, "http://mirror/")
    fetch_official("edgetam")
    folder = "https://huggingface.co/facebook/EdgeTAM/resolve/"
    assert re.fullmatch(rf"{re.escape(folder)}[0-9a-f]{{40}}/edgetam\.pt", asked[0])
    assert asked[1:] == [f"{checkpoints.SOURCE}{NAME}.pt", "http://mirror/edgetam.pt"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the tiny network in the official format."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "mine.pt"
    torch.save({"model": PanoSAM2(official_config(NAME, *OFFICIAL_SIZE)).state_dict()}, path)
    return path


def test_build_model_recognises_the_network_of_a_checkpoint(checkpoint: Path) -> None:
    model = build_model(str(checkpoint), device="cpu")
    assert model.config.name == NAME and model.input_size == OFFICIAL_SIZE
    assert model.config.wrap and model.config.canonical_yaw


def test_build_model_uses_the_cache(
    server: Server, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "cache" / f"{NAME}.pt"
    cached.parent.mkdir()
    cached.write_bytes(checkpoint.read_bytes())
    digest = hashlib.sha256(cached.read_bytes()).hexdigest()
    monkeypatch.setitem(OFFICIAL, NAME, OfficialWeights(cached.name, digest, None))
    assert build_model(NAME, device="cpu").config.name == NAME
    assert not server.asked


def test_files_of_other_kinds_are_refused(checkpoint: Path, tmp_path: Path) -> None:
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
