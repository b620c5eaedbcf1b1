"""Publish objects as vision_msgs defines them, where that package is installed.

`~/detections` (Detection2DArray) holds the objects that are visible: ``id`` is the object's id, which it
keeps for its life, ``class_id`` its label, ``score`` the probability that it is present, ``bbox`` the box of
its mask in pixel indices of the image. The centre always lies in the image. A box whose edge is beyond the
image's first or last column goes on at the other side: its columns are to be taken modulo the width.

`~/label_info` (LabelInfo, kept for late subscribers) names the values of `~/masks`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from panosam2_ros.geometry.equirect import box_width, mask_box
from panosam2_ros.ros.publishing.visualization_messages import VisualizationInput
from panosam2_ros.tracking.track import Track

try:
    from vision_msgs import msg as vision
except ImportError:  # not among the PyPI wheels of ROS 2
    vision = None

AVAILABLE = vision is not None


def detections_publisher(node: LifecycleNode) -> Any:
    """Create the publisher of `~/detections`."""
    qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
    return node.create_lifecycle_publisher(vision.Detection2DArray, "~/detections", qos)


def detections_msg(scene: VisualizationInput) -> Any:
    """Make a Detection2DArray of the visible objects."""
    height, width = scene.image.shape[:2]
    found = [
        _detection(scene, track, box)
        for track in scene.tracked.tracks
        if (box := seam_box(scene.tracked.labels == track.obj_id, width, height)) is not None
    ]
    return vision.Detection2DArray(header=scene.header, detections=found)


def seam_box(
    mask: NDArray[np.bool_],  # [h, w]
    width: int,
    height: int,
) -> tuple[float, float, float, float] | None:
    """Return centre u, v and size u, v, pixels of an image of ``width`` x ``height``; None for an empty mask.

    The centre lies in [-0.5, width - 0.5), also where the box crosses the seam.
    """
    box = mask_box(mask)
    if box is None:
        return None
    u_min, v_min, u_max, v_max = box
    scale_u, scale_v = width / mask.shape[1], height / mask.shape[0]
    columns, rows = box_width(u_min, u_max, mask.shape[1]) + 1, v_max - v_min + 1
    left, top = u_min * scale_u, v_min * scale_v  # of the edges, from the image's own edge
    centre = (left + columns * scale_u / 2) % width
    return centre - 0.5, top + rows * scale_v / 2 - 0.5, columns * scale_u, rows * scale_v


def _detection(scene: VisualizationInput, track: Track, box: tuple[float, float, float, float]) -> Any:
    detection = vision.Detection2D(header=scene.header, id=str(track.obj_id))
    result = vision.ObjectHypothesisWithPose()
    result.hypothesis.class_id, result.hypothesis.score = track.label, float(track.score)
    detection.results = [result]
    centre = detection.bbox.center.position
    centre.x, centre.y, detection.bbox.size_x, detection.bbox.size_y = (float(b) for b in box)
    return detection


class LabelPublisher:
    """`~/label_info`: published when objects or their labels change, kept for late subscribers."""

    def __init__(self, node: LifecycleNode) -> None:
        qos = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._publisher = node.create_lifecycle_publisher(vision.LabelInfo, "~/label_info", qos)
        self._published: dict[int, str] | None = None

    def update(self, scene: VisualizationInput) -> None:
        """Publish the labels if they have changed."""
        names = {track.obj_id: track.label for track in scene.tracked.tracks}
        if names == self._published:
            return
        classes = [vision.VisionClass(class_id=i, class_name=name) for i, name in names.items()]
        self._publisher.publish(vision.LabelInfo(header=scene.header, class_map=classes))
        self._published = names

    def forget(self) -> None:
        """Publish with the next image in any case."""
        self._published = None
