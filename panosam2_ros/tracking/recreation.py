"""Memory maps of prompts and anchors, made again of their pixels at the scale of the present view.

Our reading of the paper's re-instantiation of short-term memories: a map that was encoded at another scale
says less about an object than one that is encoded anew from what was seen, resized.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from panosam2_ros.memory.alignment import reach_ratio, resampled
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import TrackedObject

AFTER_LOSS = 1.0  # s unseen, after which the maps of an object that is seen again are made anew
LARGEST_RATIO = 1.5  # of the present view's reach and a map's, or the other way round
PERIOD = 1.0  # s between two times for one object
MOST_RECREATED = 2  # objects a frame, which bounds its time
_UNSEEN_PIXEL, _UNSEEN_LOGIT = 127.0, -10.0  # where a keyframe shows nothing


def due_rows(objects: Sequence[TrackedObject], bank: MemoryBank, reach: Tensor, stamp: int) -> list[int]:
    """Return the rows of objects whose maps are to be made anew at ``stamp`` (ns); note that they are.

    ``reach`` [N]: of the present views.
    """
    kept = bank.maskmem.valid & (bank.maskmem.cond | bank.maskmem.anchor)
    ratio = reach_ratio(reach[:, None], bank.slot_reach).log().abs()
    # an object that is not seen may come back at any size
    far = (kept & (ratio > math.log(LARGEST_RATIO))).any(1) & bank.seen
    rows: list[int] = []
    for row, (item, other_scale) in enumerate(zip(objects, far.tolist(), strict=True)):
        item.due = _is_back(item) or item.due
        waited = item.recreated is None or abs(stamp - item.recreated) >= PERIOD * 1e9
        if (item.due or other_scale) and waited and len(rows) < MOST_RECREATED:
            item.due, item.recreated = False, stamp
            rows.append(row)
    return rows


def _is_back(item: TrackedObject) -> bool:
    """Return whether an object was seen in the last frame after it had been lost."""
    seen = item.motion.last_seen
    if item.motion.state is not TrackState.VISIBLE:
        item.missed = True
        return False
    back = item.missed and seen - item.seen_before >= AFTER_LOSS * 1e9
    item.missed, item.seen_before = False, seen
    return back


def recreated(model: PanoSAM2, bank: MemoryBank, reach: Tensor) -> MemoryBank:
    """Return the bank with maps of its keyframes encoded anew, as views of this ``reach`` [N] show them."""
    keys = bank.keyframes
    ratio = reach_ratio(reach[:, None], keys.reach)[keys.valid]
    pixels = resampled(keys.pixels[keys.valid].float(), ratio, outside=_UNSEEN_PIXEL)[0]
    masks = resampled(keys.masks[keys.valid], ratio, outside=_UNSEEN_LOGIT)[0]
    if not len(ratio):
        return bank
    features, present = model.encode_image(pixels), torch.ones_like(ratio, dtype=torch.bool)
    prompted = bank.keyframe_is_prompt[keys.valid].view(-1, 1, 1, 1)
    maps = torch.where(
        prompted,
        model.encode_memory(features, masks, present, prompted=True),
        model.encode_memory(features, masks, present, prompted=False),
    )
    every = maps.new_zeros(*keys.written.shape, *maps.shape[1:])
    every[keys.valid] = maps
    return bank.with_recreated(every, reach)
