"""Points at a pixel and tells where that object is from then on: a planner with nothing but rclpy."""

import math

import rclpy

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt
from panosam2_ros.srv import Prompt

rclpy.init()
node = rclpy.create_node("example_planner")
service = node.create_client(Prompt, "panosam2/prompt")
service.wait_for_service()
click = ObjectPrompt(label="chair", points=[250.0, 60.0], point_labels=[1])  # the pixel u, v
answer = service.call_async(Prompt.Request(prompts=[click]))  # stamp=...: in the image that you looked at
rclpy.spin_until_future_complete(node, answer)
result = answer.result().results[0]
print(f"object {result.bearing.object_id}" if result.success else f"refused: {result.message}", flush=True)


def follow(message: ObjectBearingArray) -> None:
    for found in message.objects:
        if found.object_id == result.bearing.object_id:
            state = "visible" if found.state == ObjectBearing.VISIBLE else "not visible"
            print(f"{state} at {math.degrees(found.azimuth):.1f} deg", flush=True)


subscription = node.create_subscription(ObjectBearingArray, "panosam2/bearings", follow, 5)
rclpy.spin(node)
