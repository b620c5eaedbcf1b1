"""What the services do with the tracker: codes of single prompts, and the frame of answers."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector
from panosam2_ros.model.build import random_model
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.prompts.limits import PromptLimits
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.ros.conversion.messages import image_message
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.services import handlers
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.srv import PromptObjects, RemoveObjects
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import PromptOutcome, Track
from panosam2_ros.tracking.tracker import PanoTracker

AHEAD = lonlat_to_vector(0.0, 0.0)
STAMP = 7_000_000_005
A_POINT = ObjectPrompt(points=[PromptPoint(u=9.0, v=9.0, label=PromptPoint.FOREGROUND)])


def track(obj_id: int) -> Track:
    bearing = Bearing(AHEAD, np.diag([0.04, 0.01]), 0.1, 0.2, 0.3)
    return Track(obj_id, "mug", TrackState.VISIBLE, 0.9, 0.8, STAMP, bearing, np.array([0.0, 0.5, 0.0]))


class FakeTracker:
    """Answers prompts with the given statuses; knows the objects 1 and 4."""

    epoch, max_objects, memory_bytes = 3, 32, 3 << 19

    def __init__(self, *statuses: PromptStatus) -> None:
        self.statuses = statuses
        self.prompted: list[Prompt] = []

    def prompt(self, image: Any, stamp: int, prompts: list[Prompt]) -> list[PromptOutcome]:
        assert stamp == STAMP and image.shape == (128, 256, 3)
        self.prompted = prompts
        return [
            PromptOutcome(
                status, "" if status is PromptStatus.OK else "because", track(1) if not status else None
            )
            for status in self.statuses
        ]

    def tracks(self) -> tuple[Track, ...]:
        return track(1), track(4)

    def remove(self, obj_ids: list[int]) -> list[int]:
        return sorted({1, 4} & set(obj_ids))


class FakeTarget:
    """Knows the way from the images' frame to the frame map, in which everything is a quarter turn on."""

    turn: Floats = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # about z

    def of(self, header: Header, camera: CameraFrame) -> tuple[Header, CameraFrame]:
        assert header.frame_id == "base"
        there = Header(stamp=header.stamp, frame_id="map")
        return there, camera.seen_from(self.turn, FrameConvention.BODY)


class NoTarget:
    """Leaves everything in the images' frame."""

    def of(self, header: Header, camera: CameraFrame) -> tuple[Header, CameraFrame]:
        return header, camera


def header() -> Header:
    made = Header(frame_id="base")
    made.stamp.sec, made.stamp.nanosec = 7, 5
    return made


def worker(tracker: Any, *, images: bool = True) -> Any:
    frame = ReceivedImage(STAMP, SimpleNamespace(header=header()), 0)
    image = np.zeros((128, 256, 3), np.uint8)
    return SimpleNamespace(
        tracker=tracker, newest=frame if images else None, frame_at=lambda stamp: (frame, image)
    )


def geometry(target: Any) -> handlers.ImageGeometry:
    return handlers.ImageGeometry(math.pi, lambda _: CameraFrame(FrameConvention.BODY), target)


def test_the_trackers_statuses_are_the_answers_codes_in_the_order_of_the_prompts() -> None:
    given = [status for status in PromptStatus if status is not PromptStatus.INVALID]
    tracker = FakeTracker(*given)
    bad = ObjectPrompt(box=[1.0])
    request = PromptObjects.Request(prompts=[bad, *([A_POINT] * len(given)), bad])
    answer = handlers.prompt_objects(worker(tracker), request, geometry(NoTarget()))
    assert len(tracker.prompted) == len(given)
    expected = [PromptStatus.INVALID, *given, PromptStatus.INVALID]
    assert [result.code for result in answer.results] == expected
    assert not answer.success and f"{len(expected) - 1} of {len(expected)} refused" in answer.message
    assert [bool(result.message) for result in answer.results] == [code != 0 for code in expected]
    states = {result.bearing.state for result in answer.results if result.code}
    assert states == {ObjectBearing.STATE_UNKNOWN}
    assert answer.epoch == 3 and answer.header == header()


def test_what_a_tracker_refuses_has_its_code() -> None:
    tracker = PanoTracker(random_model(1).eval().requires_grad_(False), TrackerConfig(max_objects=1))
    images = [np.random.default_rng(i).integers(0, 255, (128, 256, 3), np.uint8) for i in range(2)]
    for i, image in enumerate(images):
        tracker.step(image, STAMP + i)

    def prompt(image: int, *prompts: ObjectPrompt) -> list[int]:
        at: Any = worker(tracker)
        at.frame_at = lambda _: (replace(at.newest, stamp=STAMP + image), images[image])
        answer = handlers.prompt_objects(
            at, PromptObjects.Request(prompts=list(prompts)), geometry(NoTarget())
        )
        return [result.code for result in answer.results]

    mask = np.zeros((128, 256), np.uint8)
    mask[40:80, 100:150] = 255
    first = ObjectPrompt(mask=image_message(Header(), mask, "mono8"))
    assert prompt(0, first) == [PromptResult.OK]  # on the older image: to be tracked to the newest
    on_it = [PromptPoint(u=120.0, v=60.0, label=PromptPoint.FOREGROUND)]
    correction = ObjectPrompt(object_id=1, points=on_it)
    unknown = ObjectPrompt(object_id=9, points=on_it)
    assert prompt(1, correction, unknown, first) == [
        PromptResult.BUSY, PromptResult.UNKNOWN_OBJECT, PromptResult.LIMIT_REACHED,
    ]  # fmt: skip


def test_a_request_without_prompts_is_invalid() -> None:
    with pytest.raises(CallRefusedError, match="no prompts") as refusal:
        handlers.prompt_objects(worker(FakeTracker()), PromptObjects.Request(), geometry(NoTarget()))
    assert refusal.value.code == PromptResult.INVALID


@pytest.mark.parametrize(
    ("target", "frame_id", "direction"), [(NoTarget(), "base", [1, 0, 0]), (FakeTarget(), "map", [0, 1, 0])]
)
def test_answers_say_their_frame_and_are_in_it(target: Any, frame_id: str, direction: list[int]) -> None:
    tracker = FakeTracker(PromptStatus.OK)
    request = PromptObjects.Request(prompts=[A_POINT])
    answer = handlers.prompt_objects(worker(tracker), request, geometry(target))
    known = handlers.get_objects(worker(tracker), geometry(target))
    assert answer.success and known.success
    bearings = [answer.results[0].bearing, *known.objects.objects]
    assert [bearing.object_id for bearing in bearings] == [1, 1, 4]
    for found in (answer.header, known.objects.header):
        assert (found.frame_id, found.stamp) == (frame_id, header().stamp)
    for bearing in bearings:
        told = bearing.direction
        assert np.allclose([told.x, told.y, told.z], direction)
        assert bearing.azimuth == pytest.approx(math.atan2(direction[1], direction[0]))
        assert np.allclose(bearing.direction_covariance, [0.04, 0, 0, 0.01])
        turning = bearing.angular_velocity  # about y down in optical axes: about z up, clockwise
        assert np.allclose([turning.x, turning.y, turning.z], [0, 0, -0.5])


def test_objects_are_known_before_the_first_image_and_their_frame_is_not() -> None:
    known = handlers.get_objects(worker(FakeTracker(), images=False), geometry(FakeTarget()))
    assert known.success and known.code == PromptResult.OK
    assert known.objects.header == Header() and [o.object_id for o in known.objects.objects] == [1, 4]
    assert (known.memory_bytes, known.max_objects, known.objects.epoch) == (3 << 19, 32, 3)


def test_requests_of_too_many_prompts_are_refused_as_a_whole() -> None:
    limits = PromptLimits(prompts=2)
    handlers.check_prompt_count(2, limits)
    with pytest.raises(CallRefusedError, match=r"at most 2 prompts \(max_prompts\), got 3") as refusal:
        handlers.check_prompt_count(3, limits)
    assert refusal.value.code == PromptResult.INVALID


def test_removing_names_no_more_than_twenty_ids() -> None:
    request = RemoveObjects.Request(object_ids=list(range(5, 60_000)))
    answer = handlers.remove_objects(worker(FakeTracker()), request)
    assert not answer.success and len(answer.message) < 200 and "and 59975 more" in answer.message
    request = RemoveObjects.Request(object_ids=[1] * 70_000)
    with pytest.raises(CallRefusedError, match="object_ids has 70000 ids") as refusal:
        handlers.remove_objects(worker(FakeTracker()), request)
    assert refusal.value.code == PromptResult.INVALID


def test_removing() -> None:
    def remove(*ids: int) -> RemoveObjects.Response:
        request = RemoveObjects.Request(object_ids=list(ids))
        return handlers.remove_objects(worker(FakeTracker()), request)

    done = remove(4, 1)
    assert done.success and done.code == PromptResult.OK and list(done.removed) == [1, 4]
    assert done.message == ""
    partly = remove(1, 9)
    assert not partly.success and partly.code == PromptResult.UNKNOWN_OBJECT
    assert list(partly.removed) == [1] and "no object has the id 9" in partly.message
    with pytest.raises(CallRefusedError, match="object_ids is empty") as refusal:
        remove()
    assert refusal.value.code == PromptResult.INVALID
