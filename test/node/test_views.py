"""Views over real DDS, and the thread that draws them."""

from __future__ import annotations

import array
import math
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker

from helpers.onlooker import Onlooker
from helpers.process import Process, wait_for
from helpers.station import FRAME, HEIGHT, SEAM, WIDTH, ball_prompt, start, stations
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.ros.inference.latest_only_thread import LatestCounts, LatestOnlyThread
from panosam2_ros.ros.publishing.results import ResultPublishers
from panosam2_ros.ros.publishing.visualization_messages import CLOUD_POINT, SHAPES
from panosam2_ros.srv import RemoveObjects


@pytest.fixture(scope="module")
def station() -> Iterator[Onlooker]:
    yield from stations(Onlooker)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with start("panosam2_nano", tmp_path_factory.mktemp("node") / "log.txt", cloud_width=128) as process:
        yield process


@pytest.fixture
def viewer(process: Process, station: Onlooker) -> Iterator[Onlooker]:
    wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
    station.bearings.clear()
    station.call(Trigger, "reset")
    station.show()
    yield station
    station.look_away()


def test_nothing_is_drawn_while_nobody_looks(viewer: Onlooker) -> None:
    viewer.spin_until(lambda: viewer.value("views_drawn"))
    viewer.spin_for(0.5)
    before = viewer.value("views_drawn")
    received = int(viewer.value("frames_received"))
    for _ in range(3):
        viewer.show()
    viewer.spin_until(lambda: int(viewer.value("frames_received")) >= received + 3)
    assert viewer.value("views_drawn") == before
    viewer.look("overlay")
    viewer.shown("overlay")
    viewer.spin_until(lambda: int(viewer.value("views_drawn")) > int(before))


class Topic:
    """A publisher with a number of subscribers."""

    def __init__(self) -> None:
        self.subscribers = 0

    def get_subscription_count(self) -> int:
        return self.subscribers


OF_MASKS = ("masks", "overlay", "overlay/compressed", "mask_cloud")
OF_OTHERS = ("markers", "bearings", "panorama")


@pytest.mark.parametrize("topic, wanted", [(t, True) for t in OF_MASKS] + [(t, False) for t in OF_OTHERS])
def test_label_images_are_drawn_for_those_who_see_masks(topic: str, wanted: bool) -> None:
    topics: dict[str, Topic] = {}

    def create(_: type, name: str, *args: object, **options: object) -> Topic:
        return topics.setdefault(name.removeprefix("~/"), Topic())

    node = SimpleNamespace(create_lifecycle_publisher=create, create_publisher=create)
    outputs = ResultPublishers(node, None)  # type: ignore[arg-type]
    outputs.views.start()
    try:
        assert not outputs.want_labels()
        topics[topic].subscribers = 1
        assert outputs.want_labels() is wanted
    finally:
        outputs.views._thread.stop(5)  # type: ignore[union-attr]


def test_overlay_and_its_jpeg(viewer: Onlooker) -> None:
    viewer.look("overlay", "overlay/compressed")
    bare = pixels(viewer.shown("overlay"))
    assert viewer.prompt(ball_prompt(label="ball")).success
    msg = viewer.shown("overlay")
    assert msg.header.frame_id == FRAME and (msg.width, msg.height) == (WIDTH, HEIGHT)
    drawn = pixels(msg)
    assert (drawn != bare).any(-1).sum() > 200, "the object shows"
    jpeg = viewer.shown("overlay/compressed")
    assert jpeg.format == "jpeg" and jpeg.header.frame_id == FRAME
    decoded = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (HEIGHT, WIDTH, 3)
    assert viewer.set(overlay_width=128)[0].successful
    assert viewer.shown("overlay").width == 128
    viewer.set(overlay_width=1280)


def pixels(msg: Image) -> np.ndarray:
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.width, 3)


def test_markers_come_go_and_end_with_deactivation(viewer: Onlooker) -> None:
    viewer.look("markers")
    viewer.shown("markers")
    assert viewer.prompt(ball_prompt(label="ball"), ball_prompt(label="twin")).success
    msg = viewer.shown("markers")
    assert {(m.ns, m.id) for m in msg.markers} == {(ns, i) for ns in SHAPES for i in (1, 2)}
    assert all(m.header.frame_id == FRAME and m.action == Marker.ADD for m in msg.markers)
    arrow = next(m for m in msg.markers if m.type == Marker.ARROW and m.id == 1)
    tip = np.array([arrow.points[1].x, arrow.points[1].y, arrow.points[1].z])
    assert np.linalg.norm(tip) == pytest.approx(2.0)
    assert math.degrees(angle_between(tip / 2, SEAM)) < 10
    viewer.call(RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=[1]))
    msg = viewer.shown("markers")
    gone = {(m.ns, m.id) for m in msg.markers if m.action == Marker.DELETE}
    assert gone == {(ns, 1) for ns in SHAPES}
    assert all(m.id == 2 for m in viewer.shown("markers").markers), "deleted once"
    viewer.seen["markers"].clear()
    assert viewer.change(Transition.TRANSITION_DEACTIVATE)
    viewer.spin_until(lambda: viewer.seen["markers"], 20)
    assert [m.action for m in viewer.seen["markers"][-1].markers] == [Marker.DELETEALL]
    viewer.seen["markers"].clear()
    assert viewer.change(Transition.TRANSITION_ACTIVATE)
    viewer.shown("markers")
    first = viewer.seen["markers"][0].markers
    assert first[0].action == Marker.DELETEALL, "a node that was killed may have left markers"
    assert all(m.action == Marker.ADD for m in viewer.shown("markers").markers)


def test_cloud(viewer: Onlooker) -> None:
    viewer.look("mask_cloud")
    assert viewer.prompt(ball_prompt()).success
    msg = viewer.shown("mask_cloud")
    assert msg.header.frame_id == FRAME and msg.width * msg.point_step == msg.row_step == len(msg.data)
    points = np.frombuffer(msg.data, CLOUD_POINT)
    xyz = np.stack([points["x"], points["y"], points["z"]], -1)
    assert np.allclose(np.linalg.norm(xyz, axis=-1), 2.0, atol=1e-5)
    ball = points["id"] == 1
    assert ball.any() and (angle_between(xyz[ball] / 2, SEAM) < 0.6).mean() > 0.9
    assert viewer.set(sphere_radius=5.0, cloud_width=64)[0].successful
    fewer = np.frombuffer(viewer.shown("mask_cloud").data, CLOUD_POINT)
    assert len(fewer) < len(points) / 3 and abs(fewer["z"]).max() == pytest.approx(5.0, rel=0.01)
    viewer.set(sphere_radius=2.0, cloud_width=128)


def test_a_click_prompts_its_direction(viewer: Onlooker, process: Process) -> None:
    viewer.set(click_label="the ball")
    viewer.click(17.0 * SEAM)
    wait_for(lambda: "clicked point: object 1, label 'the ball'" in process.output, 20)
    found = viewer.bearings[viewer.show()].objects
    assert [(o.object_id, o.label) for o in found] == [(1, "the ball")]
    way = [found[0].direction.x, found[0].direction.y, found[0].direction.z]
    assert math.degrees(angle_between(way, SEAM)) < 10


@pytest.mark.parametrize(
    "xyz, frame, reason",
    [
        ((0, 0, 0), FRAME, "a click needs a point away from the camera"),
        ((math.nan, 0, 1), FRAME, "a click needs a point away from the camera"),
        ((1, 0, 1), "map", "'map'"),
    ],
)
def test_clicks_that_mean_nothing_are_refused_with_the_reason(
    viewer: Onlooker, process: Process, xyz: tuple[float, ...], frame: str, reason: str
) -> None:
    viewer.click(xyz, frame)
    viewer.spin_until(lambda: viewer.status and reason in viewer.status.message, 20)
    assert viewer.status is not None and viewer.status.level == DiagnosticStatus.ERROR
    assert "clicked point refused: " in process.output and reason in process.output
    assert viewer.bearings[viewer.show()].objects == []


def test_the_newest_wins_and_the_thread_ends() -> None:
    going, begun = threading.Event(), threading.Event()
    done: list[int] = []

    def work(item: int) -> None:
        begun.set()
        assert going.wait(20)
        done.append(item)

    latest = LatestOnlyThread(work, "test")
    latest.offer(1)
    assert begun.wait(20)
    for item in (2, 3, 4):
        latest.offer(item)
    going.set()
    wait_for(lambda: latest.counts == LatestCounts(done=2, dropped=2), 20)
    assert done == [1, 4]
    assert latest.stop(20)
    latest.offer(5)
    assert done == [1, 4] and latest.counts.done == 2


def test_what_hangs_is_left_behind_in_time() -> None:
    going = threading.Event()
    latest = LatestOnlyThread(lambda _: going.wait(20), "test")
    latest.offer(array.array("B"))
    time.sleep(0.1)
    assert not latest.stop(0.1)
    going.set()
    assert latest.stop(20)
