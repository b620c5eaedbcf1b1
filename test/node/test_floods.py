"""More of everything than anybody needs: calls, clicks, frames. The node answers, and its log stays short."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from helpers.onlooker import Onlooker
from helpers.process import Process
from helpers.station import ball_prompt, forgetful, image_msg, start, stations, until_active
from panosam2_ros.msg import PromptResult
from panosam2_ros.srv import LoadMemory, SaveMemory

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def station() -> Iterator[Onlooker]:
    yield from stations(Onlooker)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("node")
    with start("panosam2_nano", folder / "log.txt", memory_directory=str(folder)) as process:
        until_active(process)
        yield process


planner = pytest.fixture(forgetful)


def lines(process: Process) -> list[str]:
    return process.output.splitlines()


def test_clicks_in_ever_new_frames(planner: Onlooker, process: Process) -> None:
    before = len(lines(process))
    for i in range(300):
        planner.click((1.0, 0.0, 0.0), f"frame_{i}" + "x" * (1_000_000 if i % 100 == 0 else 0))
        planner.spin_for(0.01)
    planner.spin_until(lambda: "clicked point refused" in process.output)
    planner.spin_for(1.0)
    assert planner.show() in planner.bearings
    new = lines(process)[before:]
    assert 1 <= len(new) <= 12 and max(map(len, new)) < 1500, new
    assert len(planner.value("last_error")) < 1100


def test_two_cameras_on_one_topic(planner: Onlooker, process: Process) -> None:
    before = len(lines(process))
    other = planner.create_publisher(Image, planner.camera.topic_name, planner.camera.qos_profile)
    for i in range(100):
        planner.stamp += 100_000_000
        msg = image_msg(planner.stamp)
        msg.header.frame_id = f"camera_{i % 2}_optical_frame"
        (other if i % 2 else planner.camera).publish(msg)
        planner.spin_for(0.02)
    planner.until_status(DiagnosticStatus.WARN, "2 publishers send images on")
    planner.destroy_publisher(other)
    assert len(lines(process)) - before <= 8, lines(process)[before:]


def test_calls_of_load_memory(planner: Onlooker, process: Process) -> None:
    """As many as may wait are done, the others are told to come again; the node ends at once all the same."""
    assert planner.prompt(ball_prompt(label="ball")).success
    assert planner.call(SaveMemory, "save_memory", SaveMemory.Request(name="home")).success
    before = len(lines(process))
    client = planner.create_client(LoadMemory, "panosam2/load_memory", qos_profile=QoSProfile(depth=200))
    assert client.wait_for_service(20)
    answers = [client.call_async(LoadMemory.Request(name="home")) for _ in range(60)]
    planner.spin_until(lambda: all(a.done() for a in answers), 60)
    results = [a.result() for a in answers]
    assert {r.code for r in results} == {PromptResult.OK, PromptResult.BUSY}
    assert all("call again later" in r.message for r in results if r.code == PromptResult.BUSY)
    assert [o.label for o in planner.bearings[planner.show()].objects] == ["ball"]
    assert len(lines(process)) - before <= 3 and "Traceback" not in process.output
    for _ in range(60):
        client.call_async(LoadMemory.Request(name="home"))
    planner.destroy_client(client)
    assert process.stop(signal.SIGTERM) == 0, process.output
