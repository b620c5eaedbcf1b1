"""ROS bags with images, as ``ros2 bag`` writes them; needs the package ``rosbags``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

TYPES = get_typestore(Stores.ROS2_JAZZY)
START = 1_700_000_000_123_456_789
PERIOD = 200_000_000  # ns


def picture(index: int) -> np.ndarray:
    return np.full((32, 64, 3), (10 + index, 100, 200), np.uint8)


def write_bag(path: Path, kind: str = "raw", storage: Any = StoragePlugin.MCAP, frames: int = 6) -> Path:
    """Write images of 5 Hz on one topic and strings on another; headers are 5 ms older than the recording."""
    with Writer(path, version=9, storage_plugin=storage) as writer:
        name = "sensor_msgs/msg/" + ("Image" if kind == "raw" else "CompressedImage")
        images = writer.add_connection("/pano/image", name, typestore=TYPES)
        words = writer.add_connection("/words", "std_msgs/msg/String", typestore=TYPES)
        for index in range(frames):
            stamp = START + index * PERIOD
            message = image_message(kind, index, stamp)
            writer.write(images, stamp + 5_000_000, TYPES.serialize_cdr(message, name))
            word = TYPES.types["std_msgs/msg/String"](data="hello")
            writer.write(words, stamp + 6_000_000, TYPES.serialize_cdr(word, "std_msgs/msg/String"))
    return path


def image_message(kind: str, index: int, stamp: int) -> Any:
    time = TYPES.types["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = TYPES.types["std_msgs/msg/Header"](stamp=time, frame_id="pano_optical_frame")
    bgr = np.ascontiguousarray(picture(index)[..., ::-1])
    if kind == "raw":
        return TYPES.types["sensor_msgs/msg/Image"](
            header=header, height=32, width=64, encoding="bgr8", is_bigendian=0, step=192, data=bgr.ravel()
        )
    data = cv2.imencode(".png", bgr)[1].reshape(-1)
    return TYPES.types["sensor_msgs/msg/CompressedImage"](header=header, format="png", data=data)
