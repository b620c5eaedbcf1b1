"""Maps of images, for each of their objects."""

from __future__ import annotations

from torch import Tensor


def per_object(maps: Tensor, count: int) -> Tensor:
    """Return maps [B, ...] of images for each of ``count`` objects, [count, ...].

    The objects of an image are adjacent. Where every object has an image of its own nothing is copied.
    """
    return maps if len(maps) == count else maps.repeat_interleave(count // len(maps), 0)
