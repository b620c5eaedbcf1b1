"""Whether images arrive: loss counted, silence explained, texts not repeated."""

from __future__ import annotations

import fcntl
import math
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros import dds
from panosam2_ros.ros.dds import (
    PROFILES_VARIABLE,
    SEGMENT_MIB,
    keep_buffers,
    loss_remedy,
    other_users_problem,
    profile_line,
    profiles_variable,
    remove_dead_segments,
    shared_memory_problem,
)
from panosam2_ros.ros.diagnostics.findings import ERROR, WARN, Finding
from panosam2_ros.ros.diagnostics.image_loss import Arrival, LossCounter, describe_publishers, rate
from panosam2_ros.ros.diagnostics.image_monitor import ImageMonitor, ImageTopic
from panosam2_ros.ros.diagnostics.statistics import Statistics, diagnostics_msg
from panosam2_ros.ros.diagnostics.status import ModelInfo, NodeStatus
from panosam2_ros.ros.parameters import Parameters

PERIOD = 33_333_333  # ns
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
IMAGE = "sensor_msgs/msg/Image"


def count(kept: Any, sequences: bool) -> LossCounter:
    """What is counted when only the images ``kept`` arrive, with jittering stamps."""
    jitter = np.random.default_rng(0).integers(-4_000_000, 4_000_000, max(kept) + 1)
    losses = LossCounter()
    for i in kept:
        stamp = i * PERIOD + int(jitter[i])
        losses.add(Arrival(stamp, b"camera", i if sequences else None))
    return losses


@pytest.mark.parametrize("sequences", [True, False])
def test_nothing_is_lost_where_all_arrive(sequences: bool) -> None:
    losses = count(range(300), sequences)
    assert losses.lost == 0 and losses.share() == 0


@pytest.mark.parametrize("sequences", [True, False])
def test_heavy_loss_is_counted(sequences: bool) -> None:
    kept = [i for i in range(2000) if np.random.default_rng(i).random() < 0.4] + [2000]
    losses = count(kept, sequences)
    truth = 2000 - kept[0] - len(kept) + 1
    assert losses.lost == truth if sequences else losses.lost == pytest.approx(truth, rel=0.1)
    assert losses.share() == pytest.approx(0.6, abs=0.12)


@pytest.mark.parametrize("sequence", [None, 1001])
def test_a_pause_is_no_loss(sequence: int | None) -> None:
    losses = count(range(50), sequence is not None)
    assert losses.add(Arrival(50 * PERIOD + 60 * 10**9, b"camera", sequence)) == 0


def test_two_publishers_are_not_mixed_up() -> None:
    losses = LossCounter()
    for i in range(20):
        losses.add(Arrival(i * PERIOD, b"a", i))
        losses.add(Arrival(i * PERIOD + 1, b"b", 100 + i))
    assert losses.lost == 0


def test_rate() -> None:
    assert rate([]) == rate([1.0]) == rate([1.0, 1.0]) == 0
    assert rate([0.0, 0.1, 0.2, 0.3]) == pytest.approx(10)


def publisher(qos: QoSProfile, kind: str = IMAGE, name: str = "camera") -> Any:
    return SimpleNamespace(node_name=name, node_namespace="/rig", topic_type=kind, qos_profile=qos)


def test_silence_is_explained() -> None:
    assert "nobody publishes" in describe_publishers([], BEST_EFFORT, IMAGE)
    fits = describe_publishers([publisher(RELIABLE)], BEST_EFFORT, IMAGE)
    assert "/rig/camera publishes it reliable, volatile, which fits" in fits
    never = describe_publishers([publisher(BEST_EFFORT)], RELIABLE, IMAGE)
    assert "best_effort" in never and "cannot take" in never
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    assert "cannot take" in describe_publishers([publisher(RELIABLE)], latched, IMAGE)
    other = describe_publishers([publisher(RELIABLE, "sensor_msgs/msg/CompressedImage")], BEST_EFFORT, IMAGE)
    assert "image_transport" in other
    unnamed = publisher(RELIABLE, name="_NODE_NAME_UNKNOWN_")
    assert "_UNKNOWN_" not in describe_publishers([unnamed], BEST_EFFORT, IMAGE)


def test_the_remedy_is_a_line_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    path = package_file("config", "fastdds.xml")
    assert profile_line() == f"export {PROFILES_VARIABLE}={path}"
    assert profile_line() in loss_remedy("rmw_fastrtps_cpp")
    monkeypatch.delenv(PROFILES_VARIABLE, raising=False)
    assert "this node lacks it too" in loss_remedy("rmw_fastrtps_cpp")
    assert "rmem_max" in loss_remedy("rmw_cyclonedds_cpp")


@pytest.mark.parametrize(
    ("rclpy_version", "name"), [("3.3.16", "FASTRTPS"), ("7.1.6", "FASTRTPS"), ("9.1.2", "FASTDDS")]
)
def test_the_profile_has_the_name_that_this_fast_dds_reads(rclpy_version: str, name: str) -> None:
    assert profiles_variable(rclpy_version) == f"{name}_DEFAULT_PROFILES_FILE"


def watch(publishers: list[Any]) -> ImageMonitor:
    node: Any = SimpleNamespace(get_publishers_info_by_topic=lambda topic: publishers)
    return ImageMonitor(node, ImageTopic("/image", IMAGE, BEST_EFFORT))


def test_warnings_of_the_watch() -> None:
    impatient = Parameters(image_timeout=0.1)
    silent = watch([])
    assert silent.findings(Parameters()) == {}
    time.sleep(0.12)
    assert "no image on /image for 0 s: nobody" in silent.findings(impatient)["silence"].text
    assert silent.findings(impatient)["silence"].level == WARN
    hopeless = Parameters(image_timeout=0.1, image_timeout_error=0.11)
    assert silent.findings(hopeless)["silence"].level == ERROR
    lossy = watch([])
    for i in range(0, 60, 3):
        lossy.arrived(i * PERIOD, {"publication_sequence_number": i}, 1000, "camera")
    loss = lossy.findings(Parameters())["loss"]
    assert lossy.lost == 38 and "67% of the images on /image" in loss.text and loss.level == ERROR
    assert lossy.findings(Parameters(loss_error=0.0))["loss"].level == WARN
    assert lossy.findings(Parameters(loss_warning=1.0, loss_error=1.0)) == {}


def test_a_driver_that_sets_no_stamps_is_named() -> None:
    stuck = watch([])
    for i in range(8):
        stuck.arrived(0, {"publication_sequence_number": i}, 1000, "camera")
    assert "header.stamp" in stuck.findings(Parameters())["stamps"].text


@pytest.mark.faults
@pytest.mark.parametrize(
    "frame_id, said", [("", "is empty"), ("/camera", "begins with a slash"), ("camera", "")]
)
def test_frame_ids_that_tf2_cannot_use_are_named(frame_id: str, said: str) -> None:
    seen = watch([])
    assert seen.findings(Parameters()) == {}
    for i in range(8):
        seen.arrived(0, {"publication_sequence_number": 2 * i}, 1000, frame_id)
    found = seen.findings(Parameters())
    assert {"stamps", "loss"} <= found.keys()  # nothing hides anything else
    assert (said in found["frame_id"].text) if said else ("frame_id" not in found)


def test_mallopt_is_there_on_linux() -> None:
    assert keep_buffers() in (True, False)


def test_statistics_and_levels() -> None:
    statistics = Statistics()
    assert statistics.rate() == 0 and math.isnan(statistics.latency(0.5))
    for i in range(11):
        statistics.processed(0.1 + 0.01 * i)
        time.sleep(0.01)
    assert statistics.latency(0.5) == pytest.approx(0.15)
    assert 20 < statistics.rate() < 100
    stamp = Time(sec=5)
    values = NodeStatus("active", model=ModelInfo("cpu")).values(statistics)
    status = diagnostics_msg(stamp, "/panosam2", [], values).status[0]
    assert status.level == DiagnosticStatus.OK and status.message == "active"
    assert status.hardware_id == "cpu" and {v.key: v.value for v in status.values} == values
    found = [Finding(WARN, "no image"), Finding(ERROR, "inference failed")]
    status = diagnostics_msg(stamp, "/panosam2", found[:1], values).status[0]
    assert status.level == DiagnosticStatus.WARN and status.message == "no image"
    status = diagnostics_msg(stamp, "/panosam2", found, values).status[0]
    assert status.level == DiagnosticStatus.ERROR
    assert status.message == "inference failed; no image"


def folder_of(monkeypatch: pytest.MonkeyPatch, total: int, free: int) -> None:
    """Have /dev/shm hold so many MiB."""
    found = SimpleNamespace(f_frsize=4096, f_blocks=total * 256, f_bavail=free * 256)
    monkeypatch.setattr(dds.os, "statvfs", lambda _: found)


@pytest.mark.faults
def test_shared_memory_that_is_too_small_or_full_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(monkeypatch, 64, 60)  # a container's default
    small = loss_remedy("rmw_fastrtps_cpp")
    assert "/dev/shm holds 64 MiB" in small and "--ipc=host or --shm-size" in small and "export" not in small
    folder_of(monkeypatch, 8000, 10)
    assert "/dev/shm is full (10 of 8000 MiB are free)" in loss_remedy("rmw_fastrtps_cpp")
    folder_of(monkeypatch, 8000, 7000)
    assert profile_line() in loss_remedy("rmw_fastrtps_cpp") and shared_memory_problem() == ""
    folder_of(monkeypatch, 64, 60)
    publishers = [publisher(BEST_EFFORT)]
    assert "--shm-size" in watch(publishers)._silence(5.0)
    assert "shm" not in loss_remedy("rmw_cyclonedds_cpp")


@pytest.mark.faults
def test_shared_memory_of_another_user_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, segment = os.stat(tmp_path).st_uid, tmp_path / "fastdds_0123456789abcdef"
    lock = segment.with_name(segment.name + "_el")
    lock.touch()
    monkeypatch.setattr(dds.os, "geteuid", lambda: own + 1)
    assert other_users_problem("rmw_fastrtps_cpp", tmp_path) == ""  # left by a process that is gone
    with open(lock, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        found = other_users_problem("rmw_fastrtps_cpp", tmp_path)
        assert f"runs as user {own + 1}" in found and f"of user {own}," in found and "--user" in found
        assert other_users_problem("rmw_cyclonedds_cpp", tmp_path) == ""
        for allowed in (own, 0):  # the same user, and root
            monkeypatch.setattr(dds.os, "geteuid", lambda uid=allowed: uid)
            assert other_users_problem("rmw_fastrtps_cpp", tmp_path) == ""
    monkeypatch.setattr("panosam2_ros.ros.diagnostics.image_monitor.other_users_problem", lambda _: found)
    assert found in watch([publisher(BEST_EFFORT)])._silence(5.0)


@pytest.mark.faults
def test_only_segments_of_dead_processes_are_removed(tmp_path: Path) -> None:
    names = {name: tmp_path / f"{name}_{count:016x}" for count, name in enumerate(("fastdds", "fastrtps"))}
    living, young, foreign = (
        tmp_path / f"fastdds_{7:016x}",
        tmp_path / f"fastdds_{8:016x}",
        tmp_path / "fastdds_x",
    )
    for path in (*names.values(), living, young, foreign):
        path.write_bytes(bytes(1000))
        lock = path.with_name(f"{path.name}_el")
        lock.touch()
        if path is not young:
            os.utime(lock, (0, 0))
    (tmp_path / "fastdds_port7400_el").touch()
    os.utime(tmp_path / "fastdds_port7400_el", (0, 0))
    with open(living.with_name(f"{living.name}_el"), "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_dead_segments(tmp_path) == 2000
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {f"{p.name}{end}" for p in (living, young, foreign) for end in ("", "_el")} | {
            "fastdds_port7400_el"
        }
    assert remove_dead_segments(tmp_path) == 1000 and not living.exists()  # its process has ended now
    assert remove_dead_segments(tmp_path / "nowhere") == 0


def test_the_segment_is_that_of_the_profile() -> None:
    size = re.search(r"<segment_size>(\d+)<", package_file("config", "fastdds.xml").read_text())
    assert size is not None and int(size[1]) == SEGMENT_MIB * 2**20


def taken(monitor: ImageMonitor, waited: float, *, gids: tuple[bytes, ...] = (b"a",), every: int = 2) -> None:
    """Have images of 10 Hz arrive, of which every second is lost, each ``waited`` s after its reception."""
    for i in range(0, 60, every):
        info = {
            "publication_sequence_number": i, "source_timestamp": 10**9 + i * 10**8,
            "received_timestamp": time.time_ns() - int(waited * 1e9),
            "publisher_gid": {"data": gids[i // every % len(gids)]},
        }  # fmt: skip
        monitor.arrived(i * 10**8, info, 50 << 20, "camera")


@pytest.mark.faults
def test_images_that_are_taken_too_slowly_are_told_apart_from_lost_ones() -> None:
    slow = watch([])
    taken(slow, 0.068)
    text = slow.findings(Parameters())["loss"].text
    assert re.search(r"needs (6[89]|[7-9]\d|\d{3,}) ms to take one of 50\.0 MiB, .*every 100 ms", text)
    assert "image_transport: compressed" in text and "export" not in text
    taken(slow, 0.04)  # a little quicker for a while: the same is said
    assert slow.findings(Parameters())["loss"].text.startswith(text[:20])
    assert "export" not in slow.findings(Parameters())["loss"].text
    quick = watch([])
    taken(quick, 0.04)
    assert profile_line() in quick.findings(Parameters())["loss"].text
    quick = watch([])
    taken(quick, 0.003)
    assert profile_line() in quick.findings(Parameters())["loss"].text
    fine = watch([])
    taken(fine, 0.068, every=1)
    assert fine.findings(Parameters()) == {}


@pytest.mark.faults
def test_two_cameras_on_one_topic_are_named() -> None:
    two = watch([])
    taken(two, 0.0, gids=(b"a", b"b"))
    assert "2 publishers send images on /image in turns" in two.findings(Parameters())["publishers"].text
    restarted = watch([])
    taken(restarted, 0.0, gids=(b"a",))
    taken(restarted, 0.0, gids=(b"b",))
    assert "publishers" not in restarted.findings(Parameters())
