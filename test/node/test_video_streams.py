"""Video streams over real DDS to the real node: three kinds of messages, losses, damage, other drivers."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import PointStamped
from lifecycle_msgs.msg import State, Transition
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage

from helpers.compiled_modules import compiled_modules
from helpers.message_packages import environment_with
from helpers.process import Process, wait_for
from helpers.station import FRAME, SCENE, SEAM, Station, ball_prompt, start, stations, until_active
from helpers.video_streams import Packet, encode
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.conversion.messages import ns_to_stamp, vector_msg

GOP = 8
PACKAGES = ("ffmpeg_image_transport_msgs", "foxglove_msgs")
TOPIC = "/image/compressed"


def film(codec: str, b_frames: int = 0) -> list[Packet]:
    """Encode the station's scene with a little noise, so that no packet is empty: one group of pictures."""
    rng = np.random.default_rng(0)
    frames = [np.clip(SCENE + rng.normal(0, 2, SCENE.shape), 0, 255).astype(np.uint8) for _ in range(GOP)]
    return encode(frames, codec, key_frames=GOP, b_frames=b_frames)


FILMS = {"h264": film("h264"), "hevc": film("hevc"), "b_frames": film("h264", 2)}
station = pytest.fixture(scope="module")(stations)


class Encoder:
    """A camera that publishes the same group of pictures again and again, at about 20 Hz."""

    def __init__(self, station: Station, kind: Any, topic: str, codec: str, *, best_effort: bool = False):
        reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
        self._publisher = station.create_publisher(kind, topic, QoSProfile(depth=50, reliability=reliability))
        self._station, self._kind, self._film = station, kind, FILMS[codec]
        self._format = "h264" if codec == "b_frames" else codec
        self._count = 0  # packets that were due
        station.stamp += 10**10
        self._start = station.stamp

    def _message(self, packet: Packet, stamp: int) -> Any:
        msg = self._kind(data=array.array("B", packet.data))
        if hasattr(msg, "timestamp"):
            msg.timestamp, msg.frame_id, msg.format = ns_to_stamp(stamp), FRAME, self._format
            return msg
        msg.header.stamp, msg.header.frame_id = ns_to_stamp(stamp), FRAME
        setattr(msg, "encoding" if hasattr(msg, "encoding") else "format", self._format)
        return msg

    def send(self, count: int = GOP, *, leave_out: int = -1, spoil: int = -1) -> list[int]:
        """Send packets; return the stamps of all pictures, also of those that are left out or spoilt."""
        stamps = []
        for place in range(count):
            packet = self._film[self._count % GOP]
            group = self._count - self._count % GOP
            stamp = self._start + (group + packet.index) * 50_000_000
            self._count += 1
            stamps.append(stamp)
            if place == spoil:
                half = len(packet.data) // 2
                packet = Packet(packet.data[:half] + bytes(half), packet.index, packet.key)
            if place != leave_out:
                self._publisher.publish(self._message(packet, stamp))
                self._station.stamp = max(self._station.stamp, stamp)
            self._station.spin_for(0.05)
        return stamps

    def align(self) -> None:
        """Skip to a key frame, as an encoder that is asked for one."""
        self._count += -self._count % GOP

    def until_seen(self) -> list[int]:
        """Send groups until the node has answered one of the last; return the stamps of that group."""
        self.align()
        for _ in range(20):
            stamps = self.send()
            self.settle(max(stamps))
            if any(stamp in self._station.bearings for stamp in stamps):
                return stamps
        raise AssertionError("no results for any of twenty groups of pictures")

    def settle(self, stamp: int) -> None:
        """Wait up to 3 s for the results of an image, the last that was sent."""
        end = time.monotonic() + 3.0
        while stamp not in self._station.bearings and time.monotonic() < end:
            self._station.spin_for(0.05)

    def stop(self) -> None:
        self._station.destroy_publisher(self._publisher)


@pytest.fixture(scope="module")
def process(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A node that takes compressed images."""
    log = tmp_path_factory.mktemp("node") / "log.txt"
    with start("panosam2_nano", log, image_transport="compressed", history_seconds=20.0) as process:
        until_active(process)
        yield process
        assert "Traceback" not in process.output


@pytest.fixture(scope="module")
def camera(station: Station, process: Process) -> Encoder:
    return Encoder(station, CompressedImage, "image/compressed", "h264")


@pytest.mark.faults
def test_a_stream_that_is_joined_in_mid_gop_says_what_it_waits_for(
    station: Station, process: Process, camera: Encoder
) -> None:
    station.spin_until(lambda: station.count_subscribers(TOPIC), 20)
    camera.send(2)
    camera.align()
    camera._count += 1  # the key frame is lost for whoever comes now
    text = f"{TOPIC}: the h264 stream has waited"
    begun = time.monotonic()
    for _ in range(60):
        camera.send(GOP - 1)
        camera._count += 1
        if station.status and text in station.status.message:
            break
    assert station.status is not None and "a shorter GOP" in station.status.message
    wait_for(lambda: text in process.output, 20)
    wait_for(lambda: f"images of a video stream on {TOPIC} (reliable)" in process.output, 20)
    assert process.output.count(text) <= 2 + (time.monotonic() - begun) // 10  # once in ten seconds
    camera.until_seen()
    station.spin_until(lambda: text not in station.status.message, 20)
    station.spin_until(
        lambda: station.value("video_codec") == "h264" and int(station.value("video_skipped")) >= GOP - 1, 20
    )


def test_late_prompts_and_clicks_work_as_with_images(
    station: Station, process: Process, camera: Encoder
) -> None:
    stamps = camera.until_seen()
    camera.send()
    answer = station.prompt(ball_prompt(label="ball"), stamp=stamps[2])
    assert answer.success and answer.header.stamp == ns_to_stamp(stamps[2]), answer
    known = answer.results[0].bearing.object_id

    def seen() -> bool:
        newest = station.bearings[max(station.bearings)]
        return any(o.object_id == known and o.state == ObjectBearing.STATE_VISIBLE for o in newest.objects)

    for _ in range(20):
        camera.send()
        if seen():
            break
    newest = station.bearings[max(station.bearings)]
    assert seen() and newest.header.frame_id == FRAME
    (found,) = (o.direction for o in newest.objects if o.object_id == known)
    assert np.dot([found.x, found.y, found.z], SEAM) > 0.97
    clicks = station.create_publisher(PointStamped, "panosam2/clicked_point", 5)
    station.spin_until(lambda: clicks.get_subscription_count(), 20)
    click = PointStamped()
    click.header.frame_id, click.point = FRAME, _point(-SEAM)
    clicks.publish(click)
    for _ in range(20):
        camera.send()
        if "clicked point: object" in process.output:
            break
    assert "clicked point: object" in process.output


def _point(vector: np.ndarray) -> Any:
    from geometry_msgs.msg import Point

    made = vector_msg(vector)
    return Point(x=made.x, y=made.y, z=made.z)


@pytest.mark.faults
def test_lost_and_damaged_packets_cost_pictures_up_to_a_key_frame_and_are_counted(
    station: Station, process: Process, camera: Encoder
) -> None:
    camera.until_seen()
    station.spin_until(lambda: station.value("video_codec") == "h264", 20)
    before = {key: int(station.value(key)) for key in ("video_skipped", "video_damaged")}
    camera.align()
    lost = camera.send(leave_out=3)
    camera.settle(lost[2])
    damaged = camera.send(spoil=2)
    camera.settle(damaged[1])
    whole = camera.until_seen()
    assert not station.bearings.keys() & {*lost[3:], *damaged[2:]}, "smeared pictures were tracked"
    assert station.bearings.keys() & set(whole)
    station.spin_until(lambda: int(station.value("video_damaged")) == before["video_damaged"] + 1, 20)
    skipped = (GOP - 5) + (GOP - 3)
    station.spin_until(lambda: int(station.value("video_skipped")) >= before["video_skipped"] + skipped, 20)
    assert "pictures of the video stream are missing: packets before the one of stamp" in process.output


@pytest.mark.faults
def test_a_driver_that_comes_back_with_another_qos_is_received(
    station: Station, process: Process, camera: Encoder
) -> None:
    camera.stop()
    other = Encoder(station, CompressedImage, "image/compressed", "hevc", best_effort=True)
    other.until_seen()
    assert f"images of a video stream on {TOPIC} (best_effort)" in process.output
    station.spin_until(lambda: station.value("video_codec") == "hevc", 20)
    assert station.change(Transition.TRANSITION_DEACTIVATE)
    assert station.change(Transition.TRANSITION_ACTIVATE)
    other._count += 3
    other.send(2)
    other.until_seen()
    other.stop()


@pytest.mark.faults
def test_a_missing_message_package_is_named_with_the_command(station: Station, process: Process) -> None:
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
        assert station.change(transition)
    assert all(r.successful for r in station.set(image_transport="ffmpeg"))
    assert station.change(Transition.TRANSITION_CONFIGURE)
    assert not station.change(Transition.TRANSITION_ACTIVATE)
    wait_for(lambda: "sudo apt install ros-$ROS_DISTRO-ffmpeg-image-transport-msgs" in process.output, 20)
    assert station.state() == State.PRIMARY_STATE_INACTIVE and process.running


@pytest.fixture
def packet_messages() -> Iterator[dict[str, str]]:
    """What a process needs to find the messages of packets, which this one finds too for the while."""
    with compiled_modules(*PACKAGES):
        yield environment_with(*PACKAGES)


def test_packets_of_ffmpeg_and_foxglove_have_the_stamps_of_their_pictures(
    packet_messages: dict[str, str], tmp_path: Path
) -> None:
    from ffmpeg_image_transport_msgs.msg import FFMPEGPacket
    from foxglove_msgs.msg import CompressedVideo

    arguments = ["-p", "model:=panosam2_nano", "-p", "num_threads:=1", "-p", "diagnostics_period:=0.2"]
    remap = ["-r", "__ns:=/packets", "-p", "image_transport:=ffmpeg"]
    there = Station("packets")
    log = tmp_path / "log.txt"
    with Process(
        "panosam2_ros.ros.node", "--ros-args", *arguments, *remap, log=log, **packet_messages
    ) as node:
        wait_for(lambda: "waiting for images of a video stream on /packets/image/ffmpeg" in node.output, 90)
        # B frames: pictures come in another order than packets
        camera = Encoder(there, FFMPEGPacket, "image/ffmpeg", "b_frames")
        assert camera.until_seen() != sorted(camera.until_seen())
        first = [*there.bearings]
        assert first == sorted(first)
        for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP):
            assert there.change(transition)
        assert all(result.successful for result in there.set(image_transport="foxglove"))
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert there.change(transition)
        there.bearings.clear()
        Encoder(there, CompressedVideo, "image/foxglove", "h264").until_seen()
        assert {b.header.frame_id for b in there.bearings.values()} == {FRAME}
        there.spin_until(lambda: there.value("video_codec") == "h264", 20)
        assert "Traceback" not in node.output
    there.destroy_node()
