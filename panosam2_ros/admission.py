"""Which prompts of a request take effect, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.memory_file import MAX_OBJ_ID
from panosam2_ros.prompts import Prompt, check_prompt


@dataclass(frozen=True)
class Admission:
    """What a tracker knows when a request comes."""

    current: frozenset[int]  # ids of objects tracked to the newest image
    late: frozenset[int]  # ids of those, also among these, that are still being tracked to it
    next_id: int
    max_objects: int

    def sorted(
        self, prompts: Sequence[Prompt], grid: Equirect
    ) -> tuple[list[int], list[int], dict[int, str]]:
        """Indices of prompts that make a new memory and of those that correct one; reasons of the others."""
        fresh: list[int] = []
        refine: list[int] = []
        refused: dict[int, str] = {}
        for i, prompt in enumerate(prompts):
            try:
                self._check_id(prompt, prompts[:i])
                new = not prompt.obj_id or prompt.replace
                check_prompt(prompt, grid, refines=not new)
                if not prompt.obj_id:
                    self._check_room(sum(not prompts[j].obj_id for j in fresh))
                (fresh if new else refine).append(i)
            except ValueError as error:
                refused[i] = str(error)
        return fresh, refine, refused

    def _check_id(self, prompt: Prompt, earlier: Sequence[Prompt]) -> None:
        if prompt.obj_id in self.late:
            raise ValueError(
                f"object {prompt.obj_id} was prompted on an older image and is still being tracked to the "
                "newest: call again in a moment"
            )
        if prompt.obj_id and prompt.obj_id not in self.current:
            known = sorted(self.current | self.late)
            raise ValueError(f"object {prompt.obj_id} is not known; known are {known}; 0 makes a new one")
        if prompt.obj_id and any(p.obj_id == prompt.obj_id for p in earlier):
            raise ValueError(f"object {prompt.obj_id} is prompted twice in one request; merge them")

    def _check_room(self, admitted: int) -> None:
        """For one object more, beside those ``admitted`` before it."""
        if len(self.current | self.late) + admitted >= self.max_objects:
            raise ValueError(f"{self.max_objects} objects are known already (max_objects); remove some")
        if self.next_id + admitted > MAX_OBJ_ID:
            raise ValueError(f"all ids up to {MAX_OBJ_ID} are used up in this epoch; reset first")
