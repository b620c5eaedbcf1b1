"""Bags that are damaged, renamed, compressed or of ROS 1: what can be read is read, losses are named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from helpers.bags import PERIOD, START, TYPES, image_message, picture, write_bag
from panosam2_ros.demo.playback import Playback, PlaybackConfig
from panosam2_ros.io.bag_files import is_bag
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import StampedFrame, VideoError

STORAGES = [StoragePlugin.MCAP, StoragePlugin.SQLITE3]
IMAGE = "sensor_msgs/msg/Image"
pytestmark = pytest.mark.faults


def read(path: Path) -> tuple[list[int], ReadReport]:
    """Return the indices of the images of a bag, and what is said about it."""
    source = open_frames(path)
    frames = list(stamped_frames(source))
    assert all(np.array_equal(f.image, picture(int(f.image[0, 0, 0]) - 10)) for f in frames)
    return [int(frame.image[0, 0, 0]) - 10 for frame in frames], source.report


def storage_file(folder: Path) -> Path:
    (file,) = (path for path in folder.iterdir() if path.name != "metadata.yaml")
    return file


def write_messages(
    path: Path, messages: list[tuple[int, bytes]], storage: Any = StoragePlugin.MCAP, compressed: bool = False
) -> Path:
    """Write serialized images with their recording times, ns."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection("/pano/image", IMAGE, typestore=TYPES)
        for time, data in messages:
            writer.write(connection, time, data)
    return path


def serialized(index: int, *, stamp: int = START) -> bytes:
    return bytes(TYPES.serialize_cdr(image_message("raw", index, stamp), IMAGE))


def large_image(index: int) -> bytes:
    """Serialize noise of which three images fill a chunk of an mcap file; it tells its index in a pixel."""
    pixels = np.random.default_rng(index).integers(0, 255, (256, 512, 3), np.uint8)
    pixels[0, 0] = index
    message = image_message("raw", 0, START + index * PERIOD)
    message = replace(message, height=256, width=512, step=1536, data=pixels.ravel())
    return bytes(TYPES.serialize_cdr(message, IMAGE))


def large_bag(path: Path, storage: Any) -> Path:
    """Write a bag of twelve large images."""
    messages = [(START + index * PERIOD, large_image(index)) for index in range(12)]
    return write_messages(path, messages, storage, compressed=storage is StoragePlugin.MCAP)


def indices(frames: list[StampedFrame]) -> list[int]:
    return [int(frame.image[0, 0, 0]) for frame in frames]


@pytest.mark.parametrize("bad", [(0,), (1,), (1, 2), (0, 2), (3,)])
def test_damaged_chunks_cost_their_own_images_only(tmp_path: Path, bad: tuple[int, ...]) -> None:
    path = large_bag(tmp_path / "bag", StoragePlugin.MCAP)
    with Reader(path) as reader:
        chunks = [chunk.chunk_start_offset for chunk in reader.storage.storages[0].chunks]  # type: ignore[attr-defined]
    assert len(chunks) == 4
    file = storage_file(path)
    data = bytearray(file.read_bytes())
    for chunk in bad:
        data[chunks[chunk] + 60 : chunks[chunk] + 160] = bytes(100)
    file.write_bytes(data)
    source = open_frames(path)
    left = [index for index in range(12) if index // 3 not in bad]
    assert indices(list(stamped_frames(source))) == left
    assert (source.report.read, source.report.missing) == (len(left), 12 - len(left))
    assert "in damaged data: " in source.report.text and f"mcap recover {file}" in source.report.text
    assert "ros2 bag reindex" not in source.report.text  # which cannot help


def test_damaged_pages_of_a_database_cost_their_own_images_only(tmp_path: Path) -> None:
    path = large_bag(tmp_path / "bag", StoragePlugin.SQLITE3)
    file = storage_file(path)
    data = bytearray(file.read_bytes())
    page = data.find(large_image(6)[200_000:200_040]) // 4096  # one of many that hold this image
    data[page * 4096 : (page + 1) * 4096] = bytes(4096)
    file.write_bytes(data)
    source = open_frames(path)
    assert indices(list(stamped_frames(source))) == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert source.report.missing == 1 and f"sqlite3 {file} .recover" in source.report.text


@pytest.mark.parametrize("storage", STORAGES)
def test_bad_images_and_short_messages_are_skipped_counted_and_named(tmp_path: Path, storage: Any) -> None:
    bad = serialized(0)
    unknown = replace(image_message("raw", 0, START), encoding="32FC1")
    other_size = replace(image_message("raw", 0, START), height=16)
    written = {
        0: bad[:2], 2: bad[:40], 3: bytes(TYPES.serialize_cdr(unknown, IMAGE)),
        5: bad[:-500], 6: bytes(TYPES.serialize_cdr(other_size, IMAGE)),
    }  # fmt: skip
    messages = [(START + i, written.get(i) or serialized(i)) for i in range(9)]
    found, report = read(write_messages(tmp_path / "bag", messages, storage))
    assert found == [1, 4, 7, 8] and (report.read, report.missing) == (4, 5)
    assert f"image 1, recorded at {START} ns: " in report.text
    assert f"image 4, recorded at {START + 3} ns: encoding '32FC1' is not understood" in report.text
    assert "it is 64x16, the first image is 64x32" in report.text
    assert "mcap recover" not in report.text and "reindex" not in report.text  # which cannot help


@pytest.mark.parametrize("storage", STORAGES)
def test_a_folder_without_metadata_is_read(tmp_path: Path, storage: Any) -> None:
    folder = write_bag(tmp_path / "bag", storage=storage)
    (folder / "metadata.yaml").unlink()
    assert is_bag(folder)
    for path in (folder, storage_file(folder)):
        found, report = read(path)
        assert found == [0, 1, 2, 3, 4, 5] and not report.text


def test_metadata_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    folder = write_bag(tmp_path / "bag")
    for text in ("nonsense", "", "rosbag2_bagfile_information: {version: 99}"):
        (folder / "metadata.yaml").write_text(text)
        found, report = read(folder)
        assert found == [0, 1, 2, 3, 4, 5] and not report.missing
        assert "metadata.yaml cannot be used (" in report.text
        assert f"ros2 bag reindex {folder}" in report.text


def test_of_several_files_those_that_can_be_opened_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    folder.mkdir()
    for number in (2, 10, 1):
        part = write_bag(tmp_path / f"part{number}", frames=number)
        shutil.copy(storage_file(part), folder / f"bag_{number}.mcap")
    broken = folder / "bag_2.mcap"
    broken.write_bytes(broken.read_bytes()[:-40])  # as a killed recorder leaves it
    source = open_frames(folder)
    assert sum(1 for _ in stamped_frames(source)) == 11
    assert f"{broken} cannot be opened: " in source.report.text
    assert f"mcap recover {broken}" in source.report.text and source.report.missing
    with pytest.raises(VideoError, match=rf"{broken} cannot be opened: .*; try: mcap recover {broken}"):
        open_frames(broken)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_renamed_and_compressed_files_are_read(tmp_path: Path, storage: Any, compressed: bool) -> None:
    file = storage_file(write_bag(tmp_path / "bag", storage=storage))
    if compressed:
        zstd = pytest.importorskip("backports.zstd")
        renamed = tmp_path / f"walk{file.suffix}.zstd"
        renamed.write_bytes(zstd.compress(file.read_bytes()))
    else:
        renamed = tmp_path / f"walk{file.suffix.upper()}"
        shutil.copy(file, renamed)
    found, report = read(renamed)
    assert found == [0, 1, 2, 3, 4, 5] and not report.text
    renamed.write_bytes(renamed.read_bytes()[:50])
    with pytest.raises(VideoError, match=rf"{renamed} cannot be opened: "):
        open_frames(renamed)


def test_bags_of_ros_1_are_read(tmp_path: Path) -> None:
    types = get_typestore(Stores.ROS1_NOETIC)
    path = tmp_path / "walk.bag"
    with Writer1(path) as writer:
        connection = writer.add_connection("/pano/image", IMAGE, typestore=types)
        for index in range(3):
            stamp = types.types["builtin_interfaces/msg/Time"](sec=7, nanosec=index)
            header = types.types["std_msgs/msg/Header"](seq=index, stamp=stamp, frame_id="camera")
            message = types.types[IMAGE](
                header=header, height=32, width=64, encoding="rgb8", is_bigendian=0, step=192,
                data=picture(index).ravel(),
            )  # fmt: skip
            writer.write(connection, START + index, types.serialize_ros1(message, IMAGE))
    source = open_frames(path)
    frames = list(stamped_frames(source))
    assert [(f.stamp, f.frame_id, f.image[0, 0, 0] - 10) for f in frames] == [
        (7 * 10**9 + index, "camera", index) for index in range(3)
    ]
    assert not source.report.text
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(VideoError, match=rf"walk.bag cannot be opened: .*; try: rosbag reindex {path}"):
        open_frames(path)


def test_stamps_of_zero_are_replaced_by_the_time_of_recording(tmp_path: Path) -> None:
    messages = [(START + i * PERIOD, serialized(i, stamp=0)) for i in range(3)]
    source = open_frames(write_messages(tmp_path / "bag", messages))
    assert [frame.stamp for frame in stamped_frames(source)] == [START + i * PERIOD for i in range(3)]
    assert source.report.text.count("the recorder's times are used") == 1 and not source.report.missing


def test_pauses_are_kept_whatever_the_stamps_say(tmp_path: Path) -> None:
    seconds = [0.0, 0.2, 30.0, 30.1]
    for stamp in (0, START):  # a camera whose clock stands still
        messages = [(START + round(t * 1e9), serialized(i, stamp=stamp)) for i, t in enumerate(seconds)]
        path = write_messages(tmp_path / f"bag{stamp}", messages)
        played = list(Playback(PlaybackConfig(str(path))))
        assert [frame.time for frame in played] == pytest.approx(seconds)
