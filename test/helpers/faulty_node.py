"""The real node with one thing broken: python -m faulty_node FAULT [ROS arguments]."""

from __future__ import annotations

import errno
import os
import sys
import time
from typing import Any

import torch
from rclpy.node import Node

from panosam2_ros.memory import memory_file
from panosam2_ros.ros import lifecycle_node, node
from panosam2_ros.tracking import tracker


def inference_raises() -> None:
    """On every second image."""
    real, calls = tracker.PanoTracker.step, [0]

    def step(self: Any, image: Any, stamp: int) -> Any:
        calls[0] += 1
        if calls[0] % 2:
            raise RuntimeError("injected")
        return real(self, image, stamp)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def out_of_memory() -> None:
    """With more than two objects at once."""
    real = tracker.propagate

    def propagate(model: Any, bank: Any, features: Any, **options: Any) -> Any:
        if len(bank) > 2:
            raise torch.cuda.OutOfMemoryError("injected: tried to allocate 2.00 GiB")
        return real(model, bank, features, **options)

    tracker.propagate = propagate  # type: ignore[assignment]


def no_memory_at_all() -> None:
    """For any object."""

    def propagate(*_: Any, **__: Any) -> Any:
        raise MemoryError("injected")

    tracker.propagate = propagate


def disk_full() -> None:
    """Nothing that is written arrives."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    memory_file.os.fsync = fsync  # type: ignore[assignment]


def slow() -> None:
    """A second for each image."""
    real = tracker.PanoTracker.step

    def step(self: Any, image: Any, stamp: int) -> Any:
        time.sleep(1.0)
        return real(self, image, stamp)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def slow_to_configure() -> None:
    """Loading the weights takes three seconds."""
    real = node.build_tracker

    def build(parameters: Any) -> Any:
        print("configuring", flush=True)
        time.sleep(3.0)
        return real(parameters)

    node.build_tracker = build


def like_humble() -> None:
    """As with ROS 2 Humble's rclpy: parameters only before they change, and nothing about a message."""
    del Node.add_post_set_parameters_callback
    lifecycle_node.Subscription = object


if __name__ == "__main__":
    FAULTS = (
        inference_raises, out_of_memory, no_memory_at_all, disk_full, slow, slow_to_configure, like_humble,
    )  # fmt: skip
    {fault.__name__: fault for fault in FAULTS}[sys.argv.pop(1)]()
    node.main()
