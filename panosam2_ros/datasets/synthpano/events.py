"""Events that make a sequence of SynthPano v2 difficult, measured from its ground truth.

They are attributes of sequences and objects like those of ``attributes.py``, which v1 has alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from panosam2_ros.datasets.synthpano.ground_truth import ObjectTrack, SequenceGroundTruth
from panosam2_ros.datasets.synthpano.object_history import FULLY_VISIBLE, ObjectHistory
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.simulation.sprites import MIN_FILL, MIN_WHOLE

LIGHT_STOPS, LIGHT_FRAMES = 0.7, 20  # least change of the exposure, and the frames within which it happens
MIN_JUMP = math.radians(9)  # beyond the steps before and after
COVERED, COVERED_FRAMES = 0.75, 20  # visible fraction of a crossed object, and the frames of it at most
MAX_HIDDEN = 9  # frames: a longer full occlusion is no crossing
_JUMP_REACH = 2  # frames before and after, whose steps a jump exceeds


def light_change(ground_truth: SequenceGroundTruth) -> bool:
    """Return whether the exposure changes by LIGHT_STOPS within LIGHT_FRAMES."""
    stops = np.log2(ground_truth.gains)
    lags = range(1, min(LIGHT_FRAMES, len(stops) - 1) + 1)
    return any(float(abs(stops[lag:] - stops[:-lag]).max()) >= LIGHT_STOPS for lag in lags)


def jump(history: ObjectHistory) -> bool:
    """Return whether the object moves, in the image's axes, by MIN_JUMP more in a frame than around it."""
    centre = history.track.centre
    steps = angle_between(centre[1:], centre[:-1])
    for index in range(1, len(steps) - 1):
        around = np.r_[steps[max(0, index - _JUMP_REACH) : index], steps[index + 1 :][:_JUMP_REACH]]
        if steps[index] - float(np.median(around)) >= MIN_JUMP:
            return True
    return False


def _apart(a: ObjectTrack, b: ObjectTrack) -> Floats:
    """Return the angle [T] between two objects' centres, relative to the sum of their radii."""
    radii = (a.angular_diameter + b.angular_diameter) / 2
    return np.asarray(angle_between(a.centre, b.centre) / radii)


def _others(history: ObjectHistory) -> list[ObjectTrack]:
    """Return the other tracked objects of the sequence."""
    own = history.track.obj_id
    return [track for track in history.ground_truth.objects if track.obj_id != own]


def objects_crossing(history: ObjectHistory) -> bool:
    """Return whether the object and another tracked one overlap by half, so that one covers the other."""
    track = history.track
    return any(
        bool(
            (
                (_apart(track, other) < 0.5)
                & (np.minimum(track.visible_fraction, other.visible_fraction) < FULLY_VISIBLE)
            ).any()
        )
        for other in _others(history)
    )


def crossed(history: ObjectHistory) -> bool:
    """Return whether something untracked passes in front of the object.

    The object is wholly visible, covered for at most COVERED_FRAMES, and wholly visible again; no other
    tracked object touches it meanwhile.
    """
    track = history.track
    whole = np.flatnonzero(track.visible_fraction >= FULLY_VISIBLE)
    alone = np.ones(len(track.visible), bool)
    for other in _others(history):
        alone &= _apart(track, other) > 1
    for before, after in zip(whole[:-1].tolist(), whole[1:].tolist(), strict=True):
        between = slice(before + 1, after)
        fractions = track.visible_fraction[between]
        if not len(fractions) >= 1 or not alone[between].all() or fractions.min() >= COVERED:
            continue
        hidden = int((~track.visible[between]).sum())
        if int((fractions < COVERED).sum()) <= COVERED_FRAMES and hidden <= MAX_HIDDEN:
            return True
    return False


def thin(history: ObjectHistory) -> bool:
    """Return whether the object, wholly visible, fills a small part of its square."""
    track = history.track
    whole = track.visible_fraction >= FULLY_VISIBLE
    square = 4 * np.arcsin(np.sin(track.angular_diameter[whole] / 2) ** 2)  # sr, on a tangent plane
    return bool(whole.any() and np.median(track.solid_angle[whole] / square) < MIN_FILL)


def many_parts(history: ObjectHistory) -> bool:
    """Return whether the object, wholly visible, is not connected in most frames."""
    parts = [view.largest_part for view in history.whole]
    return bool(parts and np.median(parts) < MIN_WHOLE)


OBJECT_EVENTS: dict[str, Callable[[ObjectHistory], bool]] = {
    "jump": jump,
    "objects_crossing": objects_crossing,
    "crossed": crossed,
    "thin": thin,
    "many_parts": many_parts,
}
SEQUENCE_EVENTS: dict[str, Callable[[SequenceGroundTruth], bool]] = {"light_change": light_change}
