"""The bodies of a scene: tracked objects, distractors and occluders."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np

from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.simulation import scene_motion as motion
from panosam2_ros.simulation.sprites import Sprite


@dataclass(frozen=True, eq=False)
class Body:
    """A tracked object of a scene, or a distractor with id 0."""

    obj_id: int
    name: str
    views: tuple[Sprite, ...]  # one, or a closed sequence
    path: motion.Path
    poses: Floats  # [T, 3, 3] columns right, down, forward in world axes
    diameters: Floats  # [T] rad
    _: KW_ONLY
    twin: int = 0  # obj_id of the object that a distractor looks like; 0: none
    phases: Floats | None = None  # [T] fractional index of the view in each frame; None: the first view

    @property
    def sprite(self) -> Sprite:
        """The view in frame 0."""
        return self.look(0)

    def look(self, time: float) -> Sprite:
        """Return the view at a fractional frame index."""
        if self.phases is None:
            return self.views[0]
        phase = np.interp(time, np.arange(len(self.phases)), self.phases)
        return self.views[round(float(phase)) % len(self.views)]

    def at(self, time: float) -> tuple[Floats, float]:
        """Return pose and diameter at a fractional frame index."""
        frames = np.arange(len(self.diameters))
        return motion.pose_at(self.poses, time), float(np.interp(time, frames, self.diameters))
