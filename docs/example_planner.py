"""Prompt the object at a pixel and print where it is from then on: a planner with nothing but rclpy."""

import contextlib
import math
import sys

import rclpy
from rclpy.executors import ExternalShutdownException

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.srv import PromptObjects

TIMEOUT = 20.0  # s: nobody should wait for ever for a node that is not there
STATES = {
    ObjectBearing.STATE_VISIBLE: "visible, measured",
    ObjectBearing.STATE_OCCLUDED: "occluded, predicted",  # expected back
    ObjectBearing.STATE_LOST: "lost, last seen",  # do not drive there
}

rclpy.init()
node = rclpy.create_node("example_planner")
service = node.create_client(PromptObjects, "panosam2/prompt")
if not service.wait_for_service(TIMEOUT):
    sys.exit(f"no service {service.srv_name} within {TIMEOUT:g} s: start the node, or check ROS_DOMAIN_ID")
click = PromptPoint(u=250.0, v=60.0, label=PromptPoint.FOREGROUND)  # floats: rclpy would send 250 as 0.0
chair = ObjectPrompt(label="chair", points=[click])
answer = service.call_async(PromptObjects.Request(prompts=[chair]))  # stamp=...: of the image you saw
rclpy.spin_until_future_complete(node, answer, timeout_sec=TIMEOUT)
if not answer.done():
    sys.exit(f"no answer within {TIMEOUT:g} s: see /diagnostics")
result = answer.result().results[0]
if result.code != PromptResult.OK:
    sys.exit(f"refused: {result.message}")
print(f"object {result.bearing.object_id}", flush=True)


def follow(message: ObjectBearingArray) -> None:
    """Print the bearing of the prompted object."""
    for item in message.objects:
        if item.object_id == result.bearing.object_id:
            print(f"{STATES[item.state]} at {math.degrees(item.azimuth):.1f} deg", flush=True)
            return
    print("forgotten: somebody removed it, or the node was started anew", flush=True)


subscription = node.create_subscription(ObjectBearingArray, "panosam2/bearings", follow, 5)
with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
    rclpy.spin(node)
