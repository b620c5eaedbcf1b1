"""A prompt: what a user points with, in pixel indices of one image."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats


class PromptStatus(enum.IntEnum):
    """What became of a prompt; the values are those of PromptResult.msg."""

    OK = 0
    INVALID = 1  # the prompt itself is wrong
    UNKNOWN_OBJECT = 2  # it corrects an object that is not known
    NOTHING_FOUND = 3  # the network found nothing there
    LIMIT_REACHED = 4  # no room or no id for one more object
    BUSY = 7  # the object is being tracked from an older image to the newest
    INTERNAL = 9  # an exception


class PromptError(ValueError):
    """Refuse a prompt; the message says what was needed, what came and the remedy."""

    def __init__(self, message: str, status: PromptStatus = PromptStatus.INVALID) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, eq=False)
class Prompt:
    """Where and what one object is in one image; coordinates are pixel indices of that image.

    Points are [P, 2] ``u, v`` with a label each, 1 (object) or 0 (background). A box is ``u_min, v_min,
    u_max, v_max``; with u_min > u_max it crosses the seam. A mask is [H, W] bool, of the image's size, and
    comes alone.
    """

    obj_id: int = 0  # 0: a new object
    label: str = ""
    points: Floats = field(default_factory=lambda: np.zeros((0, 2)))  # [P, 2]: u, v
    point_labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    box: tuple[float, float, float, float] | None = None  # u_min > u_max: crosses the seam
    mask: NDArray[np.bool_] | None = None  # [H, W]
    replace: bool = False  # forget what is remembered of obj_id first

    @property
    def empty(self) -> bool:
        """Whether it points at nothing."""
        return self.box is None and self.mask is None and len(self.points) == 0

    @property
    def corrects(self) -> bool:
        """Whether a known object's memory is corrected, not a new memory made."""
        return bool(self.obj_id) and not self.replace

    @property
    def sparse_count(self) -> int:
        """Number of points that the network reads: a box counts as two."""
        return len(self.points) + 2 * (self.box is not None)
