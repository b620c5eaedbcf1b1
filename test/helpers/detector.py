"""A detector made of ground truth: boxes as detectors give them, published as vision_msgs does."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rclpy.node import Node

from helpers.message_packages import package_folders
from panosam2_ros.geometry.equirect import box_width, mask_box
from panosam2_ros.ros.conversion.messages import ns_to_stamp

Row = tuple[str, float, tuple[float, float, float, float]]  # class, score, edges u_min v_min u_max v_max


def vision_messages() -> Iterator[Any]:
    """Yield the module of vision_msgs' messages, for a fixture; other tests do not find the package."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in package_folders("vision_msgs"):
            patch.syspath_prepend(folder)
        yield importlib.import_module("vision_msgs.msg")
    for name in [name for name in sys.modules if name.split(".")[0] == "vision_msgs"]:
        del sys.modules[name]


def detections(vision: Any, stamp: int, rows: list[Row]) -> Any:
    """Return a Detection2DArray."""
    msg = vision.Detection2DArray()
    msg.header.stamp = ns_to_stamp(stamp)
    for name, score, (u_min, v_min, u_max, v_max) in rows:
        item = vision.Detection2D(results=[vision.ObjectHypothesisWithPose()])
        item.results[0].hypothesis.class_id, item.results[0].hypothesis.score = name, float(score)
        centre = item.bbox.center.position
        centre.x, centre.y = float(u_min + u_max) / 2, float(v_min + v_max) / 2
        item.bbox.size_x, item.bbox.size_y = float(u_max - u_min), float(v_max - v_min)
        msg.detections.append(item)
    return msg


@dataclass
class Detector:
    """Boxes of things in label images, as a detector that does not know that a panorama is closed."""

    names: Mapping[int, str]  # of the labels' values
    seed: int = 0
    jitter: float = 0.04  # standard deviation of each edge, of the box's side
    missed: float = 0.2  # probability of each box
    doubled: float = 0.2  # probability that a box comes twice
    boxes: int = field(default=0, init=False)  # that it has given
    halves: int = field(default=0, init=False)  # of them at the seam

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)

    def find(self, labels: NDArray[np.integer[Any]]) -> list[Row]:
        """Return the boxes of one image, in any order."""
        rows: list[Row] = []
        for value, name in self.names.items():
            for edges in self._pieces(labels == value):
                times = int(self._rng.random() >= self.missed) * (1 + (self._rng.random() < self.doubled))
                rows += [(name, self._rng.uniform(0.6, 0.95), self._shaken(edges)) for _ in range(times)]
        self.boxes += len(rows)
        return rows

    def _pieces(self, mask: NDArray[np.bool_]) -> list[tuple[float, ...]]:
        """Return the edges of a mask's box, in two pieces where it crosses the seam."""
        box = mask_box(mask)
        if box is None or mask.sum() < 60:
            return []
        u_min, v_min, u_max, v_max = box
        if u_min <= u_max:
            return [(u_min - 0.5, v_min - 0.5, u_max + 0.5, v_max + 0.5)]
        self.halves += 2
        width = mask.shape[1]
        pieces = ((u_min, width - 1), (0, u_max))
        shown = [(a, b, np.flatnonzero(mask[:, a : b + 1].any(1))) for a, b in pieces]
        return [(a - 0.5, rows[0] - 0.5, b + 0.5, rows[-1] + 0.5) for a, b, rows in shown if b - a >= 3]

    def _shaken(self, edges: tuple[float, ...]) -> Any:
        left, top, right, bottom = edges
        size = np.array([right - left, bottom - top] * 2)
        return tuple(np.array(edges) + self._rng.normal(size=4) * self.jitter * size)


def panorama_box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the edges of a mask's box; one across the seam goes on beyond the last column."""
    box = mask_box(mask)
    assert box is not None
    u_min, v_min, u_max, v_max = box
    return u_min - 0.5, v_min - 0.5, u_min + box_width(u_min, u_max, mask.shape[1]) + 0.5, v_max + 0.5


def detector_topic(node: Node, vision: Any) -> Any:
    """Return the publisher of a node's boxes."""
    return node.create_publisher(vision.Detection2DArray, "panosam2/detections_in", 5)
