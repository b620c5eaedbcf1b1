"""Boxes of a detector as messages, what they do with the tracker, and how many wait."""

from __future__ import annotations

import math
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from rclpy.serialization import serialize_message

from helpers.detector import Row, detections, vision_messages
from helpers.fuzzing import examples
from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.detections.new_things import DetectionRules
from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.conversion import detections as conversion
from panosam2_ros.ros.conversion.detections import DetectionsError, boxes_from_msg, parse_detections
from panosam2_ros.ros.inference.frame_buffer import NoSuchFrameError
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.services import detected_boxes
from panosam2_ros.ros.services.detected_boxes import DetectedBoxesInput
from panosam2_ros.ros.services.detection_handler import DetectionAnswer, DetectionHandler, DetectionRequest
from panosam2_ros.tracking.bearing_history import PastBearing
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import NOTHING_FOUND, PastTrack, PromptOutcome, PromptStatus, Track

GRID = Equirect(512, 256)
STAMP = 5 * 10**9

vision = pytest.fixture(scope="module")(vision_messages)


@pytest.fixture
def messages(vision: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(conversion, "DETECTIONS_TYPE", vision.Detection2DArray)
    monkeypatch.setattr(detected_boxes, "DETECTIONS_TYPE", vision.Detection2DArray)
    return vision


# --- messages


def test_boxes_and_their_best_classes_are_read(messages: Any) -> None:
    msg = detections(messages, STAMP, [("dog", 0.6, (10, 20, 30, 60)), ("cat", 0.5, (1, 1, 5, 5))])
    other = messages.ObjectHypothesisWithPose()
    other.hypothesis.class_id, other.hypothesis.score = "wolf", 0.7
    msg.detections[0].results.append(other)
    msg.detections[1].bbox.center.theta = math.pi / 2
    stamp, boxes = boxes_from_msg(parse_detections(serialize_message(msg)), 200)
    assert (stamp, boxes.classes, boxes.scores.tolist()) == (STAMP, ("wolf", "cat"), [0.7, 0.5])
    assert boxes.edges == pytest.approx(np.array([[10, 20, 30, 60], [1, 1, 5, 5]]))


def test_boxes_without_a_class_or_with_too_long_a_one_are_left_out(messages: Any) -> None:
    msg = detections(messages, STAMP, [("a" * 201, 0.9, (0, 0, 9, 9)), ("b" * 200, 0.9, (0, 0, 9, 9))])
    msg.detections.append(messages.Detection2D())
    assert boxes_from_msg(msg, 200)[1].classes == ("b" * 200,)


def test_a_stamp_of_zero_is_refused_with_the_remedy(messages: Any) -> None:
    with pytest.raises(DetectionsError, match="set it to that of the image"):
        boxes_from_msg(detections(messages, 0, []), 200)


@pytest.mark.faults
def test_what_is_too_large_is_refused_before_it_is_read(messages: Any) -> None:
    many = detections(messages, STAMP, [])
    many.detections = [messages.Detection2D()] * (conversion.MOST_MESSAGE_BOXES + 1)
    with pytest.raises(DetectionsError, match="at most 1000 boxes, got 1001"):
        parse_detections(serialize_message(many))
    with pytest.raises(DetectionsError, match="at most 4194304 bytes, got 4194305"):
        conversion.check_message_size(bytes(conversion.MOST_MESSAGE_BYTES + 1))


@pytest.mark.faults
@examples(60)
@given(st.data())
def test_any_damaged_message_of_boxes_is_read_or_refused(messages: Any, data: st.DataObject) -> None:
    whole = serialize_message(detections(messages, STAMP, [("dog", 0.6, (10, 20, 30, 60))] * 2))
    cut = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if cut:
            cut[data.draw(st.integers(0, len(cut) - 1))] = data.draw(st.integers(0, 255))
    try:
        _, boxes = boxes_from_msg(parse_detections(bytes(cut)), 200)
    except DetectionsError as error:
        assert len(str(error)) < 2000
    else:
        assert len(boxes.edges) == len(boxes.scores) == len(boxes.classes)


# --- the tracker


class FakeTracker:
    """Answers prompts with masks that fill their boxes, or with what it is told to."""

    max_objects = 4

    def __init__(self) -> None:
        self.known: list[Track] = []
        self.answer: Any = None  # in the place of a mask
        self.replaying, self.replay_stamp = 0, STAMP
        self.prompted: list[str] = []

    def tracks(self) -> list[Track]:
        return self.known

    def tracks_at(self, stamp: int) -> list[PastTrack]:
        return [PastTrack(t.obj_id, t.label, PastBearing(stamp, t.state, t.bearing)) for t in self.known]

    def prompt(self, image: Any, stamp: int, prompts: list[Prompt]) -> list[PromptOutcome]:
        outcomes = []
        for prompt in prompts:
            assert prompt.box is not None and prompt.obj_id == 0
            self.prompted.append(prompt.label)
            if self.answer is NOTHING_FOUND:
                outcomes.append(NOTHING_FOUND)
                continue
            u_min, v_min, u_max, v_max = self.answer or prompt.box
            direction = GRID.pixel_to_vector((u_min + u_max) / 2, (v_min + v_max) / 2)
            wide, high = (u_max - u_min + 1) * 2 * math.pi / 512, (v_max - v_min + 1) * math.pi / 256
            bearing = Bearing(direction, np.eye(2), wide, high, wide * high)
            track = Track(
                len(self.known) + 1, prompt.label, TrackState.VISIBLE, 1.0, 1.0, stamp, bearing, np.zeros(3)
            )
            self.known.append(track)
            outcomes.append(PromptOutcome(PromptStatus.OK, "", track))
        return outcomes

    def withdraw(self, obj_ids: list[int]) -> None:
        self.known = [track for track in self.known if track.obj_id not in obj_ids]


class FakeFrames:
    """Holds the images of two stamps."""

    def __init__(self) -> None:
        self.tracker = FakeTracker()
        self.newest = object()
        self.image = np.zeros((256, 512, 3), np.uint8)

    def received_at(self, stamp: int) -> Any:
        if stamp not in (STAMP, 0):
            raise NoSuchFrameError("expired")
        return SimpleNamespace(stamp=STAMP)

    def frame_at(self, stamp: int) -> Any:
        return self.received_at(stamp), self.image if stamp else np.zeros((256, 512, 3), np.uint8)


def request(*rows: Row, stamp: int = STAMP, rate: float = 10.0) -> DetectionRequest:
    names, scores, edges = zip(*rows, strict=True) if rows else ((), (), ())
    boxes = DetectedBoxes(np.reshape(np.array(edges, float), (-1, 4)), np.array(scores, float), tuple(names))
    return DetectionRequest(stamp, boxes, DetectionRules(), rate, math.pi)


def row(name: str, u: float, score: float = 0.9) -> Row:
    return name, score, (u - 20, 100, u + 20, 140)


def test_new_things_become_objects_and_known_ones_do_not() -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    first = handler.add(frames, request(row("a", 100), row("b", 300)))  # type: ignore[arg-type]
    assert [track.label for track in first.made] == ["a", "b"]
    second = handler.add(frames, request(row("a", 104), row("b", 298), row("c", 400)))  # type: ignore[arg-type]
    assert [track.label for track in second.made] == ["c"] and len(frames.tracker.known) == 3


def test_the_rate_and_the_limit_of_objects_are_kept() -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    rows = [row(f"thing {i}", 60 + 80 * i, 0.9 - 0.05 * i) for i in range(5)]
    answer = handler.add(frames, request(*rows, rate=2.0))  # type: ignore[arg-type]
    assert ([t.label for t in answer.made], answer.postponed, answer.without_room) == (
        ["thing 0", "thing 1"], 2, 1,
    )  # fmt: skip
    again = handler.add(frames, request(*rows, rate=100.0))  # type: ignore[arg-type]
    assert len(again.made) == 2 and again.without_room == 1 and len(frames.tracker.known) == 4


@pytest.mark.parametrize("answer", [NOTHING_FOUND, (90, 118, 92, 120), (0, 0, 511, 255)])
def test_objects_of_other_masks_than_their_boxes_are_taken_back(answer: Any) -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    frames.tracker.answer = answer
    found = handler.add(frames, request(row("a", 100)))  # type: ignore[arg-type]
    assert not found.made and found.withdrawn == 1 and not frames.tracker.known


def test_what_fails_again_and_again_keeps_nothing_out() -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    frames.tracker.answer = NOTHING_FOUND
    for _ in range(3):
        handler._limit._granted = 0  # a second later
        handler.add(frames, request(row("a", 100), row("b", 200), row("c", 300), rate=1.0))  # type: ignore[arg-type]
    assert sorted(frames.tracker.prompted) == ["a", "b", "c"]


def test_boxes_wait_until_objects_have_been_replayed_to_their_image() -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    frames.tracker.replaying, frames.tracker.replay_stamp = 1, STAMP - 1
    assert handler.add(frames, request(row("a", 100))) == DetectionAnswer(replaying=True)  # type: ignore[arg-type]
    frames.tracker.replay_stamp = STAMP
    assert len(handler.add(frames, request(row("a", 100))).made) == 1  # type: ignore[arg-type]


def test_nothing_is_made_on_an_image_of_another_size_or_one_that_is_not_held() -> None:
    frames, handler = FakeFrames(), DetectionHandler()
    frames.image = np.zeros((512, 1024, 3), np.uint8)
    assert not handler.add(frames, request(row("a", 100))).made  # type: ignore[arg-type]
    with pytest.raises(NoSuchFrameError):
        handler.add(frames, request(row("a", 100), stamp=7))  # type: ignore[arg-type]


# --- the topic


class Pause:
    """What a coroutine awaits until it is sent something."""

    def __await__(self) -> Any:
        return (yield)


class FakeServers:
    """Keeps what it is to run, and answers when it is told to."""

    def __init__(self) -> None:
        self.stamps: list[int] = []

    async def run(self, job: Any, *, stamp: int) -> Any:
        self.stamps.append(stamp)
        return await Pause()

    def failed(self, error: Exception) -> None:
        raise error


def topic(servers: FakeServers) -> tuple[DetectedBoxesInput, list[str]]:
    said: list[str] = []
    node: Any = SimpleNamespace(
        get_logger=lambda: SimpleNamespace(info=said.append), create_subscription=lambda *_, **__: None
    )
    context: Any = SimpleNamespace(worker=object(), save_soon=lambda: said.append("saved"))
    reporter: Any = SimpleNamespace(note=lambda text, kind: said.append(text))
    return DetectedBoxesInput(node, servers, reporter, context, Parameters), said  # type: ignore[arg-type]


def advance(waiting: Coroutine[Any, Any, None], answer: Any = None) -> bool:
    """Send an answer; return whether the coroutine is over."""
    try:
        waiting.send(answer)
    except StopIteration:
        return True
    return False


@pytest.mark.usefixtures("messages")
def test_of_messages_that_come_too_fast_the_newest_is_next(vision: Any) -> None:
    servers = FakeServers()
    boxes, _ = topic(servers)
    data = [serialize_message(detections(vision, stamp, [])) for stamp in (1, 2, 3)]
    first = boxes._arrived(data[0])
    assert not advance(first)
    assert advance(boxes._arrived(bytes(conversion.MOST_MESSAGE_BYTES + 1)))  # does not even wait
    for late in data[1:]:
        assert advance(boxes._arrived(late))
    assert not advance(first, DetectionAnswer()) and advance(first, DetectionAnswer())
    assert servers.stamps == [1, 3]
    assert (boxes.counts.received, boxes.counts.dropped, boxes.counts.refused) == (4, 1, 1)


@pytest.mark.usefixtures("messages")
def test_problems_are_findings_for_a_while(vision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    boxes, _ = topic(FakeServers())
    assert boxes.findings == {}
    waiting = boxes._arrived(serialize_message(detections(vision, 1, [])))
    advance(waiting)
    assert advance(waiting, DetectionAnswer(without_room=2))
    assert "max_objects" in boxes.findings["detections"].text
    monkeypatch.setattr(detected_boxes, "_STAYS", 0.0)
    assert boxes.findings == {}


@pytest.mark.skipif(detected_boxes.DETECTIONS_TYPE is not None, reason="vision_msgs is installed")
def test_without_vision_msgs_one_line_names_the_package_and_the_command() -> None:
    _, said = topic(FakeServers())
    (line,) = said
    assert "vision_msgs is not installed" in line and "apt install ros-$ROS_DISTRO-vision-msgs" in line
