"""Run boxes, tracking and places end to end on a synthetic street, and compare with the ground truth.

    python -m tools.street_run --out out/street

A robot drives along a street with a panoramic camera of 1920x640 pixels (120 degrees), a lidar of 0.2 degrees
and a detector. `panosam2_node` and `panosam2_places` run as processes of their own. Written are the figures
as JSON, and the last panorama with masks and ranges above a map. Needs ROS 2 with vision_msgs and tf2_ros.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.camera_frame import CameraFrame, FrameConvention
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.object_place import ELLIPSOID_95
from panosam2_ros.ros.conversion.messages import (
    byte_array,
    image_message,
    ns_to_stamp,
    stamp_to_ns,
    vector_msg,
)
from panosam2_ros.ros.dds import PROFILES_VARIABLE, keep_buffers
from panosam2_ros.ros.places.place_messages import quaternion_msg
from panosam2_ros.ros.places.range_messages import mask_labels
from panosam2_ros.simulation.range_sensor import DepthPanorama, LidarSpec, SensorPose, lidar_scan
from panosam2_ros.visualization import drawing
from tools.street_scene import street, street_view

ROOT = Path(__file__).resolve().parents[1]
GRID = Equirect(1920, 640, math.radians(120))
CAMERA, LIDAR = "camera_optical_frame", "lidar"
HEIGHTS = {CAMERA: 1.5, LIDAR: 1.9}  # m
OPTICAL = CameraFrame(FrameConvention.BODY).rotation()
NAMES = {1: "car", 2: "car", 3: "van", 4: "person", 5: "person", 6: "bin"}
_STEP, _PERIOD = 0.2, 200_000_000  # m and ns between two images
_LEAST_PIXELS = 150  # of an object that the detector finds
_DETECT_EVERY = 2  # images
_NEAR = 1.5  # m: a place within it is of that object
_XYZ = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4")])


class StreetRobot(Node):
    """Sensors and detector of the robot, and a reader of what the two nodes publish."""

    def __init__(self) -> None:
        super().__init__("street_robot")
        from tf2_ros import StaticTransformBroadcaster, TransformBroadcaster
        from vision_msgs.msg import Detection2DArray, Detection3DArray

        self.images = self.create_publisher(Image, "image", 2)
        self.clouds = self.create_publisher(PointCloud2, "points", qos_profile_sensor_data)
        self.boxes = self.create_publisher(Detection2DArray, "panosam2/detections_in", 5)
        self.odometry, self._static = TransformBroadcaster(self), StaticTransformBroadcaster(self)
        self._static.sendTransform(
            [
                transform("base_link", name, (0.0, 0.0, height), 0, OPTICAL if name == CAMERA else np.eye(3))
                for name, height in HEIGHTS.items()
            ]
        )
        self.masks: dict[int, Image] = {}
        self.places: dict[int, Any] = {}
        self.create_subscription(Image, "panosam2/masks", _kept(self.masks), 5)
        self.create_subscription(Detection3DArray, "panosam2_places/objects_3d", _kept(self.places), 5)

    def spin_until(self, condition: Callable[[], Any], timeout: float) -> bool:
        """Spin until a condition holds; return whether it does in time."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                return False
            rclpy.spin_once(self, timeout_sec=0.05)
        return True


def _kept(messages: dict[int, Any]) -> Callable[[Any], None]:
    """Return a callback that keeps messages by stamp, ns."""
    return lambda msg: messages.__setitem__(stamp_to_ns(msg.header.stamp), msg)


def transform(
    parent: str, child: str, at: tuple[float, float, float], stamp: int, turn: Floats
) -> TransformStamped:
    """Make a transform from ``child`` to ``parent``."""
    made = TransformStamped(child_frame_id=child)
    made.header.frame_id, made.header.stamp = parent, ns_to_stamp(stamp)
    made.transform.translation, made.transform.rotation = vector_msg(at), quaternion_msg(turn)
    return made


def cloud(points: NDArray[np.float32], stamp: int) -> PointCloud2:
    """Make the lidar's message."""
    fields = [
        PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")
    ]
    header = Header(stamp=ns_to_stamp(stamp), frame_id=LIDAR)
    made = PointCloud2(header=header, height=1, width=len(points), fields=fields)
    made.point_step, made.row_step, made.data = 12, 12 * len(points), byte_array(points)
    return made


def detections(truth: DepthPanorama, header: Header, rng: np.random.Generator) -> Any:
    """Make the detector's boxes: those of the visible objects, off by a pixel or two."""
    from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

    found = []
    for obj_id, name in NAMES.items():
        mask = truth.labels == obj_id
        box = mask_box(mask) if mask.sum() >= _LEAST_PIXELS else None
        if box is None:
            continue
        left, top, right, bottom = np.array(box) + rng.normal(0, 1.5, 4)
        made = Detection2D(header=header, results=[ObjectHypothesisWithPose()])
        made.results[0].hypothesis.class_id, made.results[0].hypothesis.score = name, 0.9
        width = box_width(left, right, GRID.width) + 1
        made.bbox.center.position.x = float((left + width / 2) % GRID.width)
        made.bbox.center.position.y = float((top + bottom) / 2)
        made.bbox.size_x, made.bbox.size_y = float(width), float(bottom - top + 1)
        found.append(made)
    return Detection2DArray(header=header, detections=found)


def true_places(truth: DepthPanorama, camera: SensorPose) -> dict[int, Floats]:
    """Return the middle of each object's visible surface, in odom."""
    found = {}
    for obj_id in NAMES:
        mask = truth.labels == obj_id
        bearing = mask_bearing(mask, GRID) if mask.sum() >= _LEAST_PIXELS else None
        if bearing is not None:
            found[obj_id] = camera.position + OPTICAL @ bearing.direction * float(truth.ranges[mask].mean())
    return found


@contextmanager
def nodes(folder: Path, model: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run both nodes while the block runs; their logs are in ``folder``."""
    fov = ["-p", f"vertical_fov:={GRID.vertical_fov}"]
    places = ["-r", "masks:=panosam2/masks", "-r", "bearings:=panosam2/bearings", "-p", "wait:=5.0"]
    programs = {
        "panosam2_ros.ros.node": [
            *fov,
            "-p",
            f"model:={model}",
            "-p",
            "history_seconds:=60.0",
            "-p",
            "detection_rate:=20.0",
        ],
        "panosam2_ros.ros.places.node": [*fov, *places, "-p", "target_frame:=odom"],
    }
    started = []
    try:
        for module, arguments in programs.items():
            with open(folder / f"{module.split('.')[-2]}.log", "wb") as log:
                command = [sys.executable, "-m", module, "--ros-args", *arguments]
                started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


@dataclass
class StreetScore:
    """How the places compare with the truth."""

    images: int = 0
    visible: int = 0  # objects in all images
    errors: list[float] = field(default_factory=list)  # of those placed, shares of the range
    inside: list[bool] = field(default_factory=list)  # of the 95 % ellipsoid

    def judge(self, places: Any, true: dict[int, Floats], camera: Floats) -> None:
        """Count the places of one image."""
        self.images += 1
        for obj_id, at in true.items():
            self.visible += 1
            same = [
                d
                for d in places.detections
                if np.linalg.norm(_position(d) - at) < _NEAR
                and d.results[0].hypothesis.class_id == NAMES[obj_id]
            ]
            if same:
                offset = _position(same[0]) - at
                covariance = np.array(same[0].results[0].pose.covariance).reshape(6, 6)[:3, :3]
                self.errors.append(float(np.linalg.norm(offset) / np.linalg.norm(at - camera)))
                self.inside.append(bool(offset @ np.linalg.solve(covariance, offset) <= ELLIPSOID_95))

    def summary(self) -> dict[str, float | int]:
        """Return the figures as JSON types."""
        figures: dict[str, float | int] = {"images": self.images, "visible_objects": self.visible}
        figures["placed"] = len(self.errors)
        if self.errors:
            figures["median_error_percent_of_range"] = round(100 * float(np.median(self.errors)), 2)
            figures["in_95_percent_ellipsoid"] = round(float(np.mean(self.inside)), 3)
        return figures


@dataclass(frozen=True, eq=False)
class StreetMoment:
    """What the sensors measure at one moment."""

    picture: NDArray[np.uint8]  # [H, W, 3]
    truth: DepthPanorama
    camera: SensorPose
    scan: NDArray[np.float32]  # [N, 3] m, in the lidar's frame


def drive(robot: StreetRobot, images: int, folder: Path) -> dict[str, float | int]:
    """Drive along the street; return the figures."""
    solids, rng, score = street(), np.random.default_rng(0), StreetScore()
    spec = LidarSpec(lowest=math.radians(-30), highest=math.radians(15))
    for number in range(images):
        stamp, x = 1_700_000_000_000_000_000 + number * _PERIOD, number * _STEP
        camera = SensorPose(np.array([x, 0.0, HEIGHTS[CAMERA]]), np.eye(3))
        lidar = SensorPose(np.array([x, 0.0, HEIGHTS[LIDAR]]), np.eye(3))
        picture, truth = street_view(solids, camera, GRID)
        moment = StreetMoment(picture, truth, camera, lidar_scan(solids, lidar, spec, rng))
        publish(robot, moment, stamp)
        if number % _DETECT_EVERY == 0:
            header = Header(stamp=ns_to_stamp(stamp), frame_id=CAMERA)
            robot.boxes.publish(detections(truth, header, rng))
        if not robot.spin_until(partial(robot.places.__contains__, stamp), 20.0):
            print(f"image {number} has no places", file=sys.stderr)
            continue
        true = true_places(truth, camera)
        score.judge(robot.places[stamp], true, camera.position)
        if robot.places[stamp].detections and stamp in robot.masks:
            labels = mask_labels(robot.masks[stamp], 1e8)
            write_pictures(folder / "street.jpg", moment, labels, robot.places[stamp], true)
    return score.summary()


def publish(robot: StreetRobot, moment: StreetMoment, stamp: int) -> None:
    """Publish odometry, scan and image of one moment."""
    x, y, _ = (float(c) for c in moment.camera.position)
    robot.odometry.sendTransform(transform("odom", "base_link", (x, y, 0.0), stamp, np.eye(3)))
    robot.clouds.publish(cloud(moment.scan, stamp))
    header = Header(stamp=ns_to_stamp(stamp), frame_id=CAMERA)
    robot.images.publish(image_message(header, moment.picture, "rgb8"))


def _position(detection: Any) -> Floats:
    point = detection.results[0].pose.pose.position
    return np.array([point.x, point.y, point.z])


def write_pictures(
    path: Path, moment: StreetMoment, labels: NDArray[np.uint16], places: Any, true: dict[int, Floats]
) -> None:
    """Write the panorama with masks and ranges, above a map with scan, boxes and true places."""
    shown, camera = moment.picture.copy(), moment.camera
    drawing.fill_masks(shown, labels)
    drawing.outline_masks(shown, labels)
    for detection in places.detections:
        at = _position(detection)
        u, v = (float(c) for c in GRID.vector_to_pixel((at - camera.position) @ OPTICAL))
        label, distance = detection.results[0].hypothesis.class_id, np.linalg.norm(at - camera.position)
        text = f"{label} {detection.id}: {distance:.1f} m"
        colour = drawing.colour(int(detection.id))
        corner = (int(np.clip(u - 60, 0, GRID.width - 200)), int(max(v - 46, 20)))
        cv2.putText(shown, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 0), 4, cv2.LINE_AA)
        cv2.putText(shown, text, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA)
    written = np.concatenate([shown, _map(moment, places, true)])
    cv2.imwrite(str(path), written[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])


def _map(moment: StreetMoment, places: Any, true: dict[int, Floats]) -> NDArray[np.uint8]:
    """Draw the street from above, 32 m along the panorama's width, forward to the right."""
    camera, scan = moment.camera, moment.scan
    scale, height = GRID.width / 32.0, 640
    drawn = np.full((height, GRID.width, 3), 250, np.uint8)

    def pixel(xy: Floats) -> tuple[int, int]:
        return round(float(xy[0] - camera.position[0] + 12) * scale), round(height / 2 - float(xy[1]) * scale)

    above = scan[scan[:, 2] > 0.25 - HEIGHTS[LIDAR]]  # not the ground
    columns = np.rint((above[:, 0] + 12) * scale).astype(int)
    rows = np.rint(height / 2 - above[:, 1] * scale).astype(int)
    seen = (columns >= 0) & (columns < GRID.width) & (rows >= 0) & (rows < height)
    drawn[rows[seen], columns[seen]] = 150
    cv2.circle(drawn, pixel(camera.position), 10, (40, 40, 40), -1, cv2.LINE_AA)
    for detection in places.detections:
        colour = tuple(int(0.8 * c) for c in drawing.colour(int(detection.id)))
        box, q = detection.bbox, detection.bbox.center.orientation
        yaw = 2 * math.atan2(q.z, q.w)
        turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
        corners = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [box.size.x / 2, box.size.y / 2] @ turn.T
        middle = np.array([box.center.position.x, box.center.position.y])
        outline = np.array([pixel(middle + corner) for corner in corners])
        cv2.polylines(drawn, [outline], True, colour, 2, cv2.LINE_AA)
        at = pixel(_position(detection))
        cv2.circle(drawn, at, 7, colour, -1, cv2.LINE_AA)
        label = f"{detection.results[0].hypothesis.class_id} {detection.id}"
        cv2.putText(
            drawn, label, (at[0] + 14, at[1] - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.7, colour, 2, cv2.LINE_AA
        )
    for true_place in true.values():
        cv2.drawMarker(drawn, pixel(true_place), (0, 0, 0), cv2.MARKER_TILTED_CROSS, 16, 2, cv2.LINE_AA)
    return drawn


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the street and print the figures as JSON."""
    parser = argparse.ArgumentParser("tools.street_run", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("out/street"), help="folder of the pictures and logs"
    )
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--model", default="panosam2_mobile")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(PROFILES_VARIABLE, str(ROOT / "config" / "fastdds.xml"))  # for large images
    keep_buffers()
    rclpy.init()
    try:
        robot = StreetRobot()
    except ImportError as error:
        sys.exit(f"street_run: {error}: install vision_msgs and tf2_ros")
    with nodes(options.out, options.model):
        ready = robot.spin_until(lambda: _subscribed(robot), 120.0)
        if not ready:
            sys.exit(f"street_run: the nodes did not start: see the logs in {options.out}")
        figures = drive(robot, options.images, options.out)
    robot.destroy_node()
    rclpy.try_shutdown()
    (options.out / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


def _subscribed(robot: StreetRobot) -> bool:
    """Return whether both nodes listen to everything."""
    topics = ("image", "points", "panosam2/detections_in", "panosam2/masks", "/tf")
    return all(robot.count_subscribers(robot.resolve_topic_name(topic)) for topic in topics)


if __name__ == "__main__":
    main()
