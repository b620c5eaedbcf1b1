"""Boxes of a detector over DDS to the node: each new thing becomes one object, and nothing else does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus

from helpers.detector import Detector, Row, detections, detector_topic, panorama_box, vision_messages
from helpers.film import Film
from helpers.process import Process
from helpers.station import RADIUS, SEAM, Station, ball_prompt, cap, forgetful, start, stations, until_active
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.simulation.scene import SceneConfig

LATE = 20  # frames, two seconds
THINGS = SceneConfig(
    width=640,
    height=320,
    frames=60,
    objects=(4, 4),
    size=(math.radians(20), math.radians(45)),
    object_speed=(0.0, math.radians(1.5)),
    camera_speed=math.radians(1.0),
    full_rotation=0.0,
    distractors=(0, 0),
    occlusion=0.0,
    look_alike=0.0,
    seam=1.0,
    pole=0.0,
)
MOST = 5  # objects that the node may know
BALL = panorama_box(cap(SEAM))

vision = pytest.fixture(scope="module")(vision_messages)
camera = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("node") / "log.txt"
    settings = {"detection_rate": 20.0, "history_seconds": 6.0, "max_objects": MOST}
    with start("panosam2_nano", log, packages=("vision_msgs",), **settings) as running:
        until_active(running)
        yield running


@pytest.fixture(scope="module")
def topic(camera: Station, vision: Any, process: Process) -> Any:
    publisher = detector_topic(camera, vision)
    camera.spin_until(lambda: publisher.get_subscription_count(), 60)
    return publisher


@pytest.fixture
def station(camera: Station, process: Process, topic: Any) -> Station:
    return forgetful(process, camera)


def count(station: Station, name: str) -> int:
    return int(station.value(f"detections_{name}") or 0)


def send(station: Station, topic: Any, msg: Any) -> None:
    """Publish boxes until the node has done with a message of them."""
    station.spin_until(lambda: station.value("detections_received") != "", 60)
    before = count(station, "received")
    for _ in range(20):
        topic.publish(msg)
        end = time.monotonic() + 3
        while time.monotonic() < end and count(station, "received") == before:
            station.spin_for(0.1)
        if count(station, "received") > before:
            return
    raise AssertionError("the node received none of twenty messages")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_each_thing_that_a_late_detector_sees_gets_one_id(station: Station, topic: Any, vision: Any) -> None:
    """Boxes are shaken, missed, doubled, cut in two at the seam, and two seconds late."""
    film = Film(station, THINGS, 9)
    names = {each.obj_id: f"kind {each.obj_id}" for each in film.scene.truth(0).objects}
    detector = Detector(names)
    ids: dict[int, str] = {}
    for index in range(THINGS.frames):
        film.show()
        ids |= {each.object_id: each.label for each in film.bearings(index)}
        if index >= LATE:
            rows = detector.find(film.scene.truth(index - LATE).labels)
            topic.publish(detections(vision, film.stamps[index - LATE], rows))
    station.stamp = film.stamps[-1]  # for the images of other tests
    expected = sorted(names.values())
    assert sorted(ids.values()) == expected, "each label once in the whole film, and nothing else"
    last = film.bearings(index)
    assert sorted(each.label for each in last) == expected
    assert detector.halves > 20 and count(station, "expired") == 0
    things = {name: obj_id for obj_id, name in names.items()}
    errors = {each.label: math.degrees(film.error(each, things[each.label], index)) for each in last}
    print("degrees between bearings and ground truth:", errors)
    assert sum(error < 5 for error in errors.values()) >= len(names) - 1, errors


def test_a_known_object_keeps_its_id_and_label(station: Station, topic: Any, vision: Any) -> None:
    stamp = station.show()
    answer = station.prompt(ball_prompt(label="mine"))
    assert answer.success, answer.message
    send(station, topic, detections(vision, stamp, [("ball", 0.9, BALL)]))
    (found,) = station.bearings[station.show()].objects
    assert (found.object_id, found.label) == (answer.results[0].bearing.object_id, "mine")


def test_boxes_of_a_view_are_those_of_its_part_of_the_panorama(
    station: Station, topic: Any, vision: Any
) -> None:
    view = PerspectiveView.facing(UPRIGHT, math.pi, 0.0, math.radians(90), (320, 240))
    u, v = view.vector_to_pixel(SEAM)
    half = view.focal * math.tan(RADIUS)
    rows = [("ball", 0.9, (u - half, v - half, u + half, v + half))]
    changed = {"fov": math.radians(90), "azimuth": math.pi, "width": 320, "height": 240}
    station.set(**{f"detection_{name}": value for name, value in changed.items()})
    try:
        send(station, topic, detections(vision, station.show(), rows))
        (found,) = station.bearings[station.show()].objects
    finally:
        station.set(**{f"detection_{name}": type(value)(0) for name, value in changed.items()})
    towards = np.array([found.direction.x, found.direction.y, found.direction.z])
    assert angle_between(towards, SEAM) < 0.1 and found.label == "ball"


def test_classes_and_scores_that_are_not_wanted_make_nothing(
    station: Station, topic: Any, vision: Any
) -> None:
    stamp = station.show()
    station.set(detection_classes="person, ball")
    try:
        send(station, topic, detections(vision, stamp, [("dog", 0.9, BALL), ("ball", 0.4, BALL)]))
        assert not station.bearings[station.show()].objects
        send(station, topic, detections(vision, station.show(), [("ball", 0.9, BALL)]))
        assert len(station.bearings[station.show()].objects) == 1
    finally:
        station.set(detection_classes="")


@pytest.mark.faults
def test_boxes_of_images_that_are_not_held_are_counted_and_said(
    station: Station, topic: Any, vision: Any
) -> None:
    station.show()
    before = count(station, "expired"), count(station, "refused")
    send(station, topic, detections(vision, station.stamp - 3_600 * 10**9, [("ball", 0.9, BALL)]))
    station.until_status(DiagnosticStatus.WARN, "has expired")
    assert station.status is not None and "history_seconds" in station.status.message
    send(station, topic, detections(vision, 0, [("ball", 0.9, BALL)]))
    station.until_status(DiagnosticStatus.WARN, "header.stamp of a message of boxes is zero")
    station.spin_until(lambda: count(station, "refused") > before[1])
    assert count(station, "expired") > before[0]
    assert not station.bearings[station.show()].objects


@pytest.mark.faults
def test_boxes_that_are_none_are_refused_and_the_node_lives(
    station: Station, process: Process, topic: Any, vision: Any
) -> None:
    stamp, before = station.show(), count(station, "boxes_refused")
    bad: list[Any] = [
        (math.nan, 0, 10, 10), (0, 0, math.inf, 10), (-math.inf, 0, math.inf, 10), (30, 30, 10, 10),
        (1e300, 0, 1.1e300, 10), (10, 900, 20, 990), (10, 10, 10.5, 40),
    ]  # fmt: skip
    rows: list[Row] = [("ball", 0.9, edges) for edges in bad]
    rows += [("ball", math.nan, BALL), ("x" * 100_000, 0.9, BALL)]
    send(station, topic, detections(vision, stamp, rows))
    station.spin_until(lambda: count(station, "boxes_refused") >= before + len(rows))
    many = detections(vision, stamp, [])
    for number, text in ((2_000, "at most 1000 boxes"), (100_000, "at most 4194304 bytes")):
        many.detections = [vision.Detection2D()] * number
        send(station, topic, many)
        station.until_status(DiagnosticStatus.WARN, text)
    assert not station.bearings[station.show()].objects
    send(station, topic, detections(vision, station.show(), [("ball", 0.9, BALL)]))
    (found,) = station.bearings[station.show()].objects
    assert found.label == "ball" and process.running and "Traceback" not in process.output


def test_no_more_objects_are_made_than_may_be_known_nor_than_the_rate_allows(
    station: Station, topic: Any, vision: Any
) -> None:
    station.set(detection_rate=0.0)
    try:
        send(station, topic, detections(vision, station.show(), [("ball", 0.9, BALL)]))
        assert not station.bearings[station.show()].objects
    finally:
        station.set(detection_rate=20.0)
    # pieces of sky, one of which is left out
    rows: list[Row] = [(f"piece {i}", 0.9, (40 * i, 40, 40 * i + 20, 60)) for i in range(5)]
    for _ in range(4):
        send(station, topic, detections(vision, station.show(), rows))
    assert len(station.bearings[station.show()].objects) <= MOST
