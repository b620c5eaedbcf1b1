"""Clips of search regions: what a network that sees such learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.synthetic.perspective_renderer import PerspectiveRenderer
from panosam2_ros.training.augment import degraded, recoloured_frames
from panosam2_ros.training.clips import MIN_PIXELS, Clip, ClipSource, Material

EACH = 3  # objects of a panorama's clip that are followed
_SCALE, _SOME = 0.12, 0.25  # deviation of the logarithm of a region's size; share that differs by up to ...
_ANY_SCALE = 0.9  # ... this, as where something is clicked at whose size is not known
_FINEST = 2.0  # times as wide as configured: panoramas as sharp as which scenes are drawn
_FLICKER = 0.04  # the same from frame to frame
_LED = (0.5, 1.0)  # share of an object's way from frame to frame that its region goes ahead
_SPREADS, _SPREAD_ODDS = (0.05, 0.12, 0.25), (0.5, 0.3, 0.2)  # of the middle, in diameters
_ASIDE, _ELSEWHERE = 0.06, 0.04  # frames that look beside the object, and where it is not


class RegionTarget(Protocol):
    """A clip of which regions can be seen."""

    def __len__(self) -> int: ...  # frames

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """Object ids [h, w] of a panorama, 0 = none, and its grid."""
        ...

    def seen(self, index: int, look: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        """What a region shows, [size, size, 3], and object ids [size, size]."""
        ...


@dataclass(frozen=True)
class PanoramaSubject:
    """A clip of panoramas."""

    clip: Clip

    def __len__(self) -> int:
        return len(self.clip[0])

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        labels = self.clip[1][index]
        return labels, Equirect(labels.shape[1], labels.shape[0])

    def seen(self, index: int, look: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        images, labels = self.clip
        return look.pixels(ImagePyramid(images[index]), size), look.mask(labels[index], size)


@dataclass(frozen=True)
class Panoramic:
    """The clips of a source of panoramas."""

    panoramas: ClipSource

    def __call__(self, number: int) -> RegionTarget:
        return PanoramaSubject(self.panoramas.clip(number))


@dataclass(frozen=True)
class SceneSubject:
    """A synthetic scene, of which no panorama is drawn."""

    scene: PerspectiveRenderer

    def __len__(self) -> int:
        return len(self.scene)

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        return self.scene.labels(index)

    def seen(self, index: int, look: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        return self.scene.render(index, look.directions(size).transpose(2, 0, 1).astype(np.float32))


@dataclass(frozen=True)
class Scenes:
    """Endless synthetic scenes, as sharp as panoramas up to ``_FINEST`` times as wide as configured."""

    config: SceneConfig
    material: Material

    def __call__(self, number: int) -> RegionTarget:
        factor = float(np.random.default_rng([number, 11]).uniform(1, _FINEST))
        width = round(self.config.width * factor / 2) * 2
        config = replace(self.config, width=width, height=width // 2)
        return SceneSubject(PerspectiveRenderer(config, self.material.library(), number))


@dataclass(frozen=True)
class RegionClips:
    """Search regions of ``size`` pixels; each clip's follow an object as a tracker does, or not so well.

    A region lies where its object was a frame before, or on the way from there: what is in it has to be
    found, not to be looked up.
    """

    subjects: Callable[[int], RegionTarget]
    size: int
    poor: float = 0.0  # share that a poorer camera sees
    single = True

    def clip(self, number: int) -> Clip:
        """Labels are 1 where the object is; all 0 where the first frame shows none."""
        subject, targets = self._followed(number // EACH)
        if not targets:
            empty = np.zeros((len(subject), self.size, self.size), np.uint8)
            return np.stack([empty] * 3, -1), empty
        ids = np.random.default_rng([number // EACH, 5]).permutation(sorted(targets))
        chosen = int(ids[number % EACH % len(ids)])
        rng, order = np.random.default_rng([number, 9]), range(len(subject))[:: _way(number // EACH)]
        return followed(rng, subject, order, chosen, targets[chosen], self.size)

    def _followed(self, number: int) -> tuple[RegionTarget, dict[int, list[TargetExtent | None]]]:
        """A subject, and where each object of its first frame is in all frames; some go backwards."""
        kept: dict[int, Any] = self.__dict__.setdefault("_kept", {})  # the last one: EACH ask for it in turn
        if number not in kept:
            kept.clear()
            subject = self.subjects(number)
            each = [subject.labels(t) for t in range(len(subject))[:: _way(number)]]
            ids, counts = np.unique(each[0][0], return_counts=True)
            chosen = [int(i) for i, n in zip(ids, counts, strict=True) if i > 0 and n >= MIN_PIXELS]
            targets = {i: [TargetExtent.of_mask(labels == i, grid) for labels, grid in each] for i in chosen}
            kept[number] = subject, targets
        found: tuple[RegionTarget, dict[int, list[TargetExtent | None]]] = kept[number]
        return found

    def varied(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        """Perhaps mirrored, and in other colours; which way is up stays."""
        if rng.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        images = recoloured_frames(rng, images)
        return degraded(rng, images) if self.poor > rng.random() else images, labels


def _way(number: int) -> int:
    """Every second clip goes backwards."""
    return -1 if number % 2 else 1


def followed(
    rng: np.random.Generator,
    subject: RegionTarget,
    order: Sequence[int],
    obj_id: int,
    targets: Sequence[TargetExtent | None],
    size: int,
) -> Clip:
    """Regions [T, size, size, 3] of the frames in ``order`` and 1 where the object is, [T, size, size].

    ``targets``: where it is in each of them; it is there in the first.
    """
    first = targets[0]
    assert first is not None
    region, seen = SearchRegion.around(first), np.empty((len(order), size, size, 3), np.uint8)
    inside = np.empty(seen.shape[:3], np.uint8)
    scale = rng.uniform(-_ANY_SCALE, _ANY_SCALE) if rng.random() < _SOME else rng.normal(0, _SCALE)
    before: TargetExtent | None = first
    spread = rng.choice(_SPREADS, p=_SPREAD_ODDS)
    for t, (index, target) in enumerate(zip(order, targets, strict=True)):
        led = region if before is None or target is None else _led(rng, region, before, target)
        look = _somewhere(rng, led, spread, math.exp(scale + rng.normal(0, _FLICKER)), first=t == 0)
        seen[t], labels = subject.seen(index, look, size)
        inside[t] = labels == obj_id
        region, before = region.next_region(target), target
    return seen, inside


def _led(
    rng: np.random.Generator, region: SearchRegion, before: TargetExtent, now: TargetExtent
) -> SearchRegion:
    """A region that went ahead of its object, as far as its motion could be told."""
    return region.predicted(before.direction + rng.uniform(*_LED) * (now.direction - before.direction))


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
    return sized.recentred(middle)
