"""RGB frames of a video file or of image files, in order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


class VideoError(ValueError):
    """A source of frames that cannot be read; the message names the reason and the remedy."""


@dataclass(frozen=True, eq=False)
class StampedFrame:
    """A frame with its time of recording."""

    image: ImageArray
    stamp: int  # ns
    _: KW_ONLY
    frame_id: str | None = None  # None: of a source without frame ids


class FrameSource(Protocol):
    """Frames of one size; every iteration starts at the first frame."""

    width: int
    height: int
    rate: float  # Hz; 0 where the source has none
    frames: int  # 0: unknown

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the frames in order, RGB."""
        ...


class VideoFile:
    """A video that is decoded while reading, with one frame in memory."""

    def __init__(self, path: Path) -> None:
        """Open a video and read its first frame; raise VideoError where that fails."""
        self._path = path
        capture = self._open()
        self.rate = max(float(capture.get(cv2.CAP_PROP_FPS)), 0.0)
        self.frames = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        read, first = capture.read()
        capture.release()
        if not read:
            raise VideoError(f"{path} is a video without a single readable frame; {_RECODE}")
        self.height, self.width = first.shape[:2]

    def _open(self) -> Any:
        """Open the video at its first frame; raise VideoError where that fails."""
        # FFmpeg explicitly: OpenCV's other readers take a % in a file name for a numbering pattern
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise VideoError(f"{self._path} is no video that OpenCV can read; {_RECODE}")
        return capture

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the frames in order, RGB."""
        capture = self._open()
        try:
            while True:
                read, frame = capture.read()
                if not read:
                    return
                yield _rgb(frame)
        finally:
            capture.release()


class ImageFiles:
    """Image files of one size, in the order of a list."""

    rate = 0.0

    def __init__(self, paths: list[Path]) -> None:
        """Read the size of the first image; raise VideoError where that fails."""
        self._paths = paths
        self.frames = len(paths)
        self.height, self.width = _read_image(paths[0]).shape[:2]

    def __iter__(self) -> Iterator[ImageArray]:
        """Yield the images in order, RGB; raise VideoError for one that is unreadable or of another size."""
        for path in self._paths:
            image = _read_image(path)
            height, width = image.shape[:2]
            if (width, height) != (self.width, self.height):
                raise VideoError(
                    f"{path} is {width}x{height} but {self._paths[0].name}, the first of the "
                    f"folder, is {self.width}x{self.height}; images of one size are needed"
                )
            yield image


def resized_image(frame: ImageArray, width: int, height: int) -> ImageArray:
    """Resize a frame, by averaging where it shrinks; a frame of that size is returned as it is."""
    if frame.shape[:2] == (height, width):
        return frame
    shrinks = width < frame.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=how), np.uint8)


_RECODE = "convert it, for example with: ffmpeg -i INPUT -c:v libx264 -pix_fmt yuv420p OUTPUT.mp4"


def _read_image(path: Path) -> ImageArray:
    """Read an image file as RGB; raise VideoError where that fails."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise VideoError(f"{path} cannot be read as an image; remove it or write it again")
    return _rgb(image)


def _rgb(bgr: Any) -> ImageArray:
    """Convert OpenCV's BGR to RGB."""
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
