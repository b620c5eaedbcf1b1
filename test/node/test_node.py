"""The node over real DDS: it runs in a process of its own, these tests are camera and planner."""

from __future__ import annotations

import array
import math
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Vector3
from lifecycle_msgs.msg import State, Transition
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import Trigger

from helpers.process import Process, wait_for
from helpers.station import (
    FRAME,
    GRID,
    HEIGHT,
    RADIUS,
    SCENE,
    SEAM,
    WIDTH,
    Station,
    ball_prompt,
    cap,
    codes,
    direction,
    image_msg,
    mask_msg,
    point,
    start,
    stations,
)
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.io.package_files import package_file
from panosam2_ros.model.build import random_model
from panosam2_ros.model.weights import save_weights
from panosam2_ros.msg import ObjectBearing, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.ros.dds import PROFILES_VARIABLE
from panosam2_ros.srv import GetObjects, RemoveObjects


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The shipped weights, or random ones while there are none."""
    try:
        package_file("models", "panosam2_nano.safetensors")
        return "panosam2_nano"
    except FileNotFoundError:
        path = tmp_path_factory.mktemp("weights") / "random.safetensors"
        save_weights(random_model(), path)
        return str(path)


station = pytest.fixture(scope="module")(stations)


@pytest.fixture(scope="module")
def process(weights: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("node") / "log.txt"
    with start(weights, log, history_seconds=1.05) as process:
        yield process


@pytest.fixture
def planner(process: Process, station: Station) -> Station:
    """The station beside a node that is active, has seen an image and knows no object."""
    assert process.running, process.output
    wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
    station.bearings.clear()
    station.masks.clear()
    station.call(Trigger, "reset")
    station.show()
    return station


def box_prompt() -> ObjectPrompt:
    """The ball, by a box across the seam."""
    u, v = GRID.vector_to_pixel(SEAM)
    half = RADIUS / math.pi * HEIGHT
    box = [(u - half) % WIDTH, v - half, (u + half) % WIDTH, v + half]
    assert box[0] > box[2]
    return ObjectPrompt(box=[float(b) for b in box])


def vector(msg: Vector3) -> Floats:
    return np.array([msg.x, msg.y, msg.z])


def labels_of(msg: Image) -> NDArray[np.uint16]:
    assert msg.encoding == "mono16" and not msg.is_bigendian and msg.step == 2 * msg.width
    return np.frombuffer(msg.data, np.uint16).reshape(msg.height, msg.width)


def test_prompt_masks_bearings(planner: Station) -> None:
    answer = planner.prompt(ball_prompt(label="ball"))
    assert answer.success and answer.message == "", answer
    assert stamp_to_ns(answer.header.stamp) == planner.stamp and answer.header.frame_id == FRAME
    result = answer.results[0]
    assert result.code == PromptResult.OK and result.bearing.object_id == 1 and result.bearing.label == "ball"
    for _ in range(3):
        stamp = planner.show()
    masks, bearings = planner.masks[stamp], planner.bearings[stamp]
    assert (masks.width, masks.height) == (WIDTH, HEIGHT)
    assert [o.object_id for o in bearings.objects] == [1]
    found = bearings.objects[0]
    expected = mask_bearing(labels_of(masks) == 1, GRID, mask_iou=found.mask_iou)
    if found.state == ObjectBearing.STATE_VISIBLE:
        assert expected is not None
        assert math.degrees(angle_between(vector(found.direction), expected.direction)) < 0.2
        # measured in the network's mask, which the label image shows in other pixels
        assert found.solid_angle == pytest.approx(expected.solid_angle, rel=0.02)
        assert stamp_to_ns(found.last_seen) == stamp
    else:
        assert expected is None and found.solid_angle == 0
    assert np.linalg.norm(vector(found.direction)) == pytest.approx(1)


def test_the_shipped_model_finds_the_ball(planner: Station, weights: str) -> None:
    if weights != "panosam2_nano":
        pytest.skip("the weights are random: models/panosam2_nano.safetensors is not there yet")
    planner.prompt(box_prompt())
    for _ in range(3):
        stamp = planner.show()
    found, truth = labels_of(planner.masks[stamp]) == 1, cap(SEAM)
    assert (found & truth).sum() / (found | truth).sum() > 0.5
    bearing = planner.bearings[stamp].objects[0]
    assert math.degrees(angle_between(vector(bearing.direction), SEAM)) < 5


def test_header_is_the_images(planner: Station) -> None:
    stamp = planner.show()
    for msg in (planner.masks[stamp], planner.bearings[stamp]):
        assert stamp_to_ns(msg.header.stamp) == stamp
        assert msg.header.frame_id == FRAME


def test_many_prompts_good_beside_bad(planner: Station) -> None:
    u, v = (float(c) for c in GRID.vector_to_pixel(SEAM))
    answer = planner.prompt(
        ObjectPrompt(mask=mask_msg(cap(SEAM)), label="by mask"),
        ObjectPrompt(),
        ObjectPrompt(points=[point(u, v), point(100, 20, PromptPoint.BACKGROUND)]),
        ObjectPrompt(directions=[direction(3 * SEAM)]),
        ObjectPrompt(object_id=77, points=[point(u, v)]),
    )
    mask, empty, points, way, unknown = answer.results
    assert not answer.success
    assert (mask.code, empty.code) == (PromptResult.OK, PromptResult.INVALID)
    assert unknown.code == PromptResult.UNKNOWN_OBJECT
    # random weights may find nothing at a click, which is an answer too
    assert {r.code for r in (points, way)} <= {PromptResult.OK, PromptResult.NOTHING_FOUND}, answer
    found = sum(r.code == PromptResult.OK for r in answer.results)
    assert f"{5 - found} of 5 refused" in answer.message
    assert "empty" in empty.message and "77" in unknown.message
    by_mask = mask.bearing
    assert math.degrees(angle_between(vector(by_mask.direction), SEAM)) < 2
    stamp = planner.show()
    assert [o.object_id for o in planner.bearings[stamp].objects] == list(range(1, found + 1))


def test_remove_get_reset(planner: Station) -> None:
    epoch = planner.prompt(ball_prompt(label="a"), ball_prompt(label="b")).epoch
    planner.show()
    known = planner.call(GetObjects, "get_objects")
    assert known.success and known.code == PromptResult.OK and known.message == ""
    assert [o.label for o in known.objects.objects] == ["a", "b"]
    assert known.memory_bytes > 0 and known.max_objects == 32 and known.objects.epoch == epoch
    assert stamp_to_ns(known.objects.header.stamp) == planner.stamp
    assert known.objects.header.frame_id == FRAME
    removed = planner.call(RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=[1, 5]))
    assert not removed.success and list(removed.removed) == [1] and "5" in removed.message
    assert removed.code == PromptResult.UNKNOWN_OBJECT
    nothing = planner.call(RemoveObjects, "remove_objects")
    assert not nothing.success and nothing.code == PromptResult.INVALID and "empty" in nothing.message
    stamp = planner.show()
    assert [o.object_id for o in planner.bearings[stamp].objects] == [2]
    assert 1 not in labels_of(planner.masks[stamp])
    assert planner.call(Trigger, "reset").success
    stamp = planner.show()
    assert planner.bearings[stamp].objects == [] and planner.bearings[stamp].epoch == epoch + 1
    assert not labels_of(planner.masks[stamp]).any()


@pytest.mark.faults
def test_bad_images_are_reported_once_and_survived(planner: Station, process: Process) -> None:
    def refused() -> int:
        return process.output.count("image refused")

    before = refused()
    short = image_msg(0)
    short.data = short.data[:100]
    odd = image_msg(0, encoding="32FC1")
    wide = image_msg(0, SCENE[:64])
    for bad, reason in ((short, "too short"), (odd, "32FC1"), (wide, "vertical_fov")):
        for _ in range(5):
            planner.stamp += 100_000_000
            bad.header.stamp = ns_to_stamp(planner.stamp)
            planner.camera.publish(bad)
            planner.spin_for(0.05)
        planner.until_status(DiagnosticStatus.ERROR, reason)
        assert planner.stamp not in planner.bearings
    written = process.output
    assert "too short" in written and "32FC1" in written and "vertical_fov" in written  # each reason
    assert refused() < before + 10  # and not each of 15 images
    padded = np.concatenate([SCENE[..., ::-1], np.zeros((HEIGHT, 3, 3), np.uint8)], 1)
    good = image_msg(0, np.ascontiguousarray(padded), "bgr8")
    good.width = WIDTH
    planner.stamp += 100_000_000
    good.header.stamp = ns_to_stamp(planner.stamp)
    planner.camera.publish(good)
    planner.spin_until(lambda: planner.stamp in planner.bearings)


@pytest.mark.faults
def test_camera_that_stops_and_comes_back(planner: Station) -> None:
    planner.prompt(ball_prompt())
    planner.show()
    assert planner.set(image_timeout=0.3)[0].successful
    planner.until_status(DiagnosticStatus.WARN, "no image on /image")
    assert "reliability" in planner.status.message or "best_effort" in planner.status.message
    planner.set(image_timeout=3.0)
    planner.stamp += 2_000_000_000
    stamp = planner.show()
    assert [o.object_id for o in planner.bearings[stamp].objects] == [1]
    lost = int(planner.value("frames_lost"))
    planner.spin_for(0.5)
    assert int(planner.value("frames_lost")) == lost


def test_diagnostics(planner: Station) -> None:
    received = int(planner.value("frames_received") or 0)
    planner.prompt(ball_prompt())
    for _ in range(5):
        planner.show()
    planner.spin_until(lambda: int(planner.value("frames_received") or 0) >= received + 5)
    assert planner.value("objects") == "1" and float(planner.value("memory_mib")) > 0
    assert float(planner.value("rate_hz")) > 0
    assert planner.value("device") == "cpu"
    assert f"{PROFILES_VARIABLE}=" in planner.value("dds")


def test_lifecycle_keeps_and_frees(planner: Station, process: Process) -> None:
    planner.prompt(ball_prompt(label="kept"))
    planner.show()
    assert planner.change(Transition.TRANSITION_DEACTIVATE)
    assert planner.state() == State.PRIMARY_STATE_INACTIVE
    planner.stamp += 100_000_000
    planner.camera.publish(image_msg(planner.stamp))
    planner.spin_for(0.5)
    assert planner.stamp not in planner.bearings
    known = planner.call(GetObjects, "get_objects").objects.objects
    assert [o.label for o in known] == ["kept"]
    refused = planner.set(max_objects=3)[0]
    assert not refused.successful and "unconfigured" in refused.reason
    assert planner.change(Transition.TRANSITION_ACTIVATE)
    assert [o.label for o in planner.bearings[planner.show()].objects] == ["kept"]
    assert planner.change(Transition.TRANSITION_DEACTIVATE)
    assert planner.change(Transition.TRANSITION_CLEANUP)
    assert planner.state() == State.PRIMARY_STATE_UNCONFIGURED
    answer = planner.prompt(ball_prompt())
    assert codes(answer) == ["NOT_ACTIVE"] and "not configured" in answer.message
    assert planner.set(max_objects=2)[0].successful
    assert planner.change(Transition.TRANSITION_CONFIGURE)
    assert planner.change(Transition.TRANSITION_ACTIVATE)
    planner.show()
    answer = planner.prompt(ball_prompt(), ball_prompt(), ball_prompt())
    assert codes(answer) == ["OK", "OK", "LIMIT_REACHED"], answer
    assert "max_objects" in answer.results[2].message
    assert process.running


def test_camera_angles_turn_the_bearings(planner: Station) -> None:
    planner.prompt(ball_prompt())
    before = vector(planner.bearings[planner.show()].objects[0].direction)
    assert planner.set(camera_yaw=0.5)[0].successful
    after = vector(planner.bearings[planner.show()].objects[0].direction)
    planner.set(camera_yaw=0.0)
    turned = np.array([[math.cos(0.5), 0, -math.sin(0.5)], [0, 1, 0], [math.sin(0.5), 0, math.cos(0.5)]])
    assert angle_between(after, turned @ before) < 0.05  # a yaw to the left, in optical axes
    wrong = planner.set(frame_convention="sideways")[0]
    assert not wrong.successful and "auto, optical, body" in wrong.reason
    assert not planner.set(autostart=False)[0].successful
    assert not planner.set(camera_yaw=9.0)[0].successful


@pytest.mark.faults
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_clean_shutdown_while_images_come(
    weights: str, station: Station, tmp_path: Path, how: signal.Signals
) -> None:
    name = "panosam2_other"
    arguments = ["-r", f"__node:={name}", "-p", f"model:={weights}", "-p", "num_threads:=1"]
    with Process("panosam2_ros.ros.node", "--ros-args", *arguments, log=tmp_path / "log.txt") as process:
        wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
        for _ in range(5):
            station.stamp += 100_000_000
            station.camera.publish(image_msg(station.stamp))
            station.spin_for(0.05)
        assert process.stop(how) == 0, process.output
        assert "Traceback" not in process.output and "rcutils" not in process.output, process.output


@pytest.mark.faults
def test_a_wrong_model_leaves_the_node_alive_and_says_why(station: Station, tmp_path: Path) -> None:
    with start("no_such_model", tmp_path / "log.txt") as process:
        wait_for(lambda: "unknown model" in process.output, 60, "the reason")
        assert process.running
        assert process.stop() == 0


@pytest.mark.parametrize("image", ["/here/image", "/here/image/compressed"])
def test_the_compressed_topic_may_be_named_whole(image: str, weights: str, tmp_path: Path) -> None:
    arguments = ["-p", f"model:={weights}", "-p", "image_transport:=compressed", "-r", f"image:={image}"]
    with Process("panosam2_ros.ros.node", "--ros-args", *arguments, log=tmp_path / "log.txt") as process:
        wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
        assert "waiting for images on /here/image/compressed (" in process.output, process.output


def test_compressed_images_and_another_qos(weights: str, station: Station, tmp_path: Path) -> None:
    station.bearings.clear()
    qos = {"qos_overrides./image/compressed.subscription.reliability": "reliable"}
    with start(weights, tmp_path / "log.txt", image_transport="compressed", **qos) as process:
        ready = "waiting for images on /image/compressed (reliable)"
        wait_for(lambda: ready in process.output, 60)
        data = cv2.imencode(".jpg", cv2.cvtColor(SCENE, cv2.COLOR_RGB2BGR))[1].tobytes()
        msg = CompressedImage(format="jpeg", data=array.array("B", data))
        msg.header.frame_id = FRAME
        for _ in range(40):
            station.stamp += 100_000_000
            msg.header.stamp = ns_to_stamp(station.stamp)
            station.jpeg.publish(msg)
            station.spin_for(0.1)
            if station.bearings:
                break
        assert [b.header.frame_id for b in station.bearings.values()][-1:] == [FRAME]
