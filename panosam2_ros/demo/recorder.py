"""Record what a planner receives: compress and write it on a thread of its own."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image

from panosam2_ros.demo.recording import RecordingWriter, RunLengths
from panosam2_ros.io.image_encodings import image_to_array
from panosam2_ros.io.video import resized_image

PICTURE_WIDTH = 1280  # of the images that are kept


class Recorder:
    """A recording that is compressed and written on a thread of its own, so that receiving never waits."""

    def __init__(self, folder: Path) -> None:
        self._writer = RecordingWriter(folder)
        self._waiting: queue.Queue[tuple[str, int, Any] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def put(self, kind: str, stamp: int, value: Any) -> None:
        """Record a message or a value; never wait."""
        self._waiting.put((kind, stamp, value))

    def close(self, summary: dict[str, Any]) -> None:
        """Write what waits, then the summary."""
        self._waiting.put(None)
        self._thread.join()
        self._writer.close(summary)

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            kind, stamp, value = item
            if kind == "image":
                value = encode_picture(image_to_array(value))
            elif isinstance(value, Image):
                value = RunLengths.of(mono16(value))
            self._writer.put(kind, stamp, value)


def encode_picture(image: NDArray[np.uint8]) -> bytes:
    """Encode an RGB image as JPEG, at most PICTURE_WIDTH wide."""
    height, width = image.shape[:2]
    if width > PICTURE_WIDTH:
        image = resized_image(image, PICTURE_WIDTH, round(height * PICTURE_WIDTH / width))
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    return bytes(encoded)


def mono16(message: Image) -> NDArray[np.uint16]:
    """Return the labels [H, W] of a mono16 message."""
    order = ">u2" if message.is_bigendian else "<u2"
    labels = np.frombuffer(message.data, order).reshape(message.height, message.step // 2)
    return labels[:, : message.width].astype(np.uint16, copy=False)
