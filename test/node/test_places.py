"""The places node over real DDS: lidar, depth panorama, triangulation, faults, and what is not installed."""

from __future__ import annotations

import array
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import rclpy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header

from helpers.compiled_modules import compiled_modules
from helpers.message_packages import environment_with
from helpers.place_station import CAMERA, FRONT, GRID, PlaceStation, cloud_msg, seen_from, spin_until
from helpers.process import ROOT, Process
from panosam2_ros.ros.conversion.messages import ns_to_stamp

MODULE = "panosam2_ros.ros.places.node"
STEP = 100_000_000  # ns
REMAPPED = ["-r", "masks:=panosam2/masks", "-r", "bearings:=panosam2/bearings"]
POLICY = ROOT / "config" / "sros2" / "panosam2_places.policy.xml"


@pytest.fixture(scope="module")
def ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture(scope="module")
def places(ros: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PlaceStation, Process]]:
    """The node with vision_msgs and tf2, and a robot beside it."""
    settings = {"target_frame": "odom", "publish_tf": "true", "diagnostics_period": "0.2", "wait": "2.0"}
    arguments = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    log = tmp_path_factory.mktemp("places") / "log"
    packages = ("vision_msgs", "tf2_ros")
    environment = environment_with(*packages)  # before this process has them
    with (
        compiled_modules(*packages),
        Process(MODULE, "--ros-args", *REMAPPED, *arguments, log=log, **environment) as node,
    ):
        station = PlaceStation()
        station.use_packages()
        try:
            spin_until(station, lambda: station.status, what="diagnostics")
            spin_until(station, lambda: station.masks.get_subscription_count())
            yield station, node
        finally:
            station.destroy_node()


def publish_until_placed(station: PlaceStation, publish: Any) -> Any:
    """Publish images with newer and newer stamps until one has places; return the first of these messages."""
    station.objects.clear()
    station.clouds.clear()
    for _ in range(60):
        station.stamp += STEP
        publish(station.stamp)
        until = station.stamp

        def answered(until: int = until) -> bool:
            return any(_stamp(each) == until for each in station.objects)

        try:
            spin_until(station, answered, timeout=3.0)
        except AssertionError:
            continue  # a best-effort message was lost, or discovery was not over
        found = next(each for each in station.objects if _stamp(each) == until)
        if found.detections:
            return found
    raise AssertionError(f"nothing was placed: {station.status}")


def _stamp(msg: Any) -> int:
    return int(msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec)


def position(detection: Any) -> np.ndarray:
    point = detection.results[0].pose.pose.position
    return np.array([point.x, point.y, point.z])


def test_a_lidar_places_the_object_in_the_target_frame(places: tuple[PlaceStation, Process]) -> None:
    station, _ = places
    truth, scan = seen_from(0.0), station.scan(0.0)

    def publish(stamp: int) -> None:
        station.move_to(0.0, 0.0, stamp)
        station.points.publish(cloud_msg(scan, stamp))
        station.publish_image(truth, stamp)

    found = publish_until_placed(station, publish)
    assert found.header.frame_id == "odom"
    (detection,) = found.detections
    assert (detection.id, detection.results[0].hypothesis.class_id) == ("5", "crate")
    assert position(detection) == pytest.approx(FRONT, abs=0.2)
    covariance = np.array(detection.results[0].pose.covariance).reshape(6, 6)
    assert np.linalg.eigvalsh(covariance[:3, :3]).min() > 0
    assert detection.bbox.size.y == pytest.approx(1.6, abs=0.25)
    assert detection.bbox.size.z == pytest.approx(1.8, abs=0.25)
    spin_until(station, lambda: "object_5" in station.frames, what="the object's own frame")
    assert station.frames["object_5"].header.frame_id == "odom"


def test_object_points_are_the_objects_own_and_carry_its_id(places: tuple[PlaceStation, Process]) -> None:
    station, _ = places
    spin_until(station, lambda: any(cloud.width for cloud in station.clouds), what="points of objects")
    cloud = next(cloud for cloud in station.clouds if cloud.width)
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "id"]
    kinds = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("id", "<u4")]
    points = np.frombuffer(cloud.data, np.dtype(kinds))
    assert (points["id"] == 5).all()
    assert ((points["x"] > 5.3) & (points["x"] < 6.7)).all()
    assert (np.abs(points["y"]) < 0.95).all()


def test_points_that_were_measured_on_the_way_are_moved_to_the_image(
    places: tuple[PlaceStation, Process],
) -> None:
    station, _ = places
    truth, scan = seen_from(0.4), station.scan(0.0)

    def publish(stamp: int) -> None:
        station.move_to(0.0, 0.0, stamp - STEP // 2)
        station.move_to(0.4, 0.0, stamp)
        station.points.publish(cloud_msg(scan, stamp - STEP // 2))
        station.publish_image(truth, stamp)

    (detection,) = publish_until_placed(station, publish).detections
    assert position(detection) == pytest.approx(FRONT, abs=0.2)


@pytest.mark.parametrize(("encoding", "kind", "unit"), [("32FC1", "<f4", 1.0), ("16UC1", ">u2", 1000.0)])
def test_a_depth_panorama_places_the_object(
    places: tuple[PlaceStation, Process], encoding: str, kind: str, unit: float
) -> None:
    station, _ = places
    station.stamp += 20 * STEP  # the lidar's ranges are too old
    truth = seen_from(1.0)
    depth = np.where(np.isfinite(truth.ranges), truth.ranges * unit, 0).astype(kind)

    def publish(stamp: int) -> None:
        station.move_to(1.0, 0.0, stamp)
        msg = Image(
            header=Header(stamp=ns_to_stamp(stamp), frame_id=CAMERA),
            height=depth.shape[0],
            width=depth.shape[1],
            encoding=encoding,
            is_bigendian=int(kind.startswith(">")),
            step=depth.strides[0],
            data=array.array("B", depth.tobytes()),
        )
        station.depth.publish(msg)
        station.publish_image(truth, stamp)

    (detection,) = publish_until_placed(station, publish).detections
    assert position(detection) == pytest.approx(FRONT, abs=0.2)


def test_without_ranges_the_object_is_triangulated_once_the_robot_has_moved(
    places: tuple[PlaceStation, Process],
) -> None:
    station, _ = places
    station.stamp += 200 * STEP  # older ranges are none for these images
    walked = iter(np.arange(0.0, 20.0, 0.15))
    truths = []

    def publish(stamp: int) -> None:
        y = float(next(walked))
        station.move_to(0.0, y, stamp)
        truths.append(seen_from(0.0, y))
        station.publish_image(truths[-1], stamp)

    (detection,) = publish_until_placed(station, publish).detections
    assert len(truths) >= 4
    spin_until(station, lambda: station.status.get("placed_by_triangulation") == "1")
    middle = np.array([6.0, 0.0, 0.9])
    assert np.linalg.norm(position(detection) - middle) < 1.2
    assert detection.bbox.size.x == 0.0
    covariance = np.array(detection.results[0].pose.covariance).reshape(6, 6)[:3, :3]
    assert np.sqrt(np.linalg.eigvalsh(covariance).max()) > 0.05


@pytest.mark.faults
def test_messages_that_cannot_be_read_are_named_and_the_node_goes_on(
    places: tuple[PlaceStation, Process],
) -> None:
    station, node = places
    truth, scan = seen_from(0.0), station.scan(0.0)
    bad: PointCloud2 = cloud_msg(scan, 0)
    bad.fields = bad.fields[:2]
    short = cloud_msg(scan, 0)
    short.data = short.data[:1000]
    for msg, expected in ((bad, "needs the fields x, y and z"), (short, "bytes in all")):

        def said(msg: PointCloud2 = msg, expected: str = expected) -> bool:
            station.stamp += STEP
            station.move_to(0.0, 0.0, station.stamp)
            msg.header.stamp = ns_to_stamp(station.stamp)
            station.points.publish(msg)
            station.publish_image(truth, station.stamp)
            for _ in range(10):
                rclpy.spin_once(station, timeout_sec=0.05)
            return expected in station.message

        spin_until(station, said, what=expected)
    assert "Traceback" not in node.output

    def publish(stamp: int) -> None:
        station.move_to(0.0, 0.0, stamp)
        station.points.publish(cloud_msg(scan, stamp))
        station.publish_image(truth, stamp)

    assert publish_until_placed(station, publish).detections


def test_the_security_policy_allows_what_the_node_has_and_nothing_else(
    places: tuple[PlaceStation, Process],
) -> None:
    station, _ = places
    (profile,) = ElementTree.parse(POLICY).getroot().findall("./enclaves/enclave/profiles/profile")
    assert (profile.get("ns"), profile.get("node")) == ("/", "panosam2_places")

    def allowed(rule: str) -> set[str]:
        return {e.text or "" for group in profile for e in group if group.get(rule) == "ALLOW"}

    has = {
        "publish": station.get_publisher_names_and_types_by_node,
        "subscribe": station.get_subscriber_names_and_types_by_node,
        "reply": station.get_service_names_and_types_by_node,
    }
    for rule, names in has.items():

        def same(rule: str = rule, names: Any = names) -> bool:
            found = {name for name, _ in names("panosam2_places", "/")}
            return found == allowed(rule) - {"/clock"}  # only with use_sim_time

        spin_until(station, same, what=f"{rule}: {sorted(allowed(rule))}")


@pytest.mark.faults
def test_without_vision_msgs_and_tf2_it_says_so_and_publishes_points(ros: None, tmp_path: Path) -> None:
    settings = ["--ros-args", "-p", "diagnostics_period:=0.2", "-p", "max_time_offset:=0.0", *REMAPPED]
    away = ["-r", "__ns:=/without"]
    with Process(MODULE, *settings, *away, log=tmp_path / "log") as node:
        station = PlaceStation("/without")
        truth, points = seen_from(0.0), seen_points()
        try:

            def placed() -> bool:
                station.stamp += STEP
                station.points.publish(cloud_msg(points, station.stamp, CAMERA))
                station.publish_image(truth, station.stamp)
                for _ in range(10):
                    rclpy.spin_once(station, timeout_sec=0.05)
                return any(cloud.width for cloud in station.clouds)

            spin_until(station, placed, what="points of objects")
        finally:
            station.destroy_node()
        assert node.running
    for missing in ("vision_msgs is not installed", "tf2_ros is not installed"):
        assert sum(missing in line for line in node.output.splitlines()) == 1, node.output
    assert "Traceback" not in node.output


def seen_points() -> np.ndarray:
    """Return points [N, 3] in the camera's own frame."""
    truth = seen_from(0.0)
    near = np.isfinite(truth.ranges)
    rows, columns = np.nonzero(near)
    return np.asarray(GRID.pixel_to_vector(columns, rows) * truth.ranges[near][:, None], np.float32)
