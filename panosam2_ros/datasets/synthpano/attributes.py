"""Attributes that make a sequence difficult, measured from its ground truth and not from its plan.

Names and thresholds are those of the 360VOT toolkit where it measures them, with the bounding field of view
of the visible mask in place of boxes that people drew. Where people judged (partial occlusion, motion blur,
stitching, distortion, illumination, camera), the threshold here is our own. Not judged: background clutter,
deformation, rotation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.synthpano.events import OBJECT_EVENTS, SEQUENCE_EVENTS
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth
from panosam2_ros.datasets.synthpano.object_history import (
    ObjectHistory,
    ObjectView,
    hidden_runs,
    object_view,
)
from panosam2_ros.geometry.equirect import box_width
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.simulation.stitching import stitch_zone

MIN_HIDDEN_FRAMES = (10, 30)  # frames of a full occlusion, after which the object is back elsewhere
MIN_FRAMES_BACK = 8  # of the next 20 frames, in which the object is then visible
_MIN_DISTANCE = math.radians(15)  # between leaving and coming back, in the image and in the world
DISTRACTOR_SHARE = 1 / 3  # of the frames, at least, that show a distractor


def _leaves_factor_2(values: list[float]) -> bool:
    """Return whether any value leaves the range of half to twice the first."""
    return any(not values[0] / 2 <= value <= values[0] * 2 for value in values)


def _areas(history: ObjectHistory) -> list[float]:
    """Return the product of both extents, rad^2, of each full view."""
    return [s.extents[0] * s.extents[1] for s in history.whole] or [1.0]


def _aspects(history: ObjectHistory) -> list[float]:
    """Return the ratio of horizontal to vertical extent of each full view."""
    return [s.extents[0] / s.extents[1] for s in history.whole] or [1.0]


def _latitudes(history: ObjectHistory) -> Floats:
    """Return the latitude, degrees, of each view."""
    return np.degrees([-math.asin(float(np.clip(s.direction[1], -1, 1))) for s in history.seen])


def _box_pixels(history: ObjectHistory) -> list[float]:
    """Return the number of pixels in the box of each view."""
    width = history.ground_truth.width
    return [(box_width(b[0], b[2], width) + 1) * (b[3] - b[1] + 1) for b in _boxes(history)]


def _boxes(history: ObjectHistory) -> list[tuple[int, int, int, int]]:
    """Return the box of each view."""
    return [s.box for s in history.seen]


def _fast_in_image(history: ObjectHistory) -> bool:
    """Return whether the box's centre ever moves by more than the box's width or height in a frame."""
    width = history.ground_truth.width
    for first, second, _ in history.steps:
        a, b = first.box, second.box
        wide, high = box_width(b[0], b[2], width) + 1, b[3] - b[1] + 1
        across = b[0] + wide / 2 - a[0] - (box_width(a[0], a[2], width) + 1) / 2
        across = abs((across + width / 2) % width - width / 2)
        if across > wide or abs(b[1] + b[3] - a[1] - a[3]) / 2 > high:
            return True
    return False


def _fast_on_sphere(history: ObjectHistory) -> bool:
    """Return whether the direction ever moves by more than 5 degrees and the smaller extent in a frame."""
    return any(math.degrees(a) > 5 and a > min(before.extents) for before, _, a in history.steps)


def _size_change(history: ObjectHistory) -> bool:
    """Return whether the angular diameter in visible frames varies by more than a factor of 2."""
    sizes = history.track.angular_diameter[history.track.visible]
    return bool(sizes.max() / sizes.min() > 2)


def hidden_and_back(history: ObjectHistory) -> bool:
    """Return whether the object is fully hidden for MIN_HIDDEN_FRAMES and then comes back elsewhere."""
    track, camera = history.track, history.ground_truth.camera
    world = np.einsum("tij,ti->tj", camera, track.centre)
    for first, last in hidden_runs(track.visible):
        away = min(float(angle_between(way[first - 1], way[last + 1])) for way in (track.centre, world))
        back = int(track.visible[last + 1 : last + 21].sum())
        frames = last - first + 1
        least, most = MIN_HIDDEN_FRAMES
        if least <= frames <= most and away >= _MIN_DISTANCE and back >= MIN_FRAMES_BACK:
            return True
    return False


OBJECT_ATTRIBUTES: dict[str, Callable[[ObjectHistory], bool]] = {
    "motion_blur": lambda h: any(a * h.ground_truth.shutter > math.radians(1) for *_, a in h.steps),
    "partial_occlusion": lambda h: any(s.fraction < 0.75 for s in h.seen),
    "full_occlusion": lambda h: not bool(h.track.visible.all()),
    "aspect_ratio_change": lambda h: _leaves_factor_2(_aspects(h)),
    "scale_variation": lambda h: _leaves_factor_2(_areas(h)),
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
SEQUENCE_ATTRIBUTES: dict[str, Callable[[SequenceGroundTruth], bool]] = {
    "illumination_variation": lambda t: bool(t.gains.max() / t.gains.min() > 1.25),
    "camera_motion": lambda t: bool(camera_steps(t).max(initial=0) > math.radians(1)),
    "look_alike": lambda t: bool((t.look_alike_areas > 0).mean() >= DISTRACTOR_SHARE),
}


def camera_steps(ground_truth: SequenceGroundTruth) -> Floats:
    """Return the angles of the camera's rotation between neighbouring frames, [T - 1] rad."""
    turns = np.einsum("tij,tkj->tik", ground_truth.camera[1:], ground_truth.camera[:-1])
    sine = np.linalg.norm(turns - np.swapaxes(turns, 1, 2), axis=(1, 2)) / 8**0.5
    return np.asarray(np.arctan2(sine, (np.trace(turns, axis1=1, axis2=2) - 1) / 2))


def measure_attributes(
    ground_truth: SequenceGroundTruth,
    labels: Iterable[NDArray[np.integer]],
    *,
    events: Collection[str] = (),
) -> SequenceGroundTruth:
    """Return the ground truth with the attributes that it and its label images [H, W], in order, show.

    ``events``: names of the attributes of ``events.py`` that are measured, too.
    """
    grid = ground_truth.grid
    zone = None if ground_truth.stitch_longitude is None else stitch_zone(grid, ground_truth.stitch_longitude)
    views: list[list[ObjectView | None]] = [[] for _ in ground_truth.objects]
    for index, image in enumerate(labels):
        for track, seen in zip(ground_truth.objects, views, strict=True):
            fraction = float(track.visible_fraction[index])
            seen.append(object_view(np.asarray(image == track.obj_id), grid, fraction, zone))
    objects = tuple(
        replace(track, attributes=_object_attributes(ObjectHistory(ground_truth, track, seen), events))
        for track, seen in zip(ground_truth.objects, views, strict=True)
    )
    of_sequence = {**SEQUENCE_ATTRIBUTES, **{n: e for n, e in SEQUENCE_EVENTS.items() if n in events}}
    found = {name for name, holds in of_sequence.items() if holds(ground_truth)}
    found.update(name for track in objects for name in track.attributes)
    return replace(ground_truth, objects=objects, attributes=tuple(sorted(found)))


def _object_attributes(history: ObjectHistory, events: Collection[str]) -> tuple[str, ...]:
    """Return the names of the attributes that hold for an object, sorted."""
    if not history.seen:
        return ("full_occlusion",)
    of_object = {**OBJECT_ATTRIBUTES, **{n: e for n, e in OBJECT_EVENTS.items() if n in events}}
    return tuple(sorted(name for name, holds in of_object.items() if holds(history)))
