"""Clips of search regions, for networks that see these."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.synthetic.perspective_renderer import PerspectiveRenderer
from panosam2_ros.training.augment import degrade_images, recolour_frames, relight_frames
from panosam2_ros.training.clips import MIN_PIXELS, Clip, ClipSource, Material
from panosam2_ros.training.lost_search import LostSearch

OBJECTS_PER_CLIP = 3  # objects of a video that have clips of their own
_SCALE = 0.12  # standard deviation of the logarithm of the size of a clip's regions
_UNKNOWN_SCALE = 0.9  # largest logarithm of the size after a click, where the object's size is not known
_UNKNOWN_SCALE_SHARE = 0.25  # of clips, that have such a size
_FINEST = 2.0  # largest factor of the configured width: the resolution of scenes varies
_FLICKER = 0.04  # standard deviation of the logarithm of the size from frame to frame
_PREDICTED_SHARE = (0.5, 1.0)  # share of an object's motion between frames that its region predicts
_SPREADS, _SPREAD_ODDS = (0.05, 0.12, 0.25), (0.5, 0.3, 0.2)  # deviation of the centre, in diameters
_ASIDE, _ELSEWHERE = 0.06, 0.04  # shares of frames with the object off-centre, and without it
_JUMP = math.radians(8)  # angle between two frames from which a motion is none that a tracker predicts
_PAIRED = 0.5  # share of clips with a second object, where its region shows one


class RegionVideo(Protocol):
    """A video of which search regions can be rendered."""

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """Return object ids [h, w] of a panorama, 0 = none, and its grid."""
        ...

    def region(self, index: int, view: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        """Render a region, RGB [size, size, 3], and object ids [size, size]."""
        ...


@dataclass(frozen=True, eq=False)
class PanoramaRegions:
    """Regions of a clip of panoramas."""

    clip: Clip

    def __len__(self) -> int:
        return len(self.clip[0])

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """Return the panorama's object ids and its grid."""
        labels = self.clip[1][index]
        return labels, Equirect(labels.shape[1], labels.shape[0])

    def region(self, index: int, view: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        """Cut a region from the panorama."""
        images, labels = self.clip
        return view.pixels(ImagePyramid(images[index]), size), view.mask(labels[index], size)


@dataclass(frozen=True)
class PanoramaVideos:
    """Videos of a source of clips of panoramas."""

    panoramas: ClipSource

    def __call__(self, number: int) -> RegionVideo:
        """Return the video of a number."""
        return PanoramaRegions(self.panoramas.clip(number))


@dataclass(frozen=True)
class SceneRegions:
    """Regions of a synthetic scene, rendered directly."""

    scene: PerspectiveRenderer

    def __len__(self) -> int:
        return len(self.scene)

    def labels(self, index: int) -> tuple[ImageArray, Equirect]:
        """Render a small panorama of object ids."""
        return self.scene.labels(index)

    def region(self, index: int, view: SearchRegion, size: int) -> tuple[ImageArray, ImageArray]:
        """Render a region."""
        return self.scene.render(index, view.directions(size).transpose(2, 0, 1).astype(np.float32))


@dataclass(frozen=True)
class SceneVideos:
    """Videos of synthetic scenes, with the resolution of panoramas up to ``_FINEST`` times as wide."""

    config: SceneConfig
    material: Material

    def __call__(self, number: int) -> RegionVideo:
        """Return the scene whose seed is the number."""
        factor = float(np.random.default_rng([number, 11]).uniform(1, _FINEST))
        width = round(self.config.width * factor / 2) * 2
        config = replace(self.config, width=width, height=width // 2)
        return SceneRegions(PerspectiveRenderer(config, self.material.library(), number))


_TrackedVideo = tuple[RegionVideo, dict[int, list[TargetExtent | None]]]


@dataclass(frozen=True)
class RegionClips:
    """Clips of search regions of ``size`` pixels that follow an object as a tracker does, or worse.

    A region lies where its object was a frame before, or on the way from there, so that the network has to
    find the object in it.
    """

    videos: Callable[[int], RegionVideo]
    size: int
    poor: float = 0.0  # share of clips that are degraded
    relit: float = 0.0  # share of clips in which the light changes
    lost: float = 0.0  # share of clips in which the object is looked for elsewhere for a while
    zoomed: float = 0.0  # share of clips whose regions have a field of view ...
    zoom: tuple[float, float] = (0.45, 0.8)  # ... that is so many times as wide
    pairs: bool = False  # a clip may have a second object, which its first region shows
    single_object = True
    _cache: dict[int, _TrackedVideo] = field(default_factory=dict, init=False, repr=False, compare=False)

    def clip(self, number: int) -> Clip:
        """Render the clip of a number; labels are all 0 if frame 0 shows no object.

        They are 1 where its object is, and 2 where a second one is, which the region does not follow.
        """
        video, targets = self._tracked_video(number // OBJECTS_PER_CLIP)
        if not targets:
            empty = np.zeros((len(video), self.size, self.size), np.uint8)
            return np.stack([empty] * 3, -1), empty
        mixed = np.random.default_rng([number // OBJECTS_PER_CLIP, 5]).permutation(sorted(targets))
        chosen = int(mixed[number % OBJECTS_PER_CLIP % len(mixed)])
        order = range(len(video))[:: _direction(number // OBJECTS_PER_CLIP)]
        rng = np.random.default_rng([number, 9])
        others = [own for i, own in targets.items() if i != chosen]
        search = LostSearch.drawn(rng, len(order), others) if rng.random() < self.lost else None
        zoom = rng.uniform(*self.zoom) if self.zoomed and rng.random() < self.zoomed else 1.0
        images, ids = render_regions(
            rng, video, order, targets[chosen], size=self.size, search=search, zoom=zoom
        )
        paired = self.pairs and rng.random() < _PAIRED
        return images, _numbered(ids, chosen, _second(rng, ids[0], chosen) if paired else None)

    def _tracked_video(self, number: int) -> _TrackedVideo:
        """Return a video and the extents of the objects of its first frame in all frames.

        Every second video is reversed. The last one is cached, for the clips of its other objects.
        """
        if number not in self._cache:
            self._cache.clear()
            video = self.videos(number)
            each = [video.labels(t) for t in range(len(video))[:: _direction(number)]]
            ids, counts = np.unique(each[0][0], return_counts=True)
            chosen = [int(i) for i, n in zip(ids, counts, strict=True) if i > 0 and n >= MIN_PIXELS]
            targets = {i: [TargetExtent.of_mask(labels == i, grid) for labels, grid in each] for i in chosen}
            self._cache[number] = video, targets
        return self._cache[number]

    def augment(self, rng: np.random.Generator, images: ImageArray, labels: ImageArray, tilt: float) -> Clip:
        """Augment a cut by mirroring, other colours, other light and degraded images; it is never tilted."""
        if rng.random() < 0.5:
            images, labels = images[:, :, ::-1], labels[:, :, ::-1]
        images = recolour_frames(rng, images)
        if self.relit > rng.random():
            images = relight_frames(rng, images)
        return degrade_images(rng, images) if self.poor > rng.random() else images, labels


def _second(rng: np.random.Generator, shown: ImageArray, first: int) -> int | None:
    """Draw another object of a region's ids [s, s]; None where there is none of ``MIN_PIXELS``."""
    ids, counts = np.unique(shown, return_counts=True)
    others = ids[(ids > 0) & (ids != first) & (counts >= MIN_PIXELS)]
    return int(rng.choice(others)) if others.size else None


def _numbered(ids: ImageArray, first: int, second: int | None) -> ImageArray:
    """Return labels of ids [T, s, s]: 1 of the first object, 2 of the second."""
    labels = (ids == first).astype(np.uint8)
    if second is not None:
        labels[ids == second] = 2
    return labels


def _direction(number: int) -> int:
    """Return the direction of time of a video: every second one is played backward."""
    return -1 if number % 2 else 1


def render_regions(
    rng: np.random.Generator,
    video: RegionVideo,
    order: Sequence[int],
    targets: Sequence[TargetExtent | None],
    *,
    size: int,
    search: LostSearch | None = None,
    zoom: float = 1.0,
) -> Clip:
    """Render regions [T, size, size, 3] of the frames in ``order``, and the ids of objects [T, size, size].

    ``targets``: extents of an object in these frames; ``search``: where it is looked for while it is lost;
    ``zoom``: factor of the field of view of all regions.
    Raise ValueError where the first frame lacks it.
    """
    first = targets[0]
    if first is None:
        raise ValueError("the object that a clip follows is not in its first frame")
    region, images = SearchRegion.around(first), np.empty((len(order), size, size, 3), np.uint8)
    ids = np.empty(images.shape[:3], np.uint8)
    unknown = rng.random() < _UNKNOWN_SCALE_SHARE
    scale = rng.uniform(-_UNKNOWN_SCALE, _UNKNOWN_SCALE) if unknown else rng.normal(0, _SCALE)
    before: TargetExtent | None = first
    spread = rng.choice(_SPREADS, p=_SPREAD_ODDS)
    search = search or LostSearch.none(rng)
    for t, (index, target) in enumerate(zip(order, targets, strict=True)):
        predicted = region
        if before is not None and target is not None:
            predicted = _predicted_region(rng, region, before, target)
        size_factor = zoom * math.exp(scale + rng.normal(0, _FLICKER))
        looked_at = search.region(t, region, target) or predicted
        view = _perturbed_region(rng, looked_at, spread, size_factor, centred=t == 0)
        images[t], ids[t] = video.region(index, view, size)
        region, before = region.next_region(None if search.lost else target), target
    return images, ids


def _predicted_region(
    rng: np.random.Generator, region: SearchRegion, before: TargetExtent, now: TargetExtent
) -> SearchRegion:
    """Move a region ahead by a random share of its object's motion, as a tracker's prediction would."""
    if angle_between(before.direction, now.direction) > _JUMP:
        return region
    share = rng.uniform(*_PREDICTED_SHARE)
    return region.predicted(before.direction + share * (now.direction - before.direction))


def _perturbed_region(
    rng: np.random.Generator, region: SearchRegion, spread: float, scale: float, *, centred: bool
) -> SearchRegion:
    """Draw a region near another one, of another size, for trackers are not perfect."""
    offset = rng.normal(0, spread * region.diameter, 2)
    kind = 1.0 if centred else rng.random()
    if kind < _ASIDE:
        offset = rng.uniform(-0.3, 0.3, 2) * region.fov
    elif kind < _ASIDE + _ELSEWHERE:
        heading = rng.uniform(0, 2 * math.pi)
        offset = rng.uniform(0.6, 1.5) * region.fov * np.array([math.cos(heading), math.sin(heading)])
    across, down = np.tan(offset.clip(-1.4, 1.4))
    middle = region.axes[2] + across * region.axes[0] + down * region.axes[1]
    sized = replace(region, diameter=region.diameter * scale, longest=region.longest * scale)
    return sized.recentred(middle)
