"""What a camera and a planner can do wrong to a running node: it answers, says why, and goes on."""

from __future__ import annotations

import array
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Vector3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lifecycle_msgs.msg import Transition
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from helpers.process import Process
from helpers.station import (
    SCENE,
    SEAM,
    Station,
    ball_prompt,
    codes,
    forgetful,
    image_msg,
    start,
    stations,
    until_active,
)
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.msg import ObjectPrompt, PromptDirection, PromptPoint, PromptResult
from panosam2_ros.ros.conversion.messages import ns_to_stamp
from panosam2_ros.srv import GetObjects, PromptObjects

pytestmark = pytest.mark.faults
HOUR, YEARS = 3600 * 10**9, 300_000_000 * 10**9


station = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with start("panosam2_nano", tmp_path_factory.mktemp("node") / "log.txt") as process:
        until_active(process)
        yield process


planner = pytest.fixture(forgetful)


def ball(station: Station, stamp: int) -> Any:
    """The one object, which must be the one that was prompted."""
    (found,) = station.bearings[stamp].objects
    assert found.object_id == 1
    direction = np.array([found.direction.x, found.direction.y, found.direction.z])
    assert np.isfinite(direction).all() and np.linalg.norm(direction) == pytest.approx(1)
    if found.state == found.STATE_VISIBLE:
        assert angle_between(direction, SEAM) < 0.3
    return found


def larger(width: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(SCENE, (width, width // 2), interpolation=cv2.INTER_AREA), np.uint8)


def test_resolution_and_encoding_may_change(planner: Station) -> None:
    planner.prompt(ball_prompt())
    for pixels, encoding in (
        (SCENE, "rgb8"), (larger(512), "rgb8"), (larger(512)[..., ::-1].copy(), "bgr8"),
        (larger(200), "rgb8"), (cv2.cvtColor(SCENE, cv2.COLOR_RGB2RGBA), "rgba8"), (SCENE, "rgb8"),
    ):  # fmt: skip
        stamp = planner.show(pixels=pixels, encoding=encoding)
        assert planner.masks[stamp].width == pixels.shape[1]
        assert ball(planner, stamp).state == 1


@pytest.mark.parametrize("jump", [-HOUR, -YEARS, HOUR, YEARS, -150_000_000])
def test_time_may_jump(jump: int, planner: Station) -> None:
    planner.prompt(ball_prompt())
    planner.show()
    planner.stamp += jump
    for _ in range(3):
        stamp = planner.show()
        assert ball(planner, stamp).state == 1
    assert planner.prompt(ball_prompt(), stamp=stamp).success
    planner.stamp = 1_700_000_000_000_000_000 + time.monotonic_ns() % HOUR


GARBAGE: dict[str, dict[str, Any]] = {
    "no data": {"data": b""},
    "no pixels": {"width": 0, "height": 0},
    "no rows": {"height": 0},
    "short": {"data": bytes(100)},
    "one byte short": {"data": bytes(SCENE.size - 1)},
    "step 0": {"step": 0},
    "huge header": {"width": 2**32 - 1, "height": 2**31, "step": 2**32 - 1},
    "no encoding": {"encoding": ""},
    "endless encoding": {"encoding": "x" * 100_000},
    "unknown encoding": {"encoding": "yuv9000"},
    "no panorama": {"width": 128, "step": 768},
    "endless frame": {"data": b"", "frame": "f" * 100_000},
    "endless frame of a good image": {"frame": "f" * 1_000_000},
    "too many pixels": {"width": 20_000, "height": 10_000, "step": 60_000},
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused(name: str, planner: Station, process: Process) -> None:
    planner.prompt(ball_prompt())
    planner.show()
    changes = dict(GARBAGE[name])
    msg = image_msg(0)
    msg.header.frame_id = changes.pop("frame", msg.header.frame_id)
    for field, value in changes.items():
        setattr(msg, field, array.array("B", value) if field == "data" else value)
    refused = int(planner.value("frames_unreadable") or 0)
    for _ in range(20):
        planner.stamp += 100_000_000
        msg.header.stamp = ns_to_stamp(planner.stamp)
        planner.camera.publish(msg)
        planner.spin_for(0.3)
        if int(planner.value("frames_unreadable") or 0) > refused:
            break
    assert int(planner.value("frames_unreadable")) > refused
    assert "image refused" in planner.value("last_error") and len(planner.value("last_error")) < 1100
    assert planner.stamp not in planner.bearings
    assert ball(planner, planner.show()) and process.running
    assert max(map(len, process.output.splitlines())) < 1500


def test_more_data_than_pixels_is_taken(planner: Station) -> None:
    msg = image_msg(0)
    msg.data = array.array("B", SCENE.tobytes() + bytes(10**6))
    for _ in range(20):
        planner.stamp += 100_000_000
        msg.header.stamp = ns_to_stamp(planner.stamp)
        planner.camera.publish(msg)
        planner.spin_for(0.3)
        if planner.stamp in planner.bearings:
            return
    raise AssertionError("no result for an image with bytes to spare")


def test_two_hundred_prompts_a_second(planner: Station, process: Process) -> None:
    client = planner.create_client(PromptObjects, "panosam2/prompt", qos_profile=QoSProfile(depth=200))
    assert client.wait_for_service(20)
    planner.bearings.clear()
    answers = []
    begin = time.monotonic()
    for i in range(200):
        answers.append(client.call_async(PromptObjects.Request(prompts=[ball_prompt(label=str(i))])))
        if i % 10 == 0:
            planner.stamp += 100_000_000
            planner.camera.publish(image_msg(planner.stamp))
        rclpy.spin_once(planner, timeout_sec=0)
        time.sleep(max(0.0, begin + i / 200 - time.monotonic()))
    planner.spin_until(lambda: all(a.done() for a in answers), 60)
    planner.destroy_client(client)
    results = [a.result() for a in answers]
    assert all(len(r.results) == 1 and (r.success or r.message) for r in results)
    given = {code for r in results for code in codes(r)}
    assert {"OK", "BUSY"} <= given <= {"OK", "BUSY", "LIMIT_REACHED"}, given
    ids = [r.results[0].bearing.object_id for r in results if r.success]
    assert ids and len(ids) == len(set(ids)) <= 32
    assert planner.bearings, "no image was processed meanwhile"
    assert [o.object_id for o in planner.bearings[planner.show()].objects] == sorted(ids)
    assert process.running and "Traceback" not in process.output


def test_prompts_before_the_first_image(planner: Station) -> None:
    for transition in ("DEACTIVATE", "CLEANUP"):
        assert planner.change(getattr(Transition, f"TRANSITION_{transition}"))
    refused = planner.prompt(ball_prompt())
    assert codes(refused) == ["NOT_ACTIVE"] and "not configured" in refused.results[0].message
    for transition in ("CONFIGURE", "ACTIVATE"):
        assert planner.change(getattr(Transition, f"TRANSITION_{transition}"))
    for stamp, reason in ((0, "no image has been processed yet"), (planner.stamp, "is the camera running?")):
        answer = planner.prompt(ball_prompt(), stamp=stamp)
        assert not answer.success and reason in answer.message and codes(answer) == ["NO_IMAGE"]
        assert [r.message for r in answer.results] == [answer.message]
    known = planner.call(GetObjects, "get_objects")
    assert known.success and known.objects.objects == [] and known.objects.header == Header()
    planner.show()
    assert planner.prompt(ball_prompt()).success


def test_prompts_without_end_are_refused(planner: Station, process: Process) -> None:
    """Of every kind, each with the limit in a short message; the node goes on at once."""
    point, way = PromptPoint(u=9.0, v=9.0, label=1), PromptDirection(direction=Vector3(x=1.0), label=1)
    cases = (
        (ball_prompt(label="x" * 9_000_000), "at most 200 characters, got 9000000"),
        (ObjectPrompt(points=[point] * 20_000), "at most 100 points and directions, got 20000"),
        (ObjectPrompt(directions=[way] * 20_000), "at most 100 points and directions, got 20000"),
        (ObjectPrompt(mask=image_msg(0, larger(8192)[..., 0].copy(), "mono8")), "the image's size 256x128"),
        (ObjectPrompt(mask=image_msg(0, SCENE, "x" * 100_000)), "a mask is a mono8 image"),
    )
    for prompt, reason in cases:
        answer = planner.prompt(prompt)
        assert codes(answer) == ["INVALID"] and reason in answer.message, answer.message
        assert len(answer.message) < 1100
    answer = planner.prompt(*[ObjectPrompt() for _ in range(2000)])
    assert not answer.success and answer.results == [] and "at most 64 prompts" in answer.message
    answer = planner.prompt(*[ObjectPrompt(object_id=i + 1) for i in range(64)])
    assert len(answer.results) == 64 and len(answer.message) < 1000 and "and 59 more" in answer.message
    label = "x" * 199 + "\x1b"
    assert planner.prompt(ball_prompt(label=label)).success
    assert ball(planner, planner.show()).label == label
    assert process.running and "Traceback" not in process.output and "\x1b" not in process.output


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
singles = st.floats(width=32) | st.floats(-10, 300, width=32)
doubles = st.floats() | st.sampled_from([0.0, 1.0, -1.0])
labels = st.sampled_from([1, 0]) | st.integers(0, 255)
points = st.builds(PromptPoint, u=singles, v=singles, label=labels)
vectors = st.builds(Vector3, x=doubles, y=doubles, z=doubles)
directions = st.builds(PromptDirection, direction=vectors, label=labels)
masks = st.just(Image()) | st.builds(
    lambda h, w, step, encoding, data: Image(
        height=h, width=w, step=step, encoding=encoding, data=array.array("B", data)
    ),
    st.sampled_from([128, 0, 1, 2**32 - 1]),
    st.sampled_from([256, 0, 1, 2**32 - 1]),
    st.sampled_from([256, 0, 1, 2**32 - 1]),
    st.sampled_from(["mono8", "8UC1"]) | texts,
    st.sampled_from([b"", bytes(128 * 256), b"\1" * 128 * 256]) | st.binary(max_size=50),
)
stamps = st.just(Time()) | st.builds(
    Time, sec=st.integers(-(2**31), 2**31 - 1), nanosec=st.integers(0, 2**32 - 1)
)


prompts = st.builds(
    ObjectPrompt,
    object_id=st.sampled_from([0, 1, 2]) | st.integers(0, 65535),
    label=texts,
    points=st.lists(points, max_size=3),
    directions=st.lists(directions, max_size=2),
    box=st.just([]) | st.lists(singles, min_size=4, max_size=4) | st.lists(singles, max_size=4),
    mask=masks,
    replace=st.booleans(),
)


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(request=st.builds(PromptObjects.Request, stamp=stamps, prompts=st.lists(prompts, max_size=5)))
def test_no_request_is_answered_by_an_exception(
    request: PromptObjects.Request, station: Station, process: Process
) -> None:
    """The whole service type: always as many results as prompts, each a success or a reason."""
    if not station.masks:
        station.show()
        station.prompt(ball_prompt())
    answer = station.call(PromptObjects, "prompt", request)
    assert process.running, process.output
    assert answer.success or answer.message
    assert len(answer.results) == len(request.prompts)
    assert all((result.code == PromptResult.OK) != bool(result.message) for result in answer.results)
    assert "INTERNAL" not in codes(answer), answer
    assert "Error: " not in answer.message, answer.message  # what an exception's name ends in
    assert "Traceback" not in process.output


def test_two_nodes_in_two_namespaces(tmp_path: Path, station: Station) -> None:
    left, right = Station("/left"), Station("/right")
    try:
        with (
            start("panosam2_nano", tmp_path / "left.txt", namespace="/left") as one,
            start("panosam2_nano", tmp_path / "right.txt", namespace="/right") as two,
        ):
            for process, side in ((one, "left"), (two, "right")):
                until_active(process)
                assert f"waiting for images on /{side}/image" in process.output
            left.show()
            assert not right.bearings
            assert left.prompt(ball_prompt(label="left")).success
            right.show()
            assert right.bearings[right.show()].objects == []
            assert [o.label for o in left.bearings[left.show()].objects] == ["left"]
            assert right.call(Trigger, "reset").success
            assert [o.label for o in left.bearings[left.show()].objects] == ["left"]
    finally:
        left.destroy_node()
        right.destroy_node()
