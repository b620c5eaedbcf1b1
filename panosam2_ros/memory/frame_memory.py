"""What memories are made of and read as, and the rules by which frames are kept."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

FRAME_PERIOD = 10**8  # ns between frames without stamps


@dataclass(frozen=True)
class BankRules:
    """The size of the memory, and the rules by which frames are kept."""

    slots: int
    max_obj_ptrs: int
    max_cond: int  # prompted frames
    anchors: int = 0
    anchor_period: float = 1.0  # s between two anchors, at least
    anchor_similarity: float = 0.9  # largest cosine of two anchors' pointers
    confident: float = 0.8  # predicted IoU from which a frame is confident
    keyframes: bool = False  # the pixels of prompts and anchors are kept

    def __post_init__(self) -> None:
        if self.max_cond + self.anchors >= self.slots:
            raise ValueError(
                f"{self.slots} slots leave none for the newest frame beside {self.max_cond} prompted frames "
                f"and {self.anchors} anchors: have more slots or fewer of those"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryRead:
    """The memories of N objects as memory attention reads them; S slots, P pointers."""

    maskmem_features: Tensor  # [N, S, C_mem, h', w']
    tpos_index: Tensor  # [N, S] int64: S - 1 for prompted frames, else frames since then - 1, up to S - 2
    maskmem_valid: Tensor  # [N, S] bool
    obj_ptrs: Tensor  # [N, P, C]
    ptr_age: Tensor  # [N, P] float, frames since it was written, clamped to 0..P - 1
    ptr_valid: Tensor  # [N, P] bool
    long_ptr: Tensor  # [N, C], the long-term pointer
    long_valid: Tensor  # [N] bool
    tokens_valid: Tensor | None = None  # [N, S, h', w'] bool: tokens that show something; None: all


@dataclass(frozen=True, eq=False, kw_only=True)
class FrameMemory:
    """The memories of N objects in one frame."""

    maskmem_features: Tensor  # [N, C_mem, h', w']
    obj_ptrs: Tensor  # [N, C]
    mask_logits: Tensor  # [N, 1, 4h, 4w]
    centre: Tensor  # [N] int64, token column at the centre of the mask
    keep: Tensor  # [N] bool: store this frame; the frame count increases for all objects
    cond: Tensor  # [N] bool: the frame is prompted
    present: Tensor  # [N] bool: the object was seen
    confidence: Tensor  # [N] predicted IoU, 0..1
    colours: Tensor | None = None  # [N, 2, K] new histograms of objects that were seen; None: unchanged
    identity: Tensor | None = None  # [N, 2, C] as of ``identity_embeddings``; None: unchanged
    stamp: Tensor | None = None  # [N] int64 ns, of the image; None: by count, FRAME_PERIOD after another
    reach: Tensor | None = None  # [N] of the views, as ``InputView.reach``; None: 0, not comparable
    pixels: Tensor | None = None  # [N, 3, H, W] 0..255, what the network saw; None: is not kept
    keys: Tensor | None = None  # [N, C, 2h, 2w] of pixels, as ``pixel_keys``; None: are not kept
