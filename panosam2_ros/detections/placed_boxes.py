"""Boxes of a detector with their place on the sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.geometry.angular_box import AngularBoxes
from panosam2_ros.geometry.sphere import Floats


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """Boxes, by falling score, where they lie on the sphere and in the panorama."""

    detected: DetectedBoxes  # N, in their own image
    angular: AngularBoxes  # N
    prompts: Floats  # [N, 4] boxes of prompts in the panorama; u_min > u_max: across the seam
    cut: NDArray[np.bool_]  # [N] ends at a border of its image, beyond which the thing may go on

    def __len__(self) -> int:
        """Return the number of boxes."""
        return len(self.detected)

    def of(self, rows: Sequence[int] | NDArray[np.int64]) -> PlacedBoxes:
        """Return some of the boxes, in the order of ``rows``."""
        index = np.asarray(rows, np.int64)
        return PlacedBoxes(
            self.detected.of(index), self.angular.of(index), self.prompts[index], self.cut[index]
        )

    @classmethod
    def joined(cls, parts: Sequence[PlacedBoxes]) -> PlacedBoxes:
        """Return the boxes of several images of one moment, by falling score."""
        detected = DetectedBoxes(
            np.concatenate([part.detected.edges for part in parts]),
            np.concatenate([part.detected.scores for part in parts]),
            tuple(name for part in parts for name in part.detected.classes),
        )
        angular = AngularBoxes(
            np.concatenate([part.angular.directions for part in parts]),
            np.concatenate([part.angular.extents for part in parts]),
        )
        prompts, cut = (np.concatenate([getattr(p, name) for p in parts]) for name in ("prompts", "cut"))
        return cls(detected, angular, prompts, cut).of(np.argsort(-detected.scores, kind="stable"))
