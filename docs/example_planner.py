"""Prompt the object at a pixel and print where it is from then on: a planner with nothing but rclpy."""

import contextlib
import math
import sys
import time

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Header

from panosam2_ros.msg import ObjectBearing, ObjectBearingArray, ObjectPrompt, PromptPoint, PromptResult
from panosam2_ros.srv import PromptObjects

TIMEOUT = 20.0  # s: nobody should wait for ever for a node that is not there
SILENCE = 5.0  # s without a message, after which somebody should know
AGAIN = (PromptResult.NO_IMAGE, PromptResult.BUSY, PromptResult.NOT_ACTIVE)  # these pass
STATES = {
    ObjectBearing.STATE_VISIBLE: "visible, measured",
    ObjectBearing.STATE_OCCLUDED: "occluded, predicted",  # expected back
    ObjectBearing.STATE_LOST: "lost, last seen",  # do not drive there
}


class Planner:
    """Knows one object by its id, which holds within an epoch."""

    def __init__(self, node: Node) -> None:
        self.node, self.service = node, node.create_client(PromptObjects, "panosam2/prompt")
        self.message: ObjectBearingArray | None = None  # the newest one that was not looked at
        node.create_subscription(ObjectBearingArray, "panosam2/bearings", self.keep, 5)

    def keep(self, message: ObjectBearingArray) -> None:
        """Keep a message for ``follow``."""
        self.message = message

    def prompt(self, u: float, v: float, label: str) -> PromptObjects.Response:
        """Prompt the object at a pixel of the newest image; exit with the reason where that fails."""
        click = PromptPoint(u=u, v=v, label=PromptPoint.FOREGROUND)  # floats: rclpy would send 250 as 0.0
        prompt, end = ObjectPrompt(label=label, points=[click]), time.monotonic() + TIMEOUT
        while True:
            if not self.service.wait_for_service(TIMEOUT):
                name = self.service.srv_name
                sys.exit(f"no service {name} within {TIMEOUT:g} s: start the node, or check ROS_DOMAIN_ID")
            # stamp=...: of the image in which the planner saw the pixel, if it was not the newest one
            answer = self.service.call_async(PromptObjects.Request(prompts=[prompt]))
            rclpy.spin_until_future_complete(self.node, answer, timeout_sec=TIMEOUT)
            if not answer.done():
                sys.exit(f"no answer within {TIMEOUT:g} s: see /diagnostics")
            response = answer.result()
            result = response.results[0]
            if result.code == PromptResult.OK:
                return response
            if result.code not in AGAIN or time.monotonic() > end:
                sys.exit(f"refused: {result.message}")
            time.sleep(0.5)

    def follow(self, prompted: PromptObjects.Response) -> None:
        """Print the bearing of the prompted object until the node does not know it any more."""
        object_id, heard = prompted.results[0].bearing.object_id, time.monotonic()
        while True:
            rclpy.spin_once(self.node, timeout_sec=0.5)
            message, self.message = self.message, None
            if message is None:
                if time.monotonic() - heard > SILENCE:
                    print(f"nothing for {SILENCE:g} s: has the node ended, or the camera?", flush=True)
                    heard = time.monotonic()
                continue
            heard = time.monotonic()
            found = {item.object_id: item for item in message.objects}.get(object_id)
            if found is not None and message.epoch == prompted.epoch:
                print(f"{STATES[found.state]} at {math.degrees(found.azimuth):.1f} deg", flush=True)
            elif _time(message.header) > _time(prompted.header):  # not of an image before the prompt
                return


def _time(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec


def main() -> None:
    """Follow the object, and prompt it again where it is not known any more."""
    rclpy.init()
    planner = Planner(rclpy.create_node("example_planner"))
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        while True:
            answer = planner.prompt(250.0, 60.0, "chair")
            print(f"object {answer.results[0].bearing.object_id}", flush=True)
            planner.follow(answer)
            # a planner that sees would look again before it points again
            print("forgotten: somebody removed it, or the node was started anew; prompting again", flush=True)


if __name__ == "__main__":
    main()
