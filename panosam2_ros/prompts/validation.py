"""Which prompts of a request take effect, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.memory.memory_file import MAX_OBJ_ID
from panosam2_ros.model.mask_decoder import BACKGROUND, FOREGROUND
from panosam2_ros.prompts.prompt import Prompt, PromptError, PromptStatus


def check_prompt(prompt: Prompt, grid: Equirect, refines: bool) -> None:
    """Raise PromptError, saying what was needed, what came and the remedy, for a bad prompt.

    ``refines``: the object is known and its memory kept, so background points alone make sense.
    """
    if prompt.empty:
        raise PromptError("the prompt is empty: give points, directions, a box or a mask")
    if prompt.mask is not None:
        _check_mask(prompt, grid)
    if prompt.box is not None:
        _check_box(prompt.box, grid)
    _check_points(prompt, grid, refines)


def _check_mask(prompt: Prompt, grid: Equirect) -> None:
    assert prompt.mask is not None
    if prompt.mask.shape != (grid.height, grid.width):
        raise PromptError(
            f"the mask must have the image's size {grid.width}x{grid.height}, got "
            f"{prompt.mask.shape[1]}x{prompt.mask.shape[0]}"
        )
    if not prompt.mask.any():
        raise PromptError("the mask is empty: set the object's pixels to a value other than zero")
    if prompt.box is not None or len(prompt.points):
        raise PromptError("a mask says it all: give it without points, directions and box")


def _check_box(box: tuple[float, float, float, float], grid: Equirect) -> None:
    u_min, v_min, u_max, v_max = box
    inside = np.isfinite(box).all() and grid.contains([u_min, u_max], [v_min, v_max]).all()
    if not inside:
        raise PromptError(
            f"the box {box} must lie in the image, u -0.5..{grid.width - 0.5} and v "
            f"-0.5..{grid.height - 0.5}; one that crosses the seam has u_min > u_max"
        )
    if v_min >= v_max or u_min == u_max:
        raise PromptError(f"the box {box} has no area: it needs v_min < v_max and u_min other than u_max")


def _check_points(prompt: Prompt, grid: Equirect, refines: bool) -> None:
    points, labels = prompt.points, prompt.point_labels
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise PromptError(
            f"points need a u, a v and a label each, got {points.shape} and {len(labels)} labels"
        )
    if not np.isin(labels, (BACKGROUND, FOREGROUND)).all():
        raise PromptError(
            f"point labels are 1 (object) or 0 (background), got {sorted(set(labels.tolist()))}"
        )
    if len(points) and not (np.isfinite(points).all() and grid.contains(points[:, 0], points[:, 1]).all()):
        raise PromptError(
            f"points must lie in the image, u -0.5..{grid.width - 0.5} and v "
            f"-0.5..{grid.height - 0.5}, got {points.tolist()}"
        )
    foreground = {tuple(np.round(p)) for p in points[labels == FOREGROUND]}
    both = [p for p in points[labels == BACKGROUND] if tuple(np.round(p)) in foreground]
    if both:
        raise PromptError(f"the same pixel {both[0].tolist()} is labelled both object and background")
    if len(points) and not foreground and prompt.box is None and not refines:
        raise PromptError("a new object needs at least one point labelled 1, a box or a mask")


@dataclass(frozen=True)
class Admission:
    """What a tracker knows when a request comes."""

    current: frozenset[int]  # ids of objects tracked to the newest image
    late: frozenset[int]  # ids of those, also among these, that are still being tracked to it
    next_id: int
    max_objects: int

    def sorted(
        self, prompts: Sequence[Prompt], grid: Equirect
    ) -> tuple[list[int], list[int], dict[int, PromptError]]:
        """Indices of prompts that make a new memory and of those that correct one; reasons of the others."""
        fresh: list[int] = []
        refine: list[int] = []
        refused: dict[int, PromptError] = {}
        for i, prompt in enumerate(prompts):
            try:
                self._check_id(prompt, prompts[:i])
                new = not prompt.obj_id or prompt.replace
                check_prompt(prompt, grid, refines=not new)
                if not prompt.obj_id:
                    self._check_room(sum(not prompts[j].obj_id for j in fresh))
                (fresh if new else refine).append(i)
            except PromptError as error:
                refused[i] = error
        return fresh, refine, refused

    def _check_id(self, prompt: Prompt, earlier: Sequence[Prompt]) -> None:
        if prompt.obj_id in self.late:
            raise PromptError(
                f"object {prompt.obj_id} was prompted on an older image and is still being tracked to the "
                "newest: call again in a moment",
                PromptStatus.BUSY,
            )
        if prompt.obj_id and prompt.obj_id not in self.current:
            known = sorted(self.current | self.late)
            raise PromptError(
                f"object {prompt.obj_id} is not known; known are {known}; 0 makes a new one",
                PromptStatus.UNKNOWN_OBJECT,
            )
        if prompt.obj_id and any(p.obj_id == prompt.obj_id for p in earlier):
            raise PromptError(f"object {prompt.obj_id} is prompted twice in one request; merge them")

    def _check_room(self, admitted: int) -> None:
        """For one object more, beside those ``admitted`` before it."""
        if len(self.current | self.late) + admitted >= self.max_objects:
            raise PromptError(
                f"{self.max_objects} objects are known already (max_objects); remove some",
                PromptStatus.LIMIT_REACHED,
            )
        if self.next_id + admitted > MAX_OBJ_ID:
            raise PromptError(
                f"all ids up to {MAX_OBJ_ID} are used up in this epoch; reset first",
                PromptStatus.LIMIT_REACHED,
            )
