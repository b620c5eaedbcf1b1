"""Frames from a video, a ROS bag, a folder of images or one image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from panosam2_ros.io.bag_files import is_bag, natural_order
from panosam2_ros.io.rosbag import BagImages
from panosam2_ros.io.video import IMAGE_SUFFIXES, FrameSource, ImageFiles, StampedFrame, VideoError, VideoFile

DEFAULT_RATE = 10.0  # Hz, of sources without a rate of their own


def open_frames(path: str | Path, *, topic: str = "") -> FrameSource:
    """Open a video file, a ROS bag, a folder of images (2.jpg before 10.jpg) or a single image.

    ``topic`` chooses an image topic of a bag; empty: its only one. Raises VideoError where no frames can
    be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise VideoError(f"there is no {path}: give a video file, a ROS bag, an image or a folder of images")
    if is_bag(path):
        return BagImages(path, topic=topic)
    if path.is_dir():
        visible = (p for p in path.iterdir() if not p.name.startswith("."))
        paths = [p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES]
        paths.sort(key=natural_order)
        if not paths:
            raise VideoError(
                f"the folder {path} has no image ({', '.join(IMAGE_SUFFIXES)}); give a folder that contains "
                "images itself, its subfolders are not searched"
            )
        return ImageFiles(paths)
    return ImageFiles([path]) if path.suffix.lower() in IMAGE_SUFFIXES else VideoFile(path)


def stamped_frames(source: FrameSource, *, rate: float = 0.0) -> Iterator[StampedFrame]:
    """Yield frames with stamps, ns: those of a bag; of a video, its own from 0 on; of images, from 0 on.

    Images that cannot be read leave a gap in time.
    ``rate``, Hz, is that of images (0: ``DEFAULT_RATE``), and where it is given replaces a video's own times.
    """
    if isinstance(source, BagImages) or (isinstance(source, VideoFile) and not rate):
        yield from source.stamped()
        return
    period = 1e9 / (rate or source.rate or DEFAULT_RATE)
    for index, image in source.numbered() if isinstance(source, ImageFiles) else enumerate(source):
        yield StampedFrame(image, round(index * period))
