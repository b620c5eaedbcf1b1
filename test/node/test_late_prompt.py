"""A planner that thinks for two seconds: what it pointed at then is known where it is now."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from helpers.film import Film
from helpers.process import wait_for
from helpers.station import Station, start, stations
from panosam2_ros.msg import ObjectBearing
from panosam2_ros.ros.conversion.messages import ns_to_stamp, stamp_to_ns
from panosam2_ros.simulation.scene import SceneConfig
from panosam2_ros.srv import PromptObjects, RemoveObjects

RATE = 10  # Hz
LATE = 2 * RATE  # frames that the planner thinks for
SOON = RATE  # frames after the answer in which the bearing must be right
SPEED = math.radians(20) / RATE  # rad per frame
PRECISE = math.radians(3)
SCENES, ENOUGH = 10, 9
MOVING = SceneConfig(
    width=896,
    height=448,
    frames=LATE + SOON + 40,
    objects=(1, 1),
    size=(math.radians(25), math.radians(45)),
    object_speed=(SPEED, SPEED),
    camera_speed=0.0,
    distractors=(0, 0),
    occlusion=0.0,
    look_alike=0.0,
    pole=0.0,
)


station = pytest.fixture(scope="module")(stations)


def error_after_a_late_prompt(station: Station, seed: int) -> float:
    """rad, of the last bearing within a second after the answer; inf where it was not seen then."""
    film = Film(station, MOVING, seed)
    for _ in range(LATE + 1):
        film.show()
    client = station.create_client(PromptObjects, "panosam2/prompt")
    assert client.wait_for_service(20)
    request = PromptObjects.Request(stamp=ns_to_stamp(film.stamps[0]), prompts=[film.box(1)])
    answered = client.call_async(request)
    while not answered.done():  # the camera does not wait for the planner
        film.show()
    answer = answered.result()
    assert answer.success, answer.message
    assert stamp_to_ns(answer.header.stamp) == film.stamps[0]
    found = math.inf
    for _ in range(SOON):
        index = film.show()
        (seen,) = film.bearings(index)
        if seen.state == ObjectBearing.STATE_VISIBLE:
            found = film.error(seen, 1, index)
    station.call(RemoveObjects, "remove_objects", RemoveObjects.Request(object_ids=[seen.object_id]))
    station.destroy_client(client)
    return found


@pytest.mark.timeout(600)
def test_what_was_pointed_at_two_seconds_ago_is_known_where_it_is_now(
    station: Station, tmp_path: Path
) -> None:
    """Time is that of the stamps: the camera waits for the node, so that a busy machine changes nothing."""
    with start("panosam2_nano", tmp_path / "log.txt") as process:
        wait_for(lambda: "waiting for images" in process.output, 60, "the node to be active")
        errors = [error_after_a_late_prompt(station, seed) for seed in range(SCENES)]
    print("errors, degrees:", np.degrees(errors).round(2).tolist())
    assert sum(error <= PRECISE for error in errors) >= ENOUGH, np.degrees(errors).round(1).tolist()
