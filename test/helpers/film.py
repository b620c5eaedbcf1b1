"""Synthetic scenes shown to a node in a process of its own, with the ground truth of every frame."""

from __future__ import annotations

import time

import numpy as np
import rclpy
from numpy.typing import NDArray

from helpers.station import Station, image_msg
from panosam2_ros.geometry.equirect import mask_box
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.msg import ObjectBearing, ObjectPrompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig


class Film:
    """A scene that is shown frame by frame, each after the results of the one before it."""

    def __init__(self, station: Station, config: SceneConfig, seed: int) -> None:
        self.station, self.scene = station, Scene(config, AssetLibrary.shipped(Split.VAL), seed)
        station.stamp += 3_600_000_000_000
        self.stamps: list[int] = []

    def show(self) -> int:
        """Show the next frame, not before its time, again where it was lost; return its index."""
        index, rate = len(self.stamps), self.scene.config.rate
        frame, begun = self.scene.render(index), time.monotonic()
        stamp = self.station.stamp + round(index / rate * 1e9)
        for _ in range(10):
            self.station.camera.publish(image_msg(stamp, pixels=frame.image))
            end = time.monotonic() + 3.0
            while not self._answered(stamp) and time.monotonic() < end:
                rclpy.spin_once(self.station, timeout_sec=0.02)
            if self._answered(stamp):
                break
        assert self._answered(stamp), "no bearings and masks for any of ten images"
        self.stamps.append(stamp)
        while time.monotonic() < begun + 1 / rate:
            rclpy.spin_once(self.station, timeout_sec=0.01)
        return index

    def _answered(self, stamp: int) -> bool:
        return stamp in self.station.bearings and stamp in self.station.masks

    def box(self, obj_id: int, index: int = 0) -> ObjectPrompt:
        """Return a prompt by the box of an object in a frame."""
        box = mask_box(self.scene.truth(index).labels == obj_id)
        assert box is not None
        return ObjectPrompt(label=f"object {obj_id}", box=[float(x) for x in box])

    def bearings(self, index: int) -> list[ObjectBearing]:
        return list(self.station.bearings[self.stamps[index]].objects)

    def error(self, seen: ObjectBearing, obj_id: int, index: int) -> float:
        """Return the error of a bearing at its message's own stamp, rad."""
        truth = next(o for o in self.scene.truth(index).objects if o.obj_id == obj_id)
        direction = np.array([seen.direction.x, seen.direction.y, seen.direction.z])
        return float(angle_between(truth.direction, direction))

    def masks(self, index: int) -> NDArray[np.uint16]:
        """Return the published label image [H, W]."""
        msg = self.station.masks[self.stamps[index]]
        return np.frombuffer(msg.data, np.uint16).reshape(msg.height, msg.width)

    def iou(self, obj_id: int, published_id: int, index: int) -> float:
        """Return the IoU of the published mask with the ground truth."""
        truth, found = self.scene.truth(index).labels == obj_id, self.masks(index) == published_id
        return float((truth & found).sum() / max(1, (truth | found).sum()))
