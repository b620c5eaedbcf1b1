"""Bags as ros2 bag writes them, mcap and sqlite3, with raw and compressed images."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")

from rosbags.rosbag2 import StoragePlugin, Writer

from helpers.bags import PERIOD, START, TYPES, image_message, picture, write_bag
from panosam2_ros.demo.playback import Playback, PlaybackConfig
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.video import VideoError

KINDS = ["raw", "compressed"]


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
@pytest.mark.parametrize("kind", KINDS)
def test_bag_images_have_their_stamps_and_frame_ids(tmp_path: Path, kind: str, storage: Any) -> None:
    path = write_bag(tmp_path / "bag", kind, storage)
    source = open_frames(path)
    assert (source.width, source.height, source.frames) == (64, 32, 6)
    assert source.rate == pytest.approx(5.0, rel=0.02)
    for _ in range(2):  # iterating starts at the first image every time
        found = list(stamped_frames(source))
        assert [frame.stamp for frame in found] == [START + i * PERIOD for i in range(6)]
        assert {frame.frame_id for frame in found} == {"pano_optical_frame"}
        assert all(np.array_equal(frame.image, picture(i)) for i, frame in enumerate(found))


@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_a_file_of_a_bag_opens_the_bag(tmp_path: Path, storage: Any) -> None:
    folder = write_bag(tmp_path / "bag", storage=storage)
    (file,) = (p for p in folder.iterdir() if p.suffix in (".mcap", ".db3"))
    assert open_frames(file).frames == 6


def test_playback_keeps_stamps_and_resizes(tmp_path: Path) -> None:
    bag = str(write_bag(tmp_path / "bag"))
    playback = Playback(PlaybackConfig(bag, width=32, height=16, frames=8, loop=True))
    played = list(playback)
    assert playback.rate == pytest.approx(5.0, rel=0.02)
    assert [p.stamp for p in played] == [START + i % 6 * PERIOD for i in range(8)]
    assert {(p.image.shape, p.frame_id) for p in played} == {((16, 32, 3), "pano_optical_frame")}


@pytest.mark.parametrize(("topic", "reason"), [("/words", "/pano/image.*'/words'"), ("/none", "'/none'")])
def test_missing_topics_are_refused(tmp_path: Path, topic: str, reason: str) -> None:
    path = write_bag(tmp_path / "bag")
    with pytest.raises(VideoError, match=rf"give topic.*{reason}"):
        open_frames(path, topic=topic)
    assert open_frames(path, topic="/pano/image").frames == 6


def test_empty_bags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="has no image; record it again"):
        open_frames(write_bag(tmp_path / "empty", frames=0))


def test_missing_rosbags_is_reported_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, real = write_bag(tmp_path / "bag"), builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("rosbags"):
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(VideoError, match="pip install rosbags"):
        open_frames(path)


def test_bag_rate_is_that_of_the_image_topic(tmp_path: Path) -> None:
    """Another topic begins 10 s before the first image and ends 300 s after the last."""
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection("/pano/image", "sensor_msgs/msg/Image", typestore=TYPES)
        words = writer.add_connection("/words", "std_msgs/msg/String", typestore=TYPES)
        word = TYPES.serialize_cdr(TYPES.types["std_msgs/msg/String"](data="hello"), "std_msgs/msg/String")
        writer.write(words, START - 10 * 10**9, word)
        for index in range(11):
            stamp = START + index * PERIOD
            message = image_message("raw", index, stamp)
            writer.write(images, stamp, TYPES.serialize_cdr(message, "sensor_msgs/msg/Image"))
        writer.write(words, START + 300 * 10**9, word)
    assert open_frames(tmp_path / "bag").rate == pytest.approx(5.0)
