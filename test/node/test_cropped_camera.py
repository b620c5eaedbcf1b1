"""A camera whose panoramas end 60 degrees above and below the horizon, its ground truth, and a real node."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from sensor_msgs.msg import Image

from helpers.onlooker import Onlooker
from helpers.process import Process
from helpers.station import codes, direction, mask_msg, start, stations, until_active
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt
from panosam2_ros.ros.conversion.messages import stamp_to_ns
from panosam2_ros.ros.publishing.visualization_messages import CLOUD_POINT

FOV = math.radians(120)
GRID = Equirect(384, 128, FOV)  # 1920x640, smaller
SCENE = {
    "width": 384, "height": 128, "vertical_fov": FOV, "rate": 4.0, "seed": 5, "objects": 3, "distractors": 0,
    "object_speed": 0.0, "camera_speed": 0.0, "camera_tilt": 0.0, "occlusion": 0.0,
    "start_when_subscribed": 1,
}  # fmt: skip


class Watcher(Onlooker):
    """Takes the camera's ground truth, too."""

    def __init__(self) -> None:
        super().__init__()
        self.true_masks: dict[int, Image] = {}
        self.truth: dict[int, ObjectBearingArray] = {}
        self.create_subscription(Image, "virtual_camera/true_masks", self._on_true_masks, 20)
        self.create_subscription(ObjectBearingArray, "virtual_camera/true_bearings", self._on_truth, 20)

    def _on_true_masks(self, msg: Image) -> None:
        self.true_masks[stamp_to_ns(msg.header.stamp)] = msg

    def _on_truth(self, msg: ObjectBearingArray) -> None:
        self.truth[stamp_to_ns(msg.header.stamp)] = msg

    def newest(self) -> int:
        """Return the stamp of an image that is newer than now, with its results and ground truth."""
        last = max(self.truth, default=0)

        def complete() -> list[int]:
            known = self.truth.keys() & self.true_masks.keys() & self.masks.keys() & self.bearings.keys()
            return [stamp for stamp in known if stamp > last]

        self.spin_until(complete, 60)
        return max(complete())


@pytest.fixture(scope="module")
def watcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watcher]:
    folder = tmp_path_factory.mktemp("cropped")
    given = [word for name, value in SCENE.items() for word in ("-p", f"{name}:={value}")]
    with start("panosam2_nano", folder / "node.log", vertical_fov=FOV, cloud_width=128) as node:
        until_active(node)
        module = "panosam2_ros.demo.virtual_camera"
        with Process(module, "--ros-args", *given, log=folder / "camera.log"):
            yield from stations(Watcher)


def vector(item: ObjectBearing) -> np.ndarray:
    return np.array([item.direction.x, item.direction.y, item.direction.z])


def truth_at(watcher: Watcher, stamp: int) -> tuple[np.ndarray, dict[int, ObjectBearing]]:
    labels = np.frombuffer(watcher.true_masks[stamp].data, np.uint16).reshape(GRID.height, GRID.width)
    return labels, {item.object_id: item for item in watcher.truth[stamp].objects}


def test_masks_prompts_and_bearings_fit_the_ground_truth(watcher: Watcher) -> None:
    stamp = watcher.newest()
    labels, objects = truth_at(watcher, stamp)
    visible = [i for i, item in objects.items() if item.state == ObjectBearing.STATE_VISIBLE]
    prompts = [ObjectPrompt(mask=mask_msg(labels == i), label=str(i)) for i in visible]
    answer = watcher.prompt(*prompts, stamp=stamp)
    assert codes(answer) == ["OK"] * len(prompts) and len(prompts) >= 2
    for true_id, result in zip(visible, answer.results, strict=True):
        error = angle_between(vector(result.bearing), vector(objects[true_id]))
        assert math.degrees(error) < 0.1
        assert abs(result.bearing.elevation) < FOV / 2
    after = watcher.newest()
    assert (watcher.masks[after].width, watcher.masks[after].height) == (GRID.width, GRID.height)
    seen = {item.label: item for item in watcher.bearings[after].objects}
    for true_id in visible:  # nothing moves: the network's own bearings
        item = seen[str(true_id)]
        if item.state == ObjectBearing.STATE_VISIBLE:
            assert math.degrees(angle_between(vector(item), vector(objects[true_id]))) < 6.0
    assert any(item.state == ObjectBearing.STATE_VISIBLE for item in seen.values())


def test_prompts_and_clicks_above_the_image_are_refused_and_those_in_it_are_not(watcher: Watcher) -> None:
    stamp = watcher.newest()
    _, objects = truth_at(watcher, stamp)
    above, below = (lonlat_to_vector(1.0, side * math.radians(65)) for side in (1, -1))
    answer = watcher.prompt(*(ObjectPrompt(directions=[direction(way)]) for way in (above, below)))
    assert codes(answer) == ["INVALID", "INVALID"]
    for result in answer.results:
        assert "above or below the image, which covers 120.0 degrees" in result.message
    inside = next(vector(item) for item in objects.values() if item.state == ObjectBearing.STATE_VISIBLE)
    before = {item.object_id for item in watcher.bearings[watcher.newest()].objects}

    def clicked() -> set[int]:
        newest = max(watcher.bearings)
        return {item.object_id for item in watcher.bearings[newest].objects} - before

    watcher.click(above * 5)
    watcher.click(inside * 5)
    watcher.spin_until(clicked, 60)
    watcher.newest()
    assert len(clicked()) == 1
    (found,) = [i for i in watcher.bearings[max(watcher.bearings)].objects if i.object_id in clicked()]
    assert angle_between(vector(found), inside) < 0.5


def test_views_show_the_rows_that_there_are(watcher: Watcher) -> None:
    watcher.look("overlay", "markers", "mask_cloud")
    watcher.spin_until(lambda: all(watcher.seen[name] for name in ("overlay", "markers", "mask_cloud")), 60)
    picture, cloud = watcher.seen["overlay"][-1], watcher.seen["mask_cloud"][-1]
    assert picture.width == 3 * picture.height
    points = np.frombuffer(cloud.data, CLOUD_POINT)
    xyz = np.stack([points["x"], points["y"], points["z"]], -1)
    latitude = np.degrees(np.arcsin(-xyz[:, 1] / np.linalg.norm(xyz, axis=1)))
    assert latitude.max() == pytest.approx(60, abs=3) and latitude.min() == pytest.approx(-60, abs=3)
    assert watcher.seen["markers"][-1].markers
    watcher.look_away()
