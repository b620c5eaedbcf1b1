"""The real node with one thing broken or replaced: python -m faulty_node FAULT [ROS arguments]."""

from __future__ import annotations

import errno
import math
import os
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rclpy.node import Node

from panosam2_ros.ros import lifecycle_node, node, runtime
from panosam2_ros.ros.conversion import transforms
from panosam2_ros.tracking import tracker, view_pipeline

KNOWN_FRAME, CAMERA_FRAME = "map", "camera_optical_frame"
_QUARTER = math.sqrt(0.5)
KNOWN_ROTATION = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # a quarter turn about z


def inference_raises() -> None:
    """On every second image."""
    real, calls = tracker.PanoTracker.step, [0]

    def step(self: Any, image: Any, stamp: int, **options: bool) -> Any:
        calls[0] += 1
        if calls[0] % 2:
            raise RuntimeError("injected")
        return real(self, image, stamp, **options)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def out_of_memory() -> None:
    """With more than two objects at once."""
    real = view_pipeline.propagate

    def propagate(model: Any, bank: Any, features: Any, **options: Any) -> Any:
        if len(bank) > 2:
            raise torch.cuda.OutOfMemoryError("injected: tried to allocate 2.00 GiB")
        return real(model, bank, features, **options)

    view_pipeline.propagate = propagate  # type: ignore[assignment]


def no_memory_at_all() -> None:
    """For any object."""

    def propagate(*_: Any, **__: Any) -> Any:
        raise MemoryError("injected")

    view_pipeline.propagate = propagate


def disk_full() -> None:
    """Nothing that is written arrives."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    os.fsync = fsync  # type: ignore[assignment]


def prompting_raises() -> None:
    """Always."""

    def prompt(*_: Any) -> Any:
        raise RuntimeError("injected")

    tracker.PanoTracker.prompt = prompt  # type: ignore[method-assign]


def knows_a_transform() -> None:
    """From the camera's frame to KNOWN_FRAME; tf2 is not to be had from PyPI."""

    class Buffer:
        def __init__(self, node: Any) -> None:
            pass

        def lookup_transform(self, target: str, source: str, _: Any) -> Any:
            if (target, source) != (KNOWN_FRAME, CAMERA_FRAME):
                raise LookupError(f'"{source}" is not connected to "{target}"')
            rotation = SimpleNamespace(x=0.0, y=0.0, z=_QUARTER, w=_QUARTER)
            return SimpleNamespace(transform=SimpleNamespace(rotation=rotation))

    transforms.tf2_ros = SimpleNamespace(
        Buffer=Buffer, TransformListener=lambda *_, **__: None, TransformException=LookupError
    )


def slow() -> None:
    """A second for each image."""
    real = tracker.PanoTracker.step

    def step(self: Any, image: Any, stamp: int, **options: bool) -> Any:
        time.sleep(1.0)
        return real(self, image, stamp, **options)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def slow_to_configure() -> None:
    """Loading the weights takes three seconds."""
    real = runtime.build_tracker

    def build(parameters: Any) -> Any:
        print("configuring", flush=True)
        time.sleep(3.0)
        return real(parameters)

    runtime.build_tracker = build


def like_humble() -> None:
    """As with ROS 2 Humble's rclpy: parameters only before they change, and nothing about a message."""
    del Node.add_post_set_parameters_callback
    lifecycle_node.Subscription = object


if __name__ == "__main__":
    FAULTS = (
        inference_raises, out_of_memory, no_memory_at_all, disk_full, prompting_raises, knows_a_transform,
        slow, slow_to_configure, like_humble,
    )  # fmt: skip
    {fault.__name__: fault for fault in FAULTS}[sys.argv.pop(1)]()
    node.main()
