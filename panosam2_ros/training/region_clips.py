"""Clips of search regions: what a network that sees such learns from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.data.augment import recoloured
from panosam2_ros.equirect import Equirect
from panosam2_ros.search_region import Pyramid, SearchRegion, Target
from panosam2_ros.training.clips import MIN_PIXELS, Clip, ClipSource, Pixels

EACH = 3  # objects of a panorama's clip that are followed
_SCALE, _SOME = 0.12, 0.15  # deviation of the logarithm of a region's size; share that differs by up to ...
_ANY_SCALE = 0.9  # ... this, as where something is clicked at whose size is not known
_FLICKER = 0.04  # the same from frame to frame
_SPREADS, _SPREAD_ODDS = (0.05, 0.12, 0.25), (0.5, 0.3, 0.2)  # of the middle, in diameters
_ASIDE, _ELSEWHERE = 0.06, 0.04  # frames that look beside the object, and where it is not


@dataclass(frozen=True)
class RegionClips:
    """Search regions of ``size`` pixels; each clip's follow an object as a tracker does, or not so well.

    A region lies where its object was a frame before: what is in it has to be found, not to be looked up.
    """

    panoramas: ClipSource
    size: int
    single = True

    def clip(self, number: int) -> Clip:
        """Labels are 1 where the object is; all 0 where the panorama shows none."""
        images, labels = self._panoramas(number // EACH)
        rng = np.random.default_rng([number, 9])
        ids, counts = np.unique(labels[0][labels[0] > 0], return_counts=True)
        ids = ids[counts >= MIN_PIXELS]
        if not len(ids):
            empty = np.zeros((len(images), self.size, self.size), np.uint8)
            return np.stack([empty] * 3, -1), empty
        chosen = np.random.default_rng([number // EACH, 5]).permutation(ids)[number % EACH % len(ids)]
        return followed(rng, images, labels == chosen, self.size)

    def _panoramas(self, number: int) -> Clip:
        """Every second clip backwards."""
        kept: dict[int, Clip] = self.__dict__.setdefault("_kept", {})  # the last one: EACH ask for it in turn
        if number not in kept:
            kept.clear()
            images, labels = self.panoramas.clip(number)
            kept[number] = (images[::-1], labels[::-1]) if number % 2 else (images, labels)
        return kept[number]

    def varied(self, rng: np.random.Generator, images: Pixels, labels: Pixels, tilt: float) -> Clip:
        """Perhaps mirrored, and in other colours; which way is up stays."""
        if rng.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        return recoloured(rng, images), labels


def followed(rng: np.random.Generator, images: Pixels, masks: NDArray[np.bool_], size: int) -> Clip:
    """Regions [T, size, size, 3] and 1 where the object is [T, size, size].

    Of images [T, H, W, 3] and an object's masks [T, H, W], of which the first is not empty.
    """
    grid = Equirect(masks.shape[2], masks.shape[1])
    first = Target.of_mask(masks[0], grid)
    assert first is not None
    region, seen = SearchRegion.around(first), np.empty((len(images), size, size, 3), np.uint8)
    inside = np.empty(seen.shape[:3], np.uint8)
    scale = rng.uniform(-_ANY_SCALE, _ANY_SCALE) if rng.random() < _SOME else rng.normal(0, _SCALE)
    spread = rng.choice(_SPREADS, p=_SPREAD_ODDS)
    for t, (image, mask) in enumerate(zip(images, masks, strict=True)):
        look = _somewhere(rng, region, spread, math.exp(scale + rng.normal(0, _FLICKER)), first=t == 0)
        seen[t] = look.pixels(Pyramid(image), size)
        inside[t] = look.mask(mask, size)
        region = region.following(Target.of_mask(mask, grid))
    return seen, inside


def _somewhere(
    rng: np.random.Generator, region: SearchRegion, spread: float, scale: float, first: bool
) -> SearchRegion:
    """A region near one, of another size: what trackers do is not perfect."""
    offset = rng.normal(0, spread * region.diameter, 2)
    kind = 1.0 if first else rng.random()
    if kind < _ASIDE:
        offset = rng.uniform(-0.3, 0.3, 2) * region.fov
    elif kind < _ASIDE + _ELSEWHERE:
        heading = rng.uniform(0, 2 * math.pi)
        offset = rng.uniform(0.6, 1.5) * region.fov * np.array([math.cos(heading), math.sin(heading)])
    across, down = np.tan(offset.clip(-1.4, 1.4))
    middle = region.axes[2] + across * region.axes[0] + down * region.axes[1]
    sized = replace(region, diameter=region.diameter * scale, longest=region.longest * scale)
    return sized.towards(middle)
