"""Files with invented damage: what is read is read, the rest is counted or refused in a bounded message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from helpers.fuzzing import examples
from helpers.videos import write_video
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.image_files import ImageFileError, decode_file
from panosam2_ros.io.video import VideoError

pytestmark = pytest.mark.faults
_LONGEST = 4000  # characters of a message


@st.composite
def damages(draw: Any) -> list[tuple[float, bytes]]:
    """Draw places, as shares of a file, and the bytes written there; without bytes it is cut off there."""
    place = st.floats(0, 1, exclude_max=True)
    return draw(st.lists(st.tuples(place, st.binary(min_size=0, max_size=200)), min_size=1, max_size=4))


def damaged(data: bytes, damage: list[tuple[float, bytes]]) -> bytes:
    """Return a file with damage; a place without bytes cuts it off."""
    for share, written in damage:
        place = int(share * len(data))
        data = data[:place] + written + data[place + len(written) :] if written else data[:place]
    return data


def check_source(path: Path) -> None:
    """Read a source to its end twice: every frame is read or missing, and texts are short."""
    try:
        source = open_frames(path)
        for _ in range(2):
            frames = list(stamped_frames(source))
            assert len(frames) == source.report.read and len(source.report.text) < _LONGEST
            assert {frame.image.shape for frame in frames} <= {(source.height, source.width, 3)}
    except VideoError as error:
        assert 20 < len(str(error)) < _LONGEST


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of sound files by suffix."""
    pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")
    from rosbags.rosbag2 import StoragePlugin

    from helpers.bags import write_bag

    folder = tmp_path_factory.mktemp("sound")
    paths = [
        write_video(folder / f"video{suffix}", range(0, 1500, 100), key_frames=5)
        for suffix in (".mp4", ".mkv")
    ]
    for name, storage in ((".mcap", StoragePlugin.MCAP), (".db3", StoragePlugin.SQLITE3)):
        bag = write_bag(folder / name[1:], "compressed", storage)
        paths += [path for path in bag.iterdir() if path.suffix == name]
    return {path.suffix: path.read_bytes() for path in paths}


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mcap", ".db3"])
@examples(20)
@given(damage=damages())
@example(damage=[(0.0, b"\0" * 40)])
@example(damage=[(0.0, b"")])
@example(damage=[(0.5, b"\xff" * 200)])
def test_damaged_files_never_end_in_another_exception(
    tmp_path: Path, files: dict[str, bytes], suffix: str, damage: list[tuple[float, bytes]]
) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(damaged(files[suffix], damage))
    check_source(path)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@examples(20)
@given(damage=damages())
@example(damage=[(0.0, b"")])
def test_damaged_images_are_decoded_or_refused(suffix: str, damage: list[tuple[float, bytes]]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    data = damaged(cv2.imencode(suffix, pixels)[1].tobytes(), damage)
    try:
        decoded = decode_file(np.frombuffer(data, np.uint8))
    except ImageFileError as error:
        assert 10 < len(str(error)) < _LONGEST
    else:
        assert decoded.ndim == 3 and decoded.dtype == np.uint8 and decoded.shape[2] == 3
