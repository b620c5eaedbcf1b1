"""What is remembered of every object, in tensors of fixed shape; never holds the model.

Each object has ``slots`` memory maps and ``max_obj_ptrs`` pointers. Of those, at most
``max_cond`` are prompted frames (the first prompt is never forgotten, later ones replace each
other); the rest is the newest frames in which the object was seen. Frames are ordered by when
they were written, not by their number, so a dropped frame leaves no hole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

EMPTY = -1


@dataclass(frozen=True)
class MemoryRead:
    """The memories of N objects as memory attention reads them; S slots, P pointers."""

    maskmem_features: Tensor  # [N, S, C_mem, h, w]
    tpos_index: Tensor  # [N, S] int64: S - 1 for prompted frames, else frames since, less one, to S - 2
    maskmem_valid: Tensor  # [N, S] bool
    obj_ptrs: Tensor  # [N, P, C]
    ptr_age: Tensor  # [N, P] float, frames since it was written, clamped to 0..P - 1
    ptr_valid: Tensor  # [N, P] bool


@dataclass(frozen=True)
class SlotTable:
    """Which frame each slot of each object holds."""

    written: Tensor  # [N, S] int64, the object's frame count when written; EMPTY
    cond: Tensor  # [N, S] bool: a prompted frame

    @classmethod
    def empty(cls, count: int, slots: int, device: torch.device) -> SlotTable:
        written = torch.full((count, slots), EMPTY, device=device)
        return cls(written, torch.zeros_like(written, dtype=torch.bool))

    @property
    def valid(self) -> Tensor:
        return self.written != EMPTY

    def choose(self, cond: Tensor, max_cond: int) -> Tensor:
        """The slot [N] that a new frame goes to; ``cond`` [N] bool: it is a prompted one.

        An empty one, else the oldest unprompted; a prompted frame beyond ``max_cond`` takes the
        place of the newest prompted frame but the first.
        """
        newest = self.written.max(1, keepdim=True).values
        cost = torch.where(self.cond, newest + 1, self.written)  # EMPTY is the cheapest
        full = cond & (self.cond.sum(1) >= max_cond)
        last_prompt = torch.where(self.cond, self.written, EMPTY).argmax(1)
        return torch.where(full, last_prompt, cost.argmin(1))

    def write(self, chosen: Tensor, frame: Tensor, cond: Tensor) -> SlotTable:
        """The table after writing ``frame`` [N]; ``chosen`` [N, S] bool marks the slots."""
        return SlotTable(
            torch.where(chosen, frame[:, None], self.written),
            torch.where(chosen, cond[:, None], self.cond),
        )


@dataclass(frozen=True)
class MemoryBank:
    """An immutable snapshot; ``write`` gives the next one, so training can differentiate it.

    ``N`` objects are rows; ``h, w`` the token grid of the network's input.
    """

    maskmem_features: Tensor  # [N, S, C_mem, h, w]
    maskmem: SlotTable  # [N, S]
    obj_ptrs: Tensor  # [N, P, C]
    pointers: SlotTable  # [N, P]
    frame: Tensor  # [N] int64, frames this object has lived through
    mask_logits: Tensor  # [N, 1, 4h, 4w], the last mask seen
    centre: Tensor  # [N] int64, token column in the middle of the last mask seen
    max_cond: int

    @classmethod
    def empty(
        cls,
        count: int,
        slots: int,
        max_obj_ptrs: int,
        max_cond: int,
        memory_dim: int,
        hidden_dim: int,
        grid: tuple[int, int],  # h, w
        device: torch.device,
        dtype: torch.dtype = torch.float32,  # of the maps
    ) -> MemoryBank:
        """A bank of objects of which nothing is known."""
        height, width = grid
        return cls(
            torch.zeros(count, slots, memory_dim, height, width, device=device, dtype=dtype),
            SlotTable.empty(count, slots, device),
            torch.zeros(count, max_obj_ptrs, hidden_dim, device=device),
            SlotTable.empty(count, max_obj_ptrs, device),
            torch.zeros(count, dtype=torch.int64, device=device),
            torch.zeros(count, 1, 4 * height, 4 * width, device=device),
            torch.full((count,), width // 2, dtype=torch.int64, device=device),
            max_cond,
        )

    def __len__(self) -> int:
        return self.frame.shape[0]

    def read(self) -> MemoryRead:
        """What memory attention needs to know of every object."""
        slots, pointers = self.maskmem_features.shape[1], self.obj_ptrs.shape[1]
        ago = (self.frame[:, None] - self.maskmem.written).clamp(1, slots - 1) - 1
        age = (self.frame[:, None] - self.pointers.written).clamp(0, pointers - 1)
        return MemoryRead(
            self.maskmem_features,
            torch.where(self.maskmem.cond, slots - 1, ago),
            self.maskmem.valid,
            self.obj_ptrs,
            age.to(self.obj_ptrs.dtype),
            self.pointers.valid,
        )

    def write(
        self,
        maskmem_features: Tensor,  # [N, C_mem, h, w]
        obj_ptrs: Tensor,  # [N, C]
        mask_logits: Tensor,  # [N, 1, 4h, 4w]
        centre: Tensor,  # [N] int64
        keep: Tensor,  # [N] bool: remember this frame; time passes for all
        cond: Tensor,  # [N] bool: it was prompted
    ) -> MemoryBank:
        """The bank after one more frame."""
        map_chosen = self._chosen(self.maskmem, keep, cond)
        ptr_chosen = self._chosen(self.pointers, keep, cond)
        wide = (slice(None), slice(None), None, None, None)
        return replace(
            self,
            maskmem_features=torch.where(
                map_chosen[wide],
                maskmem_features[:, None].to(self.maskmem_features.dtype),
                self.maskmem_features,
            ),
            maskmem=self.maskmem.write(map_chosen, self.frame, cond),
            obj_ptrs=torch.where(ptr_chosen[..., None], obj_ptrs[:, None], self.obj_ptrs),
            pointers=self.pointers.write(ptr_chosen, self.frame, cond),
            frame=self.frame + 1,
            mask_logits=torch.where(keep[:, None, None, None], mask_logits, self.mask_logits),
            centre=torch.where(keep, centre, self.centre),
        )

    def _chosen(self, table: SlotTable, keep: Tensor, cond: Tensor) -> Tensor:
        slots = torch.arange(table.written.shape[1], device=table.written.device)
        return (table.choose(cond, self.max_cond)[:, None] == slots) & keep[:, None]

    def before_newest(self) -> MemoryBank:
        """As it was before the newest frame, but for what that frame pushed out."""

        def without(table: SlotTable) -> SlotTable:
            return SlotTable(
                torch.where(table.written == self.frame[:, None] - 1, EMPTY, table.written),
                table.cond & (table.written != self.frame[:, None] - 1),
            )

        return replace(
            self, maskmem=without(self.maskmem), pointers=without(self.pointers), frame=self.frame - 1
        )

    def select(self, rows: Tensor) -> MemoryBank:
        """The bank of these rows, [M] int64, in this order."""
        return self._map(lambda parts: parts[0][rows])

    def append(self, other: MemoryBank) -> MemoryBank:
        """This bank's objects followed by the other's."""
        return self._map(torch.cat, other)

    def rolled(self, tokens: int) -> MemoryBank:
        """The same memories of a camera turned so that columns move right by ``tokens``."""
        scale = self.mask_logits.shape[-1] // self.maskmem_features.shape[-1]
        return replace(
            self,
            maskmem_features=self.maskmem_features.roll(tokens, -1),
            mask_logits=self.mask_logits.roll(scale * tokens, -1),
            centre=(self.centre + tokens) % self.maskmem_features.shape[-1],
        )

    def _map(self, function: Callable[[list[Tensor]], Tensor], *others: MemoryBank) -> MemoryBank:
        """``function`` of the list of this and the other banks' tensors, for every tensor."""

        def apply(parts: list[Any]) -> Any:
            if isinstance(parts[0], SlotTable):
                return SlotTable(*(apply([getattr(p, f.name) for p in parts]) for f in fields(SlotTable)))
            return function(parts) if isinstance(parts[0], Tensor) else parts[0]

        banks = (self, *others)
        return MemoryBank(*(apply([getattr(b, f.name) for b in banks]) for f in fields(self)))

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tables = [self.maskmem, self.pointers]
        tensors = [getattr(self, f.name) for f in fields(self)]
        tensors += [getattr(table, f.name) for table in tables for f in fields(table)]
        return sum(t.nbytes for t in tensors if isinstance(t, Tensor))
