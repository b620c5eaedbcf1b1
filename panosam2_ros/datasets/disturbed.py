"""Videos under disturbances of one kind: other light, blur, compression, a lower frame rate.

A tracker's score over the amount of a disturbance is its robustness curve; see ``evaluation/robustness.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray

DISTURBANCES = {  # by kind: the least and the largest amount, and what that is
    "light": (0.0, 10.0, "factor on all pixels, from the middle frame on"),
    "blur": (0.0, 50.0, "standard deviation of a Gaussian, pixels"),
    "jpeg": (1.0, 100.0, "quality of the compression"),
    "every": (1.0, 100.0, "one frame of so many is left"),
}


@dataclass(frozen=True)
class Disturbance:
    """A kind of ``DISTURBANCES`` and its amount."""

    kind: str
    amount: float

    @classmethod
    def parse(cls, text: str) -> Disturbance:
        """Read ``KIND:AMOUNT``; raise ValueError for another text, kind or amount."""
        kind, _, number = text.partition(":")
        known = ", ".join(f"{name}:{low:g}..{high:g}" for name, (low, high, _) in DISTURBANCES.items())
        try:
            found = cls(kind, float(number))
            low, high, _ = DISTURBANCES[kind]
        except (KeyError, ValueError):
            raise ValueError(f"a disturbance is one of {known}, got {text!r}") from None
        if not low <= found.amount <= high or (kind in ("every", "jpeg") and found.amount % 1):
            raise ValueError(f"a disturbance is one of {known}, whole for every and jpeg; got {text!r}")
        return found

    @property
    def step(self) -> int:
        """How many frames of the video one frame stands for."""
        return int(self.amount) if self.kind == "every" else 1

    def changes_from(self, frames: int) -> int:
        """Return the first of ``frames`` frames that is disturbed."""
        return frames // 2 if self.kind == "light" else 0

    def apply(self, image: ImageArray) -> ImageArray:
        """Disturb an image, RGB [H, W, 3]."""
        if self.kind == "light":
            return np.asarray(cv2.convertScaleAbs(image, alpha=self.amount), np.uint8)
        if self.kind == "blur" and self.amount:
            return _blurred(image, self.amount)
        if self.kind == "jpeg":
            code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(self.amount)])[1]
            return np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
        return image


class DisturbedSequence:
    """A sequence under a disturbance; its ground truth stays as it is."""

    def __init__(self, sequence: VideoSequence, disturbance: Disturbance) -> None:
        self._sequence, self._disturbance, self._step = sequence, disturbance, disturbance.step
        # objects that start in a frame which is left out are not prompted
        self.first_frames: Mapping[int, int] = {
            i: first // self._step for i, first in sequence.first_frames.items() if first % self._step == 0
        }

    @property
    def name(self) -> str:
        """Name, unique within its data set."""
        return self._sequence.name

    @property
    def grid(self) -> Equirect:
        """Pixel grid of its images and labels."""
        return self._sequence.grid

    @property
    def attributes(self) -> frozenset[str]:
        """Names of what makes it difficult."""
        return self._sequence.attributes

    def __len__(self) -> int:
        return len(range(0, len(self._sequence), self._step))

    def image(self, index: int) -> ImageArray:
        """Return one frame, RGB."""
        image = self._sequence.image(index * self._step)
        disturbed = index >= self._disturbance.changes_from(len(self))
        return self._disturbance.apply(image) if disturbed else image

    def labels(self, index: int) -> LabelImage | None:
        """Return all objects' true ids in one frame, [H, W]."""
        return self._sequence.labels(index * self._step)

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Return the true mask of an object in its first frame."""
        return self._sequence.prompt_mask(obj_id)


def _blurred(image: ImageArray, sigma: float) -> ImageArray:
    """Blur an image across the seam."""
    pad = min(int(4 * sigma) + 1, image.shape[1])
    wide = cv2.copyMakeBorder(image, 0, 0, pad, pad, cv2.BORDER_WRAP)
    return np.asarray(cv2.GaussianBlur(wide, (0, 0), sigma)[:, pad:-pad], np.uint8)
