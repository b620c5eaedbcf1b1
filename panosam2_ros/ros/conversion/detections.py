"""Read vision_msgs/Detection2DArray, from anybody on the network, into arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.serialization import deserialize_message

from panosam2_ros.detections.boxes import DetectedBoxes, centred_edges
from panosam2_ros.ros.conversion.messages import stamp_to_ns

try:
    from vision_msgs import msg as vision
except ImportError:  # not among the PyPI wheels of ROS 2
    vision = None

DETECTIONS_TYPE: Any = None if vision is None else vision.Detection2DArray
MOST_MESSAGE_BYTES = 4 << 20  # 1,000 boxes with nine classes each
MOST_MESSAGE_BOXES = 1000
_MOST_HYPOTHESES = 100  # of a box that are looked at


class DetectionsError(ValueError):
    """A message of boxes cannot be used; the message says why, and the remedy."""


def check_message_size(data: bytes) -> None:
    """Raise DetectionsError for a serialized message that is too large to be read."""
    if len(data) > MOST_MESSAGE_BYTES:
        raise DetectionsError(
            f"a message of boxes has at most {MOST_MESSAGE_BYTES} bytes, got {len(data)}: send the best "
            f"{MOST_MESSAGE_BOXES} boxes with their best classes"
        )


def parse_detections(data: bytes) -> Any:
    """Return the Detection2DArray of serialized bytes of an acceptable size; raise DetectionsError."""
    try:
        msg = deserialize_message(data, DETECTIONS_TYPE)
    except Exception as error:  # rclpy raises what its middleware gives
        raise DetectionsError(
            f"a message of boxes cannot be read: {type(error).__name__}: {error}"
        ) from error
    if len(msg.detections) > MOST_MESSAGE_BOXES:
        raise DetectionsError(
            f"a message has at most {MOST_MESSAGE_BOXES} boxes, got {len(msg.detections)}: send the best"
        )
    return msg


def boxes_from_msg(msg: Any, longest_class: int) -> tuple[int, DetectedBoxes]:
    """Return the stamp (ns) of a Detection2DArray and its boxes, each with the class of its best hypothesis.

    Boxes without a hypothesis, or with a class of more than ``longest_class`` characters, are left out. Raise
    DetectionsError for a stamp of zero.
    """
    stamp = stamp_to_ns(msg.header.stamp)
    if not stamp:
        raise DetectionsError(
            "header.stamp of a message of boxes is zero: set it to that of the image in which the boxes were "
            "found"
        )
    rows, scores, classes = [], [], []
    for detection in msg.detections:
        hypotheses = [item.hypothesis for item in detection.results[:_MOST_HYPOTHESES]]
        found = max(hypotheses, key=lambda item: _rank(item.score), default=None)
        if found is None or len(found.class_id) > longest_class:
            continue
        box = detection.bbox
        centre = box.center.position
        rows.append((centre.x, centre.y, box.size_x, box.size_y, box.center.theta))
        scores.append(found.score)
        classes.append(found.class_id)
    numbers = np.array(rows, float).reshape(-1, 5)
    with np.errstate(invalid="ignore", over="ignore"):  # infinite numbers are refused later
        edges = centred_edges(numbers[:, :2], numbers[:, 2:4], numbers[:, 4])
    edges[(numbers[:, 2:4] < 0).any(1)] = np.nan  # a negative size is none
    return stamp, DetectedBoxes(edges, np.array(scores, float), tuple(classes))


def _rank(score: float) -> float:
    return score if score == score else -1.0  # NaN has no order
