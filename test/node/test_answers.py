"""What the services answer: every code, and the frame of every direction, over real DDS."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import Vector3
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from helpers.faulty_node import KNOWN_FRAME, KNOWN_ROTATION
from helpers.process import Process
from helpers.station import (
    FRAME,
    HEIGHT,
    SEAM,
    WIDTH,
    Station,
    ball_prompt,
    cap,
    codes,
    direction,
    forgetful,
    image_msg,
    mask_msg,
    point,
    start,
    stations,
    until_active,
)
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.srv import GetObjects, LoadMemory, RemoveObjects, SaveMemory

MODEL = "panosam2_nano"
BACKGROUND = PromptPoint.BACKGROUND


station = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("node") / "log.txt"
    with start(MODEL, log, history_seconds=1.05, max_objects=2) as process:
        until_active(process)
        yield process


planner = pytest.fixture(forgetful)


BAD_PROMPTS = {
    "empty": (ObjectPrompt(), "empty"),
    "outside": (ObjectPrompt(points=[point(256, 3)]), "in the image"),
    "not finite": (ObjectPrompt(points=[point(math.nan, 3)]), "in the image"),
    "label 2": (ObjectPrompt(points=[point(1, 2, 2)]), "label"),
    "label 255 of a direction": (ObjectPrompt(directions=[direction(SEAM, 255)]), "label"),
    "zero direction": (ObjectPrompt(directions=[direction([0, 0, 0])]), "unit vector"),
    "NaN direction": (ObjectPrompt(directions=[direction([math.nan, 0, 0])]), "unit vector"),
    "box of 1": (ObjectPrompt(box=[1.0]), "u_min, v_min, u_max, v_max"),
    "box of 3": (ObjectPrompt(box=[1.0, 2.0, 3.0]), "got 3 numbers"),
    "box upside down": (ObjectPrompt(box=[10.0, 50.0, 40.0, 20.0]), "v_min"),
    "box outside": (ObjectPrompt(box=[10.0, 50.0, 40.0, 200.0]), "in the image"),
    "mask size": (ObjectPrompt(mask=mask_msg(np.ones((64, 128), bool))), "256x128, got 128x64"),
    "mask encoding": (ObjectPrompt(mask=image_msg(0)), "mono8"),
    "mask empty": (ObjectPrompt(mask=mask_msg(np.zeros((HEIGHT, WIDTH), bool))), "mask is empty"),
    "mask and points": (ObjectPrompt(mask=mask_msg(cap(SEAM)), points=[point(1, 2, BACKGROUND)]), "mask"),
    "contradiction": (ObjectPrompt(points=[point(9, 9), point(9, 9, BACKGROUND)]), "both"),
    "background only": (ObjectPrompt(points=[point(9, 9, BACKGROUND)]), "new object needs"),
}


@pytest.mark.faults
def test_bad_prompts_are_refused_with_the_reason(planner: Station) -> None:
    answer = planner.prompt(*(prompt for prompt, _ in BAD_PROMPTS.values()))
    assert not answer.success and answer.header.frame_id == FRAME
    for (name, (_, reason)), result in zip(BAD_PROMPTS.items(), answer.results, strict=True):
        assert result.code == PromptResult.INVALID, name
        assert reason in result.message, (name, result.message)
        assert result.bearing == ObjectBearing() and result.bearing.state == ObjectBearing.STATE_UNKNOWN
    nothing = planner.prompt()
    assert not nothing.success and "no prompts" in nothing.message and nothing.results == []
    assert planner.bearings[planner.show()].objects == []


@pytest.mark.faults
def test_prompts_at_a_stamp(planner: Station) -> None:
    first = planner.show()
    second = planner.show()
    assert stamp_to_ns(planner.prompt(ball_prompt(), stamp=first).header.stamp) == first
    unknown = planner.prompt(ball_prompt(), stamp=second - 1)
    assert not unknown.success and "exactly" in unknown.message
    assert codes(unknown) == ["STAMP_NOT_HELD"] and unknown.header == Header()
    future = planner.prompt(ball_prompt(), stamp=second + 10**9)
    assert codes(future) == ["STAMP_NOT_HELD"] and "has not come yet" in future.message
    for _ in range(11):
        last = planner.show()
    expired = planner.prompt(ball_prompt(), stamp=first)
    assert codes(expired) == ["STAMP_NOT_HELD"] and "expired" in expired.message
    oldest = max(s for s in planner.bearings if s >= last - 1_050_000_000)
    assert "held are" in expired.message and oldest
    ids = [o.object_id for o in planner.bearings[planner.show()].objects]
    assert ids == [1]


def test_every_prompt_has_a_code_of_its_own(planner: Station) -> None:
    unknown = ObjectPrompt(object_id=9, points=[point(9, 9)])
    answer = planner.prompt(ball_prompt(), unknown, ObjectPrompt(), ball_prompt(), ball_prompt())
    assert codes(answer) == ["OK", "UNKNOWN_OBJECT", "INVALID", "OK", "LIMIT_REACHED"], answer
    assert not answer.success and "3 of 5 refused: prompt 1: " in answer.message
    assert [r.bearing.object_id for r in answer.results] == [1, 0, 0, 2, 0]
    assert answer.epoch == planner.call(GetObjects, "get_objects").objects.epoch


def test_the_client_raises_the_code(planner: Station) -> None:
    client = Client(planner)
    assert client.prompt(ball_prompt(label="ball")).label == "ball"
    wrong_length = ObjectPrompt()
    wrong_length.box.extend([1.0] * 5)  # as the type does not allow
    for prompt, stamp, code in (
        (ObjectPrompt(), 0, PromptResult.INVALID),
        (wrong_length, 0, PromptResult.INVALID),
        (ObjectPrompt(object_id=9, points=[point(9, 9)]), 0, PromptResult.UNKNOWN_OBJECT),
        (ball_prompt(), planner.stamp + 1, PromptResult.STAMP_NOT_HELD),
    ):
        with pytest.raises(ClientError) as refusal:
            client.prompt(prompt, stamp=ns_to_stamp(stamp))
        assert refusal.value.code == code and str(refusal.value)
    with pytest.raises(ClientError, match="letters") as refusal:
        client.save("a/b")
    assert refusal.value.code == PromptResult.INVALID
    with pytest.raises(ClientError, match="no object has the id 9") as refusal:
        client.remove([9])
    assert refusal.value.code == PromptResult.UNKNOWN_OBJECT
    assert [o.label for o in client.objects().objects.objects] == ["ball"]
    assert client.image_frame() == FRAME
    with pytest.raises(ClientError, match="no service") as refusal:
        Client(planner, "nowhere", timeout=0.1).objects()
    assert refusal.value.code is None


@contextlib.contextmanager
def apart(log: Path, **settings: Any) -> Iterator[tuple[Process, Station]]:
    """Another node, and a station for it, in a namespace of their own."""
    with start(MODEL, log, namespace="/apart", **settings) as process:
        beside = Station("/apart")
        try:
            if settings.get("autostart", True):
                until_active(process)
            yield process, beside
        finally:
            beside.destroy_node()


@pytest.mark.faults
def test_a_node_that_is_not_configured_says_so_in_every_answer(station: Station, tmp_path: Path) -> None:
    with apart(tmp_path / "log.txt", autostart=False) as (_, idle):
        assert codes(idle.prompt(ball_prompt(), tries=4)) == ["NOT_ACTIVE"]
        for kind, name, request in (
            (RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=[1])),
            (GetObjects, "get_objects", None),
            (SaveMemory, "save_memory", SaveMemory.Request(name="home")),
            (LoadMemory, "load_memory", LoadMemory.Request(name="home")),
        ):
            answer = idle.call(kind, name, request, tries=4)
            assert not answer.success and answer.code == PromptResult.NOT_ACTIVE, answer
            assert "not configured" in answer.message
        reset = idle.call(Trigger, "reset", tries=4)
        assert not reset.success and "not configured" in reset.message


@pytest.mark.faults
def test_an_exception_is_answered_and_survived(station: Station, tmp_path: Path) -> None:
    with apart(tmp_path / "log.txt", fault="prompting_raises") as (process, beside):
        beside.show()
        answer = beside.prompt(ball_prompt(), ball_prompt())
        assert codes(answer) == ["INTERNAL", "INTERNAL"] and not answer.success
        assert answer.message == "RuntimeError: injected"
        assert beside.bearings[beside.show()].objects == []
        assert process.running and "service failed: RuntimeError: injected" in process.output


def test_answers_are_in_the_frame_of_what_is_published(station: Station, tmp_path: Path) -> None:
    """With target_frame and a transform; where there is none, in the image's, and the header says so."""
    settings = {"fault": "knows_a_transform", "target_frame": KNOWN_FRAME}
    with apart(tmp_path / "log.txt", **settings) as (process, beside):
        stamp = beside.show()
        answer = beside.prompt(ball_prompt())
        assert answer.success, answer
        (result,) = answer.results
        assert answer.header == Header(stamp=ns_to_stamp(stamp), frame_id=KNOWN_FRAME)
        expected = KNOWN_ROTATION @ SEAM
        assert np.allclose(vector(result.bearing.direction), expected, atol=0.02)
        stamp = beside.show()
        published, known = beside.bearings[stamp], beside.call(GetObjects, "get_objects")
        assert known.success and known.objects == published
        assert published.header == Header(stamp=ns_to_stamp(stamp), frame_id=KNOWN_FRAME)
        assert np.allclose(vector(published.objects[0].direction), expected, atol=0.02)
        beside.stamp += 100_000_000
        other = image_msg(beside.stamp)
        other.header.frame_id = "another_optical_frame"  # from which there is no transform
        while beside.stamp not in beside.bearings:
            beside.camera.publish(other)
            beside.spin_for(0.5)
        for header in (
            beside.bearings[beside.stamp].header,
            beside.prompt(ball_prompt()).header,
            beside.call(GetObjects, "get_objects").objects.header,
        ):
            assert header == other.header
        first, _ = beside.call(GetObjects, "get_objects").objects.objects
        assert np.allclose(vector(first.direction), SEAM, atol=0.02)
        assert process.running and "Traceback" not in process.output


def vector(msg: Vector3) -> Floats:
    return np.array([msg.x, msg.y, msg.z])
