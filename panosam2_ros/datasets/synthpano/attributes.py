"""What makes a sequence hard, measured from its truth; never taken from what was intended.

Names and thresholds are those of the 360VOT toolkit where it measures them, with the bounding
field of view of the visible mask in place of a person's boxes. Where people judged there
(partial occlusion, motion blur, stitching, distortion, illumination, camera), the threshold here is
our own. Not judged: background clutter, deformation, rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.synthpano.ground_truth import ObjectTrack, SequenceGroundTruth
from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.simulation.stitching import stitch_zone

MIN_HIDDEN_FRAMES = (10, 30)  # frames of a full occlusion, after which the object is back elsewhere
BACK_FOR = 8  # frames of the next 20 in which it is then visible
_ELSEWHERE = math.radians(15)  # between leaving and coming back, in the image and in the world
LOOK_ALIKE_SHARE = 1 / 3  # of the frames show the look-alike
_WHOLE = 0.9  # visible fraction from which shape and size are those of the object


@dataclass(frozen=True)
class ObjectView:
    """One tracked object in one frame that shows it."""

    fraction: float  # visible, of its own solid angle
    direction: Floats  # [3] of the visible part's centroid
    extents: tuple[float, float]  # rad, of the bounding field of view: horizontal, vertical
    box: tuple[int, int, int, int]
    stretch: float  # pixels per solid angle, relative to the horizon
    across_seam: bool  # on both sides, and not because it covers a pole
    stitched: bool  # touches where two lenses meet


@dataclass(frozen=True)
class History:
    """One tracked object through a sequence."""

    truth: SequenceGroundTruth
    track: ObjectTrack
    sights: Sequence[ObjectView | None]  # None: not visible

    @property
    def seen(self) -> list[ObjectView]:
        """Frames that show it."""
        return [sight for sight in self.sights if sight]

    @property
    def whole(self) -> list[ObjectView]:
        """Frames that show nearly all of it."""
        return [sight for sight in self.seen if sight.fraction >= _WHOLE]

    @property
    def steps(self) -> list[tuple[ObjectView, ObjectView, float]]:
        """Neighbouring frames that both show it, and the angle, rad, between its directions."""
        pairs = [(a, b) for a, b in pairwise(self.sights) if a and b]
        return [(a, b, float(angle_between(a.direction, b.direction))) for a, b in pairs]


def look(
    mask: NDArray[np.bool_],  # [H, W]
    grid: Equirect,
    fraction: float,
    zone: NDArray[np.bool_] | None,  # [H, W] where two lenses meet
) -> ObjectView | None:
    """How an object shows; None for an empty mask."""
    bearing, box = mask_bearing(mask, grid), mask_box(mask)
    if bearing is None or box is None:
        return None
    equator = 2 * math.pi**2 / (grid.width * grid.height)
    pole = bool(mask[0].all() or mask[-1].all())
    return ObjectView(
        fraction,
        bearing.direction,
        (bearing.extent_horizontal, bearing.extent_vertical),
        box,
        float(mask.sum() * equator / bearing.solid_angle),
        bool((mask[:, 0] & mask[:, -1]).any()) and not pole,
        zone is not None and bool((mask & zone).any()),
    )


def _changed(values: list[float]) -> bool:
    """Whether any leaves half to twice the first."""
    return any(not values[0] / 2 <= value <= values[0] * 2 for value in values)


def _areas(history: History) -> list[float]:
    return [s.extents[0] * s.extents[1] for s in history.whole] or [1.0]


def _aspects(history: History) -> list[float]:
    return [s.extents[0] / s.extents[1] for s in history.whole] or [1.0]


def _latitudes(history: History) -> Floats:
    return np.degrees([-math.asin(float(np.clip(s.direction[1], -1, 1))) for s in history.seen])


def _box_pixels(history: History) -> list[float]:
    width = history.truth.width
    return [(box_width(b[0], b[2], width) + 1) * (b[3] - b[1] + 1) for b in _boxes(history)]


def _boxes(history: History) -> list[tuple[int, int, int, int]]:
    return [s.box for s in history.seen]


def _fast_in_image(history: History) -> bool:
    """The box's centre moves by more than the box's width or height."""
    width = history.truth.width
    for first, second, _ in history.steps:
        a, b = first.box, second.box
        wide, high = box_width(b[0], b[2], width) + 1, b[3] - b[1] + 1
        across = b[0] + wide / 2 - a[0] - (box_width(a[0], a[2], width) + 1) / 2
        across = abs((across + width / 2) % width - width / 2)
        if across > wide or abs(b[1] + b[3] - a[1] - a[3]) / 2 > high:
            return True
    return False


def _fast_on_sphere(history: History) -> bool:
    return any(math.degrees(a) > 5 and a > min(before.extents) for before, _, a in history.steps)


def _size_change(history: History) -> bool:
    sizes = history.track.angular_diameter[history.track.visible]
    return bool(sizes.max() / sizes.min() > 2)


def hidden_runs(visible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last frame of every time that an object is gone between two sights."""
    shown = np.flatnonzero(visible)
    return [(int(a) + 1, int(b) - 1) for a, b in pairwise(shown) if b - a > 1]


def hidden_and_back(history: History) -> bool:
    """Hidden whole for HIDDEN frames, then back elsewhere."""
    track, camera = history.track, history.truth.camera
    world = np.einsum("tij,ti->tj", camera, track.centre)
    for first, last in hidden_runs(track.visible):
        away = min(float(angle_between(way[first - 1], way[last + 1])) for way in (track.centre, world))
        back = int(track.visible[last + 1 : last + 21].sum())
        frames = last - first + 1
        if MIN_HIDDEN_FRAMES[0] <= frames <= MIN_HIDDEN_FRAMES[1] and away >= _ELSEWHERE and back >= BACK_FOR:
            return True
    return False


OF_OBJECTS: dict[str, Callable[[History], bool]] = {
    "motion_blur": lambda h: any(a * h.truth.shutter > math.radians(1) for *_, a in h.steps),
    "partial_occlusion": lambda h: any(s.fraction < 0.75 for s in h.seen),
    "full_occlusion": lambda h: not bool(h.track.visible.all()),
    "aspect_ratio_change": lambda h: _changed(_aspects(h)),
    "scale_variation": lambda h: _changed(_areas(h)),
    "fast_motion": _fast_in_image,
    "low_resolution": lambda h: min(_box_pixels(h)) < 1000,
    "high_resolution": lambda h: max(_box_pixels(h)) > 500**2,
    "stitching_artifact": lambda h: any(s.stitched for s in h.seen),
    "crossing_border": lambda h: any(s.across_seam for s in h.seen),
    "fast_motion_on_sphere": _fast_on_sphere,
    "large_fov": lambda h: any(max(s.extents) > math.pi / 2 for s in h.seen),
    "latitude_variation": lambda h: bool(np.ptp(_latitudes(h)) > 50),
    "high_latitude": lambda h: bool(abs(_latitudes(h)).max() > 66.5),
    "large_distortion": lambda h: any(s.stretch > 2 for s in h.seen),
    "size_change": _size_change,
    "hidden_and_back": hidden_and_back,
}
OF_SEQUENCES: dict[str, Callable[[SequenceGroundTruth], bool]] = {
    "illumination_variation": lambda t: bool(t.gains.max() / t.gains.min() > 1.25),
    "camera_motion": lambda t: bool(camera_steps(t).max(initial=0) > math.radians(1)),
    "look_alike": lambda t: bool((t.look_alike_areas > 0).mean() >= LOOK_ALIKE_SHARE),
}


def camera_steps(truth: SequenceGroundTruth) -> Floats:
    """[T - 1] rad by which the camera turns."""
    turns = np.einsum("tij,tkj->tik", truth.camera[1:], truth.camera[:-1])
    sine = np.linalg.norm(turns - np.swapaxes(turns, 1, 2), axis=(1, 2)) / 8**0.5
    return np.asarray(np.arctan2(sine, (np.trace(turns, axis1=1, axis2=2) - 1) / 2))


def measured(truth: SequenceGroundTruth, labels: Iterable[NDArray[np.integer]]) -> SequenceGroundTruth:
    """The truth with the attributes that it and its label images [H, W], in order, show."""
    grid = truth.grid
    zone = None if truth.stitch_longitude is None else stitch_zone(grid, truth.stitch_longitude)
    sights: list[list[ObjectView | None]] = [[] for _ in truth.objects]
    for index, image in enumerate(labels):
        for track, seen in zip(truth.objects, sights, strict=True):
            fraction = float(track.visible_fraction[index])
            seen.append(look(np.asarray(image == track.obj_id), grid, fraction, zone))
    objects = tuple(
        replace(track, attributes=_of_object(History(truth, track, seen)))
        for track, seen in zip(truth.objects, sights, strict=True)
    )
    found = {name for name, holds in OF_SEQUENCES.items() if holds(truth)}
    found.update(name for track in objects for name in track.attributes)
    return replace(truth, objects=objects, attributes=tuple(sorted(found)))


def _of_object(history: History) -> tuple[str, ...]:
    if not history.seen:
        return ("full_occlusion",)
    return tuple(sorted(name for name, holds in OF_OBJECTS.items() if holds(history)))
