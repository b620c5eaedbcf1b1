"""Prompts from places in a picture of a panorama: a smaller copy of it, or a perspective view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.perspective_view import PerspectiveView, box_in_panorama
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.msg import ObjectPrompt, PromptDirection, PromptPoint
from panosam2_ros.ros.conversion.messages import vector_msg

Pixel = Sequence[float]  # u, v in the picture


def point_prompt(on: Sequence[Pixel], off: Sequence[Pixel], box: Sequence[float] = ()) -> ObjectPrompt:
    """Return the prompt of pixels of the panorama on an object, of pixels beside it, and of a box."""
    labelled = ((PromptPoint.FOREGROUND, on), (PromptPoint.BACKGROUND, off))
    points = [PromptPoint(u=u, v=v, label=label) for label, pixels in labelled for u, v in pixels]
    return ObjectPrompt(points=points, box=[float(x) for x in box])


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture of a panorama into which somebody points.

    Its pixels become pixels of the panorama, as the prompt service takes them, or directions where the
    picture is a perspective view.
    """

    projection: Equirect | PerspectiveView  # of its pixels
    grid: Equirect  # of the panorama
    camera: CameraFrame  # of the panorama

    def prompt(
        self, on: Sequence[Pixel] = (), off: Sequence[Pixel] = (), box: Sequence[float] = ()
    ) -> ObjectPrompt:
        """Return the prompt of pixels on an object, of pixels beside it and of a box around it.

        Raises ValueError for what is not in the picture.
        """
        for u, v in (*on, *off):
            self._check(u, v)
        corners = self._box(box) if len(box) else ()
        if not isinstance(self.projection, PerspectiveView):
            inside, outside = ([self._in_panorama(u, v) for u, v in pixels] for pixels in (on, off))
            return point_prompt(inside, outside, corners)
        made = point_prompt([], [], corners)
        labelled = ((PromptDirection.FOREGROUND, on), (PromptDirection.BACKGROUND, off))
        made.directions = [
            PromptDirection(direction=vector_msg(self.direction(u, v)), label=label)
            for label, pixels in labelled
            for u, v in pixels
        ]
        return made

    def direction(self, u: float, v: float) -> Floats:
        """Return the unit vector [3] of a pixel, in the axes of the panorama's frame."""
        self._check(u, v)
        return self.camera.to_frame(self.projection.pixel_to_vector(u, v))

    def _check(self, u: float, v: float) -> None:
        if not self.projection.contains(u, v):
            last = self.projection.width - 1, self.projection.height - 1
            raise ValueError(
                f"pixel {u:g}, {v:g} is not in the picture: its columns are 0 to {last[0]}, its rows 0 to "
                f"{last[1]}"
            )

    def _in_panorama(self, u: float, v: float) -> tuple[float, float]:
        across, down = self.grid.width / self.projection.width, self.grid.height / self.projection.height
        return (u + 0.5) * across - 0.5, (v + 0.5) * down - 0.5

    def _box(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        if len(box) != 4:
            raise ValueError(f"a box is U0, V0, U1, V1, got {len(box)} numbers")
        u_min, v_min, u_max, v_max = box
        for u, v in ((u_min, v_min), (u_max, v_max)):
            self._check(u, v)
        if not isinstance(self.projection, PerspectiveView):
            return *self._in_panorama(u_min, v_min), *self._in_panorama(u_max, v_max)
        left, top, right, bottom = box_in_panorama(self.projection, (u_min, v_min, u_max, v_max), self.grid)
        last = self.grid.height - 1.0
        if bottom < 0 or top > last:
            raise ValueError(
                "the box lies above or below what the panorama shows, in the black part of the view"
            )
        return left, float(np.clip(top, 0, last)), right, float(np.clip(bottom, 0, last))
