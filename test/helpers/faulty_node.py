"""The real node with one thing broken or replaced: python -m faulty_node FAULT [ROS arguments]."""

from __future__ import annotations

import errno
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from panosam2_ros.ros import image_subscription, lifecycle_node, node, runtime
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


def _at_image(which: Callable[[int], bool], fault: Callable[[], None]) -> None:
    """Have a fault on the images whose number, from 1, is chosen."""
    real, calls = tracker.PanoTracker.step, [0]

    def step(self: Any, image: Any, stamp: int, **options: bool) -> Any:
        calls[0] += 1
        if which(calls[0]):
            fault()
        return real(self, image, stamp, **options)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def inference_ends() -> None:
    """On the fourth image, by what no ``except Exception`` catches."""
    _at_image(lambda n: n == 4, lambda: sys.exit("injected"))


def inference_ends_always() -> None:
    """On every image from the second on."""
    _at_image(lambda n: n > 1, lambda: sys.exit("injected"))


def inference_hangs() -> None:
    """On the fourth image, for ever."""
    _at_image(lambda n: n == 4, lambda: time.sleep(1e6))


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


def no_memory_for_messages() -> None:
    """For every second image and call, and in every third callback of an image."""
    kinds = {"_take_subscription": "image", "_take_service": "prompt"}
    calls = [0]

    def failing(real: Any, part: str) -> Any:
        def take(self: Any, entity: Any) -> Any:
            name = getattr(entity, "topic_name", None) or getattr(entity, "srv_name", "")
            if part not in name:
                return real(self, entity)
            taken = real(self, entity)
            calls[0] += 1
            if calls[0] % 2:
                raise MemoryError("std::bad_alloc")
            return taken

        return take

    for method, part in kinds.items():
        setattr(SingleThreadedExecutor, method, failing(getattr(SingleThreadedExecutor, method), part))
    arrived, images = image_subscription.ImageSubscription._arrived, [0]

    def out_of_memory_there(self: Any, msg: Any, info: Any) -> None:
        images[0] += 1
        if images[0] % 3 == 0:
            raise MemoryError
        arrived(self, msg, info)

    image_subscription.ImageSubscription._arrived = out_of_memory_there  # type: ignore[method-assign]


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
        Buffer=Buffer,
        TransformListener=lambda *_, **__: None,
        TransformException=LookupError,
        ExtrapolationException=IndexError,
    )


def slow() -> None:
    """A second for each image."""
    real = tracker.PanoTracker.step

    def step(self: Any, image: Any, stamp: int, **options: bool) -> Any:
        time.sleep(1.0)
        return real(self, image, stamp, **options)

    tracker.PanoTracker.step = step  # type: ignore[method-assign]


def slow_to_configure() -> None:
    """Loading the weights takes minutes."""
    real = runtime.build_tracker

    def build(parameters: Any) -> Any:
        print("configuring", flush=True)
        time.sleep(300.0)
        return real(parameters)

    runtime.build_tracker = build


def little_memory_at_first() -> None:
    """The weights find almost no memory, really, when they are loaded first."""
    real, calls = runtime.build_tracker, [0]

    def build(parameters: Any) -> Any:
        calls[0] += 1
        if calls[0] > 1:
            return real(parameters)
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + (1 << 20), hard))
        try:
            return real(parameters)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    runtime.build_tracker = build


def executor_hangs() -> None:
    """When the third image arrives, as where the middleware blocks it."""
    real, calls = image_subscription.ImageSubscription._arrived, [0]

    def arrived(self: Any, msg: Any, info: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            time.sleep(10_000)
        real(self, msg, info)

    image_subscription.ImageSubscription._arrived = arrived  # type: ignore[method-assign]


def like_humble() -> None:
    """As with ROS 2 Humble's rclpy: parameters only before they change, and nothing about a message."""
    del Node.add_post_set_parameters_callback
    lifecycle_node.Subscription = object


if __name__ == "__main__":
    FAULTS = (
        inference_raises, inference_ends, inference_ends_always, inference_hangs, out_of_memory,
        no_memory_at_all, no_memory_for_messages, disk_full, prompting_raises, knows_a_transform,
        executor_hangs, little_memory_at_first, slow, slow_to_configure, like_humble,
    )  # fmt: skip
    {fault.__name__: fault for fault in FAULTS}[sys.argv.pop(1)]()
    node.main()
