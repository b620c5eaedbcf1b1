"""The memory bank: the memories of all objects in tensors of fixed shape, without the model.

Each object has ``slots`` memory maps and ``max_obj_ptrs`` pointers. Of those, at most ``max_cond`` are
prompted frames (the first prompt is never replaced, later ones replace each other) and at most
``anchors`` are older frames that were confident and differ from each other; the rest are the newest
frames in which the object was seen. In addition there is a long-term pointer, the running mean of
confident frames' pointers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.memory.alignment import reach_ratio, resampled, shown
from panosam2_ros.memory.frame_memory import FRAME_PERIOD, BankRules, FrameMemory, MemoryRead
from panosam2_ros.memory.keyframes import Keyframes
from panosam2_ros.memory.object_rows import ObjectRows
from panosam2_ros.memory.reference_frames import ReferenceFrames
from panosam2_ros.memory.slot_table import EMPTY, LONG_AGO, SlotTable

PIXELS_PER_TOKEN = 16  # of a side of the network's input
MASK_PER_TOKEN = 4  # pixels of a side of the last mask per token of the network's input
LONG_TERM = 64  # frames over which the long-term pointer averages, at most
IDENTITY_RATE = 0.1  # of a confident frame in an object's recent identity and in its surroundings


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryBank(ObjectRows):
    """The memories of N objects, which are its rows; ``h, w`` is the token grid of the network's input.

    Memory maps have this grid or, of networks that compress them, one of their own, ``h', w'``.

    A bank is immutable: ``write`` returns a new one, so that training can differentiate it.
    """

    maskmem_features: Tensor  # [N, S, C_mem, h', w']
    maskmem: SlotTable  # [N, S]
    slot_reach: Tensor  # [N, S] of the views that the maps show, as ``InputView.reach``
    slot_known: Tensor  # [N, S] of the views in which their frames were seen
    slot_ptrs: Tensor  # [N, S, C], pointers of the slots' frames
    obj_ptrs: Tensor  # [N, P, C]
    pointers: SlotTable  # [N, P]
    long_ptr: Tensor  # [N, C], running mean of confident frames' pointers
    long_count: Tensor  # [N] int64, frames in it, up to LONG_TERM
    frame: Tensor  # [N] int64, frames since the object was added
    mask_logits: Tensor  # [N, 1, 4h, 4w], the last mask of the object
    mask_reach: Tensor  # [N] of the view in which it was seen
    centre: Tensor  # [N] int64, token column at the centre of the last mask
    keyframes: Keyframes  # [N, K]
    references: ReferenceFrames  # [N, K']
    colours: (
        Tensor  # [N, 2, K] histograms of the object and of its surroundings; see model/colour_histogram.py
    )
    identity: Tensor  # [N, 3, C] unit vectors of prompted frames, recent confident ones, the surroundings
    rules: BankRules

    @classmethod
    def empty(
        cls,
        count: int,
        rules: BankRules,
        *,
        memory_dim: int,
        hidden_dim: int,
        grid: tuple[int, int],  # h, w
        memory_grid: tuple[int, int] | None = None,  # h', w'; None: as grid
        device: torch.device,
        dtype: torch.dtype = torch.float32,  # of the maps
        colours: int = 0,  # bins of the histograms
        matched: tuple[int, int] = (0, 0),  # prompted frames whose pixels are kept, channels of a pixel
    ) -> MemoryBank:
        """Make a bank of ``count`` objects without memories."""
        (height, width), mask = grid, (MASK_PER_TOKEN * grid[0], MASK_PER_TOKEN * grid[1])
        frames = (rules.max_cond + rules.anchors) * rules.keyframes
        pixels = (PIXELS_PER_TOKEN * height, PIXELS_PER_TOKEN * width)
        slots, pointers = rules.slots, rules.max_obj_ptrs
        whole = torch.zeros(count, dtype=torch.int64, device=device)
        maps = torch.zeros(count, slots, memory_dim, *(memory_grid or grid), device=device, dtype=dtype)
        return cls(
            maskmem_features=maps,
            maskmem=SlotTable.empty(count, slots, device),
            slot_reach=torch.zeros(count, slots, device=device),
            slot_known=torch.zeros(count, slots, device=device),
            slot_ptrs=torch.zeros(count, slots, hidden_dim, device=device),
            obj_ptrs=torch.zeros(count, pointers, hidden_dim, device=device),
            pointers=SlotTable.empty(count, pointers, device),
            long_ptr=torch.zeros(count, hidden_dim, device=device),
            long_count=whole,
            frame=whole,
            mask_logits=torch.zeros(count, 1, *mask, device=device),
            mask_reach=torch.zeros(count, device=device),
            centre=whole + width // 2,
            keyframes=Keyframes.empty(count, frames, pixels, mask, device),
            references=ReferenceFrames.empty(count, *matched, (2 * height, 2 * width), device),
            colours=torch.zeros(count, 2, colours, device=device),
            identity=torch.zeros(count, 3, matched[1] if matched[0] else hidden_dim, device=device),
            rules=rules,
        )

    def __len__(self) -> int:
        """Return the number of objects."""
        return self.frame.shape[0]

    @property
    def seen(self) -> Tensor:
        """[N] bool: the objects that were seen in the newest frame."""
        newest = self.maskmem.valid & (self.maskmem.written == self.frame[:, None] - 1)
        return (newest & ~self.maskmem.doubtful).any(1)

    def read(self, reach: Tensor | None = None) -> MemoryRead:
        """Return the memories of all objects for memory attention.

        ``reach`` [N]: that of the present views, as which maps are resampled; None: maps are as they are.
        """
        slots, pointers = self.rules.slots, self.rules.max_obj_ptrs
        written, maps, valid = self.maskmem.written, self.maskmem_features, self.maskmem.valid
        ago = (self.frame[:, None] - written).clamp(1, slots - 1) - 1
        age = (self.frame[:, None] - self.pointers.written).clamp(0, pointers - 1)
        inside = None
        if reach is not None:
            maps = resampled(maps, reach_ratio(reach[:, None], self.slot_reach))[0]
            inside = shown(reach_ratio(reach[:, None], self.slot_known), *maps.shape[-2:])
        return MemoryRead(
            maskmem_features=maps,
            tpos_index=torch.where(self.maskmem.cond, slots - 1, ago),
            maskmem_valid=valid,
            obj_ptrs=self.obj_ptrs,
            ptr_age=age.to(self.obj_ptrs.dtype),
            ptr_valid=self.pointers.valid,
            long_ptr=self.long_ptr,
            long_valid=self.long_count > 0,
            tokens_valid=inside,
        )

    def last_masks(self, reach: Tensor | None, *, outside: float) -> Tensor:
        """Return the last masks, logits [N, 1, 4h, 4w], as views of this ``reach`` [N] show them.

        ``outside``: the logit where nothing was seen; None: the masks are as they are.
        """
        if reach is None:
            return self.mask_logits
        return resampled(self.mask_logits, reach_ratio(reach, self.mask_reach), outside=outside)[0]

    def write(self, new: FrameMemory) -> MemoryBank:
        """Return the bank after one more frame."""
        stamp = FRAME_PERIOD * self.frame if new.stamp is None else new.stamp
        anchor, no = self._is_anchor(new, stamp), torch.zeros_like(new.keep)
        in_slot = self._chosen(self.maskmem, new)
        in_pointer = self._chosen(self.pointers, new)
        frame = SlotTable(*(x[:, None] for x in (self.frame, new.cond, anchor, ~new.present, stamp)))
        table = self.maskmem.write(in_slot, frame).without_oldest_anchor(self.rules.anchors)
        seen = new.keep & new.present
        sure = seen & (new.cond | (new.confidence >= self.rules.confident))
        count = (self.long_count + 1).clamp(max=LONG_TERM)
        mean = self.long_ptr + (new.obj_ptrs - self.long_ptr) / count[:, None]
        maps = new.maskmem_features.to(self.maskmem_features.dtype)
        reach = torch.zeros_like(self.mask_reach) if new.reach is None else new.reach
        return MemoryBank(
            maskmem_features=torch.where(_expanded(in_slot, 5), maps[:, None], self.maskmem_features),
            maskmem=table,
            slot_reach=torch.where(in_slot, reach[:, None], self.slot_reach),
            slot_known=torch.where(in_slot, reach[:, None], self.slot_known),
            slot_ptrs=torch.where(in_slot[..., None], new.obj_ptrs[:, None], self.slot_ptrs),
            obj_ptrs=torch.where(in_pointer[..., None], new.obj_ptrs[:, None], self.obj_ptrs),
            pointers=self.pointers.write(in_pointer, replace(frame, anchor=no[:, None])),
            long_ptr=torch.where(sure[:, None], mean, self.long_ptr),
            long_count=torch.where(sure, count, self.long_count),
            frame=self.frame + 1,
            mask_logits=torch.where(_expanded(seen, 4), new.mask_logits, self.mask_logits),
            mask_reach=torch.where(seen, reach, self.mask_reach),
            centre=torch.where(seen, new.centre, self.centre),
            keyframes=self._keyframes(new, table, reach),
            references=self._references(new, seen),
            colours=self._colours(new, seen),
            identity=self._identity(new, seen, sure),
            rules=self.rules,
        )

    def _chosen(self, table: SlotTable, new: FrameMemory) -> Tensor:
        """Mark the slots [N, S] bool to which a frame is written."""
        slots = torch.arange(table.written.shape[1], device=table.written.device)
        return (table.choose(new.cond, self.rules.max_cond)[:, None] == slots) & new.keep[:, None]

    def _is_anchor(self, new: FrameMemory, stamp: Tensor) -> Tensor:
        """Tell whether a frame becomes an anchor, [N] bool.

        It does if it is confident, long enough after the last anchor, and differs from all anchors.
        """
        if not self.rules.anchors:
            return torch.zeros_like(new.keep)
        table = self.maskmem
        kept = table.anchor | table.cond
        # either way, since a restored memory may have stamps of another clock
        since = torch.where(kept, (stamp[:, None] - table.stamp).abs(), -LONG_AGO).min(1).values
        similarity = F.cosine_similarity(self.slot_ptrs, new.obj_ptrs[:, None], dim=-1)
        differs = (similarity < self.rules.anchor_similarity) | ~table.anchor
        late = since >= round(self.rules.anchor_period * 1e9)
        sure = new.confidence >= self.rules.confident
        return new.keep & new.present & ~new.cond & sure & late & differs.all(1)

    def _keyframes(self, new: FrameMemory, table: SlotTable, reach: Tensor) -> Keyframes:
        """Return the keyframes after a frame whose slots are now those of ``table``."""
        if not self.rules.keyframes or new.pixels is None:
            return self.keyframes
        kept = torch.where(table.cond | table.anchor, table.written, EMPTY)
        keys = self.keyframes.only((self.keyframes.written[..., None] == kept[:, None]).any(-1))
        seen = (self.frame, new.pixels.to(torch.uint8), new.mask_logits, reach)
        return keys.write((kept == self.frame[:, None]).any(1), Keyframes(*(x[:, None] for x in seen)))

    def _references(self, new: FrameMemory, seen: Tensor) -> ReferenceFrames:
        """Return the references after a frame in which the objects ``seen`` [N] bool were seen."""
        if new.keys is None or not self.references.written.shape[1]:
            return self.references
        share = F.avg_pool2d((new.mask_logits > 0).float(), MASK_PER_TOKEN // 2)[:, 0]
        return self.references.write(seen & new.cond, self.frame, new.keys, share)

    @property
    def keyframe_is_prompt(self) -> Tensor:
        """[N, K] bool: keyframes that are prompted frames."""
        prompts = torch.where(self.maskmem.cond, self.maskmem.written, EMPTY)
        return self.keyframes.valid & (self.keyframes.written[..., None] == prompts[:, None]).any(-1)

    def with_recreated(self, maps: Tensor, reach: Tensor) -> MemoryBank:
        """Take maps [N, K, C_mem, h', w'] of the keyframes, as views of this ``reach`` [N] show them."""
        keys, table = self.keyframes, self.maskmem
        same = (table.written[..., None] == keys.written[:, None]) & table.valid[..., None]
        which, made = same.int().argmax(-1), same.any(-1)
        rows = torch.arange(len(self), device=which.device)[:, None]
        chosen = maps[rows, which].to(self.maskmem_features.dtype)
        return replace(
            self,
            maskmem_features=torch.where(_expanded(made, 5), chosen, self.maskmem_features),
            slot_reach=torch.where(made, reach[:, None], self.slot_reach),
        )

    def _colours(self, new: FrameMemory, seen: Tensor) -> Tensor:
        """Return the histograms [N, 2, K] after a frame in which the objects ``seen`` [N] bool were seen."""
        if new.colours is None:
            return self.colours
        return torch.where(_expanded(seen, 3), new.colours, self.colours)

    def _identity(self, new: FrameMemory, seen: Tensor, sure: Tensor) -> Tensor:
        """Return the identities [N, 3, C] after a frame; the prompted frames keep a weight of their own."""
        if new.identity is None:
            return self.identity
        own, around = new.identity.unbind(1)
        prompted, *learned = self.identity.unbind(1)
        cond = (seen & new.cond)[:, None]
        rows = [torch.where(cond, F.normalize(prompted + own, dim=-1), prompted)]
        for before, now in zip(learned, (own, around), strict=True):
            rate = torch.where(before.any(-1, keepdim=True), IDENTITY_RATE, 1.0)
            moved = F.normalize(torch.lerp(before, now, rate), dim=-1)
            rows.append(torch.where(sure[:, None], moved, before))
        return torch.stack(rows, 1)

    @property
    def appearance(self) -> Tensor:
        """[N, C] unit vectors of what the objects look like: as prompted and as seen recently, alike."""
        return F.normalize(self.identity[:, 0] + self.identity[:, 1], dim=-1)

    def likeness_to_prompts(self, looks: Tensor) -> Tensor:
        """Return cosines [N] of unit vectors [N, C] with what was prompted; 1 where that is not known."""
        prompted = self.identity[:, 0]
        return torch.where(prompted.any(-1), (looks * prompted).sum(-1), 1.0)

    @property
    def surroundings(self) -> Tensor:
        """[N, C] unit vectors of what is round the objects."""
        return self.identity[:, 2]

    def before_newest(self) -> MemoryBank:
        """Remove the newest frame; frames that it replaced are not restored."""
        newest = self.frame - 1
        return replace(
            self,
            maskmem=self.maskmem.without_frame(newest),
            pointers=self.pointers.without_frame(newest),
            keyframes=self.keyframes.only(self.keyframes.written != newest[:, None]),
            references=self.references.only(self.references.written != newest[:, None]),
            frame=newest,
        )

    def without_learned(self, wrong: Tensor) -> MemoryBank:
        """Forget what objects, ``wrong`` [N] bool, were like in frames that are neither prompts nor anchors.

        Their long-term pointer becomes the mean of their prompts' pointers, and they look as when prompted.
        """
        slots, pointers = self.maskmem, self.pointers
        prompted = slots.cond & slots.valid
        count = prompted.sum(1)
        mean = (self.slot_ptrs * prompted[..., None]).sum(1) / count.clamp(min=1)[:, None]
        as_prompted, recent, around = self.identity.unbind(1)
        recent = torch.where(wrong[:, None], 0.0, recent)
        return replace(
            self,
            maskmem=slots.only(slots.cond | slots.anchor | ~wrong[:, None]),
            pointers=pointers.only(pointers.cond | ~wrong[:, None]),
            long_ptr=torch.where(wrong[:, None], mean, self.long_ptr),
            long_count=torch.where(wrong, count, self.long_count),
            identity=torch.stack([as_prompted, recent, around], 1),
        )

    def with_pointers_of(self, other: MemoryBank) -> MemoryBank:
        """Take pointers, colours and frame counts from a bank of the same objects in other views.

        The newest frames of both are the same.
        """
        moved = other.frame - self.frame
        written = torch.where(self.maskmem.valid, self.maskmem.written + moved[:, None], EMPTY)
        return replace(
            self,
            maskmem=replace(self.maskmem, written=written),
            keyframes=self.keyframes.later(moved),
            references=self.references.later(moved),
            obj_ptrs=other.obj_ptrs,
            pointers=other.pointers,
            long_ptr=other.long_ptr,
            long_count=other.long_count,
            frame=other.frame,
            colours=other.colours,
            identity=other.identity,
        )

    def keeping_masks(self, before: MemoryBank) -> MemoryBank:
        """Take the last masks of objects that the newest frame does not show from the bank ``before`` it."""
        return replace(
            self,
            mask_logits=torch.where(_expanded(self.seen, 4), self.mask_logits, before.mask_logits),
            mask_reach=torch.where(self.seen, self.mask_reach, before.mask_reach),
            centre=torch.where(self.seen, self.centre, before.centre),
        )

    def rolled(self, tokens: int) -> MemoryBank:
        """Roll the memories to the right by ``tokens`` columns, as a rotation of the camera does.

        Raises ValueError for compressed memories, whose columns are not those of the image.
        """
        grid = tuple(side // MASK_PER_TOKEN for side in self.mask_logits.shape[-2:])
        if tokens and self.maskmem_features.shape[-2:] != grid:
            raise ValueError("memories of a network with memory_tokens latents cannot be rolled")
        return replace(
            self,
            maskmem_features=self.maskmem_features.roll(tokens, -1),
            mask_logits=self.mask_logits.roll(MASK_PER_TOKEN * tokens, -1),
            references=self.references.rolled(2 * tokens),
            centre=(self.centre + tokens) % grid[1],
        )


def _expanded(mask: Tensor, dimensions: int) -> Tensor:
    """Append dimensions of size 1 to a mask until it has ``dimensions``."""
    return mask[(...,) + (None,) * (dimensions - mask.dim())]
