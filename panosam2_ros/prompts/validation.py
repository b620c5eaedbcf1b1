"""Which prompts of a request take effect, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.io.printable import listed
from panosam2_ros.memory.memory_header import MAX_OBJ_ID
from panosam2_ros.model.mask_decoder import BACKGROUND, FOREGROUND
from panosam2_ros.prompts.limits import LARGEST_PROMPT
from panosam2_ros.prompts.prompt import Prompt, PromptError, PromptStatus


@dataclass(frozen=True)
class KnownIds:
    """The ids that a tracker has given, and how many more it may give."""

    current: frozenset[int]  # of objects tracked to the newest image
    replaying: frozenset[int]  # of those (or of others) tracked to it from an older one now
    next_id: int
    max_objects: int

    @property
    def all(self) -> frozenset[int]:
        """Every id of a known object."""
        return self.current | self.replaying


@dataclass
class ValidatedPrompts:
    """Indices of a request's prompts by what becomes of them."""

    new: list[int] = field(default_factory=list)  # make a new memory
    corrections: list[int] = field(default_factory=list)  # correct a memory
    refused: dict[int, PromptError] = field(default_factory=dict)


def validate_prompts(prompts: Sequence[Prompt], grid: Equirect, known: KnownIds) -> ValidatedPrompts:
    """Sort the prompts of one request; each bad one is refused for itself."""
    found, new_objects = ValidatedPrompts(), 0
    for i, prompt in enumerate(prompts):
        try:
            _check_id(prompt, prompts[:i], known)
            corrects = prompt.corrects
            check_prompt(prompt, grid, corrects=corrects)
            if not prompt.obj_id:
                _check_room(new_objects, known)
                new_objects += 1
        except PromptError as error:
            found.refused[i] = error
            continue
        (found.corrections if corrects else found.new).append(i)
    return found


def _check_id(prompt: Prompt, earlier: Sequence[Prompt], known: KnownIds) -> None:
    """Refuse an id that is not known, is being replayed, or stands twice in the request."""
    if prompt.obj_id in known.replaying:
        raise PromptError(
            f"object {prompt.obj_id} was prompted on an older image and is still being tracked to the "
            "newest: call again in a moment",
            PromptStatus.BUSY,
        )
    if prompt.obj_id and prompt.obj_id not in known.current:
        raise PromptError(
            f"object {prompt.obj_id} is not known; known are {listed(sorted(known.all))}; 0 makes a new one",
            PromptStatus.UNKNOWN_OBJECT,
        )
    if prompt.obj_id and any(p.obj_id == prompt.obj_id for p in earlier):
        raise PromptError(f"object {prompt.obj_id} is prompted twice in one request; merge the two prompts")


def _check_room(new_objects: int, known: KnownIds) -> None:
    """Refuse one object more, beside ``new_objects`` of the same request, where there is no room or no id."""
    if len(known.all) + new_objects >= known.max_objects:
        raise PromptError(
            f"{known.max_objects} objects are known already (max_objects); remove some",
            PromptStatus.LIMIT_REACHED,
        )
    if known.next_id + new_objects > MAX_OBJ_ID:
        raise PromptError(
            f"all ids up to {MAX_OBJ_ID} are used up in this epoch; reset first", PromptStatus.LIMIT_REACHED
        )


def check_prompt(prompt: Prompt, grid: Equirect, *, corrects: bool) -> None:
    """Raise PromptError, saying what was needed, what came and the remedy, for a bad prompt.

    ``corrects``: the object is known and its memory kept, so that background points alone make sense.
    """
    LARGEST_PROMPT.check(label=prompt.label, points=len(prompt.points))
    if prompt.empty:
        raise PromptError("the prompt is empty: give points, directions, a box or a mask")
    if prompt.mask is not None:
        _check_mask(prompt.mask, grid)
        if prompt.box is not None or len(prompt.points):
            raise PromptError("a mask prompt cannot be combined with points, directions or a box")
    if prompt.box is not None:
        _check_box(prompt.box, grid)
    _check_points(prompt, grid, corrects=corrects)


def _check_mask(mask: MaskArray, grid: Equirect) -> None:
    if mask.shape != (grid.height, grid.width):
        raise PromptError(
            f"the mask must have the image's size {grid.width}x{grid.height}, got "
            f"{mask.shape[1]}x{mask.shape[0]}"
        )
    if not mask.any():
        raise PromptError("the mask is empty: set the object's pixels to a value other than zero")


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


def _check_points(prompt: Prompt, grid: Equirect, *, corrects: bool) -> None:
    points, labels = prompt.points, prompt.point_labels
    if points.ndim != 2 or points.shape[1] != 2 or len(points) != len(labels):
        raise PromptError(
            f"points need a u, a v and a label each, got {points.shape} and {len(labels)} labels"
        )
    if not np.isin(labels, (BACKGROUND, FOREGROUND)).all():
        found = listed(sorted(set(labels.tolist())), most=5)
        raise PromptError(f"point labels are 1 (object) or 0 (background), got {found}")
    inside = np.isfinite(points).all(1) & grid.contains(points[:, 0], points[:, 1])
    if not inside.all():
        raise PromptError(
            f"points must lie in the image, u -0.5..{grid.width - 0.5} and v "
            f"-0.5..{grid.height - 0.5}, got {listed(points[~inside].tolist(), most=3)}"
        )
    foreground = {tuple(np.round(p)) for p in points[labels == FOREGROUND]}
    both = [p for p in points[labels == BACKGROUND] if tuple(np.round(p)) in foreground]
    if both:
        raise PromptError(f"the same pixel {both[0].tolist()} is labelled both object and background")
    if len(points) and not foreground and prompt.box is None and not corrects:
        raise PromptError("a new object needs at least one point labelled 1, a box or a mask")
