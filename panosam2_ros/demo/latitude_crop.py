"""A panorama without what lies far above and below the horizon, as some cameras and drivers deliver it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import normalised
from panosam2_ros.simulation.compositor import solid_moment
from panosam2_ros.simulation.scene import ObjectTruth

_TOLERANCE = 0.02  # rows by which the whole sphere may differ from an integer: people write 2.0944


@dataclass(frozen=True)
class LatitudeCrop:
    """The rows of a full sphere that an image has, symmetric about the horizon."""

    grid: Equirect  # of the image
    full_height: int  # rows of the full sphere

    @classmethod
    def of(cls, grid: Equirect) -> LatitudeCrop:
        """Return the crop that gives images of a grid.

        Raises ValueError where its rows are not rows of a full sphere of its width, with the
        ``vertical_fov`` that would be.
        """
        rows = grid.height * math.pi / grid.vertical_fov
        full = grid.height + 2 * round((rows - grid.height) / 2)
        if abs(rows - full) > _TOLERANCE:
            fov = grid.height / full * math.pi
            raise ValueError(
                f"{grid.height} rows of {grid.vertical_fov:.6g} rad make {rows:.2f} rows of a full sphere, "
                f"which must be an even number more than {grid.height}: set vertical_fov to {fov:.8f}"
            )
        Equirect(grid.width, full)
        return cls(grid, full)

    def of_image(self, image: ImageArray) -> ImageArray:
        """Cut an image or labels [full_height, W, ...] to [H, W, ...]."""
        top = (self.full_height - self.grid.height) // 2
        return image[top : top + self.grid.height] if top else image

    def of_truth(self, truth: ObjectTruth, labels: ImageArray) -> ObjectTruth:
        """Return an object's ground truth in cut labels [H, W]: what lies outside is not visible."""
        if self.full_height == self.grid.height or not truth.visible:
            return truth
        mask = np.asarray(labels == truth.obj_id)
        moment = solid_moment(mask, slice(None), slice(None), self.grid)
        visible, area = bool(moment[3] > 0), float(moment[3])
        return replace(
            truth,
            visible=visible,
            visible_fraction=truth.visible_fraction * area / truth.solid_angle,
            solid_angle=area,
            direction=normalised(moment[:3]) if visible else truth.centre,
        )
