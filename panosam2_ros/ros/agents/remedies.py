"""Errors that a program can act on: a code, what was needed and what came, and what to do next."""

from __future__ import annotations

import os
from typing import Any

from panosam2_ros.ros.client import NO_ANSWER, NO_MESSAGES, NODE_NOT_FOUND, ClientError

REMEDIES = {
    "INVALID": "correct the arguments as the message says, and call again",
    "UNKNOWN_OBJECT": "use one of the known ids, or track the object again",
    "NOTHING_FOUND": "give a pixel in the middle of the object, or a box around it; look_at shows it larger",
    "LIMIT_REACHED": "forget objects that are not needed any more",
    "NO_IMAGE": "wait some seconds for the camera; if there are no images then, a person must start it",
    "STAMP_NOT_HELD": "call look or look_at again and point into that picture at once, or leave stamp out to "
    "mean the newest image; a person can raise the node's parameters history_seconds and history_mib",
    "BUSY": "call again in a second",
    "NOT_ACTIVE": "a person must configure and activate the node: ros2 lifecycle set /panosam2 configure",
    "INTERNAL": "a person must read the node's log",
    NODE_NOT_FOUND: "a person must start it: ros2 launch panosam2_ros panosam2.launch.py "
    "image:=/your/camera/image; or start this server with the node's --namespace, --node and ROS_DOMAIN_ID",
    NO_ANSWER: "call again; if that fails, a person must look at /diagnostics",
    NO_MESSAGES: "call again in some seconds; if nothing comes, a person must look at the camera and at "
    "/diagnostics",
}
_OTHERWISE = "a person must look at it"


class AgentError(RuntimeError):
    """A call that failed; ``values`` says it for programs, the message for whoever reads."""

    def __init__(self, code: str, message: str, **more: Any) -> None:
        remedy = REMEDIES.get(code, _OTHERWISE)
        super().__init__(f"{code}: {message}\nWhat to do: {remedy}.")
        self.values = {"ok": False, "code": code, "message": message, "remedy": remedy, **more}

    @classmethod
    def of(cls, error: ClientError) -> AgentError:
        """Return the error of a call of the node."""
        message = str(error)
        if error.name == NODE_NOT_FOUND:
            domain = os.environ.get("ROS_DOMAIN_ID") or "0"
            message += f" (this server looks in ROS_DOMAIN_ID {domain})"
        return cls(error.name, message)
