"""Views of one tracked object in the frames of a sequence, measured from its masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.synthpano.ground_truth import ObjectTrack, SequenceGroundTruth
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.equirect import Equirect, mask_box
from panosam2_ros.geometry.sphere import Floats, angle_between

FULLY_VISIBLE = 0.9  # visible fraction from which a mask has the shape and size of its object


@dataclass(frozen=True, eq=False)
class ObjectView:
    """One tracked object in one frame that shows it."""

    fraction: float  # visible, of its own solid angle
    direction: Floats  # [3] of the visible part's centroid
    extents: tuple[float, float]  # rad, of the bounding field of view: horizontal, vertical
    box: tuple[int, int, int, int]
    stretch: float  # pixels per solid angle, relative to the horizon
    across_seam: bool  # on both sides of the seam, and not because it covers a pole
    stitched: bool  # touches where two lenses meet
    largest_part: float  # fraction of its solid angle that is connected


@dataclass(frozen=True, eq=False)
class ObjectHistory:
    """One tracked object in all frames of a sequence."""

    ground_truth: SequenceGroundTruth
    track: ObjectTrack
    views: Sequence[ObjectView | None]  # None: not visible

    @property
    def seen(self) -> list[ObjectView]:
        """Views in the frames that show the object."""
        return [view for view in self.views if view]

    @property
    def whole(self) -> list[ObjectView]:
        """Views in the frames that show nearly all of the object."""
        return [view for view in self.seen if view.fraction >= FULLY_VISIBLE]

    @property
    def steps(self) -> list[tuple[ObjectView, ObjectView, float]]:
        """Views in neighbouring frames that both show the object, and the angle between them, rad."""
        pairs = [(a, b) for a, b in pairwise(self.views) if a and b]
        return [(a, b, float(angle_between(a.direction, b.direction))) for a, b in pairs]


def object_view(
    mask: NDArray[np.bool_],  # [H, W]
    grid: Equirect,
    fraction: float,
    zone: NDArray[np.bool_] | None,  # [H, W] where two lenses meet
) -> ObjectView | None:
    """Measure an object's view from its mask; None for an empty mask."""
    bearing, box = mask_bearing(mask, grid), mask_box(mask)
    if bearing is None or box is None:
        return None
    equator = 2 * math.pi**2 / (grid.width * grid.height)
    _, parts = connected_components(mask, 8, math.pi)
    pole = bool(mask[0].all() or mask[-1].all())
    return ObjectView(
        fraction=fraction,
        direction=bearing.direction,
        extents=(bearing.extent_horizontal, bearing.extent_vertical),
        box=box,
        stretch=float(mask.sum() * equator / bearing.solid_angle),
        across_seam=bool((mask[:, 0] & mask[:, -1]).any()) and not pole,
        stitched=zone is not None and bool((mask & zone).any()),
        largest_part=float(parts[1:].max() / parts[1:].sum()),
    )


def hidden_runs(visible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return first and last frame of every absence between two frames that show the object."""
    shown = np.flatnonzero(visible)
    return [(int(a) + 1, int(b) - 1) for a, b in pairwise(shown) if b - a > 1]
