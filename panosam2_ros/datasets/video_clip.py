"""A video without ground truth as a sequence."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.io.frame_source import open_frames

log = logging.getLogger(__name__)


class VideoClip:
    """A video without ground truth as a sequence; frames stay in memory once they were read."""

    attributes: frozenset[str] = frozenset()

    def __init__(self, path: Path, frames: int, objects: int) -> None:
        self.name = path.stem
        source = open_frames(path)
        self.grid = Equirect(source.width, source.height)
        self.rate = source.rate or 10.0
        self.first_frames = dict.fromkeys(range(1, objects + 1), 0)
        self._source = source
        self._frames_left: Iterator[ImageArray] = iter(source)
        self._limit = frames
        self._frames: list[ImageArray] = []
        self._ended = False

    def __len__(self) -> int:
        """Return the number of frames; reads all of them."""
        while self._read():
            pass
        return len(self._frames)

    def image(self, index: int) -> ImageArray:
        """Return one frame, RGB; reads those before it."""
        while index >= len(self._frames) and self._read():
            pass
        return self._frames[index]

    def labels(self, index: int) -> LabelImage | None:
        """Return None: there is no ground truth."""
        return None

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Raise ValueError: there is no ground truth."""
        raise ValueError(f"{self.name} has no ground truth: prompt its objects with --box and --click")

    def _read(self) -> bool:
        """Read another frame; return whether there was one."""
        full = 0 < self._limit <= len(self._frames)
        if self._ended or full:
            return False
        frame = next(self._frames_left, None)
        if frame is None:
            self._ended = True
            if text := self._source.report.text:
                log.warning("%s: %s", self.name, text)
        if frame is not None:
            self._frames.append(frame)
        return frame is not None
