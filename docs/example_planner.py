"""Prompt the object at a pixel and print where it is from then on: a planner with nothing but rclpy."""

import math

import rclpy

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.srv import PromptObjects

rclpy.init()
node = rclpy.create_node("example_planner")
service = node.create_client(PromptObjects, "panosam2/prompt")
service.wait_for_service()
click = PromptPoint(u=250.0, v=60.0, label=PromptPoint.FOREGROUND)  # floats: rclpy would send 250 as 0.0
chair = ObjectPrompt(label="chair", points=[click])
answer = service.call_async(PromptObjects.Request(prompts=[chair]))  # stamp=...: of the image you saw
rclpy.spin_until_future_complete(node, answer)
result = answer.result().results[0]
found = result.code == PromptResult.OK
print(f"object {result.bearing.object_id}" if found else f"refused: {result.message}", flush=True)


def follow(message: ObjectBearingArray) -> None:
    """Print the bearing of the prompted object."""
    for item in message.objects:
        if item.object_id == result.bearing.object_id:
            state = "visible" if item.state == ObjectBearing.STATE_VISIBLE else "not visible"
            print(f"{state} at {math.degrees(item.azimuth):.1f} deg", flush=True)


subscription = node.create_subscription(ObjectBearingArray, "panosam2/bearings", follow, 5)
rclpy.spin(node)
