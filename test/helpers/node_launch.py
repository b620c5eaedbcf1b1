"""`colcon test`: a camera and the node by with_camera.launch.py, in a namespace; an object is tracked."""

from __future__ import annotations

import os
import time
import unittest
from pathlib import Path
from typing import Any

import launch_testing.actions
import launch_testing.asserts
import pytest
import rclpy
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.proc_info_handler import ProcInfoHandler

from launch import LaunchDescription
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.srv import PromptObjects

FILE = Path(__file__).resolve().parents[2] / "launch" / "with_camera.launch.py"
DOMAIN = str(os.getpid() % 101)  # nothing else on this network answers


@pytest.mark.launch_test
def generate_test_description() -> LaunchDescription:
    """Describe what is started before the tests."""
    os.environ["ROS_DOMAIN_ID"] = DOMAIN
    source = PythonLaunchDescriptionSource(str(FILE))
    arguments = {"namespace": "robot"}.items()
    return LaunchDescription(
        [
            IncludeLaunchDescription(source, launch_arguments=arguments),
            launch_testing.actions.ReadyToTest(),
        ]
    )


class TestWhileItRuns(unittest.TestCase):
    """A planner in the test's own process."""

    def setUp(self) -> None:
        rclpy.init()
        self.node = rclpy.create_node("planner")

    def tearDown(self) -> None:
        self.node.destroy_node()
        rclpy.shutdown()

    def ask(self, request: PromptObjects.Request) -> Any:
        """Return the answer to a prompt; fail where none comes."""
        client = self.node.create_client(PromptObjects, "/robot/panosam2/prompt")
        self.assertTrue(client.wait_for_service(60.0), "no prompt service within a minute")
        answer = client.call_async(request)
        rclpy.spin_until_future_complete(self.node, answer, timeout_sec=30.0)
        self.assertTrue(answer.done(), "no answer within half a minute")
        return answer.result()

    def test_an_object_is_tracked(self) -> None:
        ahead = PromptPoint(u=480.0, v=240.0, label=PromptPoint.FOREGROUND)
        prompt = ObjectPrompt(label="ahead", points=[ahead])
        deadline = time.monotonic() + 60
        result = self.ask(PromptObjects.Request(prompts=[prompt])).results[0]
        while result.code != PromptResult.OK and time.monotonic() < deadline:  # no image yet
            time.sleep(1.0)
            result = self.ask(PromptObjects.Request(prompts=[prompt])).results[0]
        self.assertEqual(result.code, PromptResult.OK, result.message)
        seen: list[ObjectBearing] = []
        self.node.create_subscription(
            ObjectBearingArray, "/robot/panosam2/bearings", lambda m: seen.extend(m.objects), 5
        )
        while len(seen) < 3 and time.monotonic() < deadline + 30:
            rclpy.spin_once(self.node, timeout_sec=1.0)
        self.assertGreaterEqual(len(seen), 3, "no bearings come")
        self.assertEqual({s.object_id for s in seen}, {result.bearing.object_id})


@launch_testing.post_shutdown_test()
class TestAfterTheEnd(unittest.TestCase):
    """SIGINT has come to all."""

    def test_all_ended_in_good_order(self, proc_info: ProcInfoHandler) -> None:
        launch_testing.asserts.assertExitCodes(proc_info)
