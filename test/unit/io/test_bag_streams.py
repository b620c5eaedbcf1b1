"""Video streams in ROS bags: three kinds of messages, without their definitions, and with losses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs rosbags: make, or pip install rosbags")

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from helpers.bags import PERIOD, START
from helpers.video_streams import Packet, encode, shades
from helpers.videos import index_of
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.stream_messages import COMPRESSED_IMAGE, COMPRESSED_VIDEO, DEFINITIONS, FFMPEG_PACKET
from panosam2_ros.io.video import VideoError

COUNT = 24
PACKETS = encode(shades(COUNT), key_frames=8, b_frames=2)
KINDS = [COMPRESSED_IMAGE, FFMPEG_PACKET, COMPRESSED_VIDEO]
TYPES = get_typestore(Stores.ROS2_JAZZY)
for _name, _definition in DEFINITIONS.items():
    TYPES.register(get_types_from_msg(_definition, _name))


def message(kind: str, packet: Packet, codec: str, stamp: int) -> Any:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="pano")
    data = np.frombuffer(packet.data, np.uint8)
    make = TYPES.types[kind]
    if kind == COMPRESSED_IMAGE:
        return make(header=header, format=codec, data=data)
    if kind == COMPRESSED_VIDEO:
        return make(timestamp=time, frame_id="pano", data=data, format=codec)
    encoding = f"lib{codec.replace('h', 'x')};yuv420p;bgr8;bgr8"
    sizes = {"width": 128, "height": 64, "pts": packet.index, "flags": int(packet.key)}
    return make(header=header, encoding=encoding, is_bigendian=False, data=data, **sizes)


def write_stream(
    path: Path,
    packets: Sequence[Packet] = PACKETS,
    kind: str = COMPRESSED_IMAGE,
    codec: str = "h264",
    storage: Any = StoragePlugin.MCAP,
    short: int = -1,  # of the packets: its message is cut off
) -> Path:
    """Write packets of 5 Hz, in the order of decoding, with the stamps of their frames."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        topic = writer.add_connection("/dual_fisheye/image/compressed", kind, typestore=TYPES)
        for place, packet in enumerate(packets):
            made = message(kind, packet, codec, START + packet.index * PERIOD)
            data = bytes(TYPES.serialize_cdr(made, kind))
            writer.write(topic, START + place * PERIOD + 5_000_000, data[:20] if place == short else data)
    return path


def read(path: Path) -> tuple[list[int], ReadReport]:
    """Return the indices of the frames by their stamps, which their pictures must show, and the report."""
    source = open_frames(path)
    assert (source.width, source.height) == (128, 64)
    frames = list(stamped_frames(source))
    assert {frame.frame_id for frame in frames} == {"pano"} and source.report.read == len(frames)
    indices = [(frame.stamp - START) // PERIOD for frame in frames]
    assert [index_of(frame.image) for frame in frames] == [index % 20 for index in indices]
    return indices, source.report


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])
def test_streams_are_read_with_their_stamps(tmp_path: Path, kind: str, storage: Any) -> None:
    bag = write_stream(tmp_path / "bag", kind=kind, storage=storage)
    indices, report = read(bag)
    assert indices == list(range(COUNT)) and not report.text
    assert open_frames(bag).rate == pytest.approx(5.0)


def test_a_database_of_an_older_ros_has_no_definitions(tmp_path: Path) -> None:
    import sqlite3

    bag = write_stream(tmp_path / "bag", kind=FFMPEG_PACKET, storage=StoragePlugin.SQLITE3)
    (file,) = bag.glob("*.db3")
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM message_definitions")
    database.close()
    assert read(bag)[0] == list(range(COUNT))


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_packets_that_are_missing_in_a_bag_are_reported_and_nothing_smeared_is_read(
    tmp_path: Path, kind: str
) -> None:
    whole = encode(shades(COUNT), key_frames=8)
    indices, report = read(write_stream(tmp_path / "bag", [*whole[3:10], *whole[11:]], kind))
    assert indices == [8, 9, *range(16, COUNT)]
    assert report.missing == 5 + 6 and "10 of 21 frames could be read, 11 are missing" in report.text
    assert "does not begin with one" in report.text and "are lost" in report.text
    assert "ros2 bag record" in report.text


@pytest.mark.faults
def test_a_short_message_in_a_stream_costs_the_pictures_up_to_a_key_frame(tmp_path: Path) -> None:
    whole = encode(shades(COUNT), "hevc", key_frames=8)
    indices, report = read(write_stream(tmp_path / "bag", whole, codec="h265", short=10))
    assert indices == [*range(10), *range(16, COUNT)] and "image 11, recorded at" in report.text


@pytest.mark.faults
def test_a_bag_without_a_key_frame_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"has no image that can be read.*does not begin with one"):
        open_frames(write_stream(tmp_path / "bag", PACKETS[1:6]))


@pytest.mark.faults
def test_pictures_of_another_size_are_counted(tmp_path: Path) -> None:
    other = encode(shades(2, (256, 128)))
    _, report = read(write_stream(tmp_path / "bag", [*PACKETS, *other]))
    assert report.missing == 2 and "it is 256x128, the first image is 128x64" in report.text
