"""Objects compete: a pixel that several masks claim belongs to one object.

Networks of single objects do not know of each other. Where two things meet, both masks grow over both things,
and whoever is louder takes the other's pixels for good. Here a pixel goes to the object for which the network
now and the object's last mask, moved on with its motion, speak most together. Ours; neither SAM2 nor the
paper has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.sphere import Floats, angle_between
from panosam2_ros.geometry.window import Logits
from panosam2_ros.tracking.propagation_result import HostAnswer
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import InputView, SearchRegionView

MOST = 6.0  # logit up to which a mask speaks, so that no network is louder than all that is known
OCCLUDED = 0.25  # of its pixels: where others take more, what is left says nothing of the object's motion
# s for which a mask of which others left little should be where the last whole one has moved
LONGEST_MEETING = 2.0
HIDDEN = 0.15  # of its pixels: an object that owns less of what its mask claims is hidden by others
_VETOED = 1000.0  # weakens a mask so that it takes no pixels
_ELSEWHERE = -9.0  # logit outside of what a region shows


@dataclass(frozen=True, eq=False)
class Claim:
    """The pixels that an object claims in a frame, in its search region."""

    region: SearchRegion
    logits: Logits  # [s, s] of the network
    strength: Logits  # [s, s] how much speaks for the object
    vetoed: bool = False  # a rule does not believe the network: the mask takes no pixels

    @classmethod
    def of(
        cls, region: SearchRegion, logits: Logits, expected: Logits | None, *, vetoed: bool = False
    ) -> Claim:
        """Make the claim of a mask; ``expected`` [s, s] are logits of where it should be, None: unknown.

        A mask that was ``vetoed`` takes no pixels.
        """
        strength = logits.clip(-MOST, MOST) - np.float32(_VETOED if vetoed else 0)
        if expected is not None:
            strength = strength + expected.clip(-MOST, MOST)
        return cls(region, logits, strength, vetoed)


def claims_of(
    objects: Sequence[TrackedObject],
    views: Sequence[InputView],
    answer: HostAnswer,
    stamp: int,  # ns
) -> list[Claim | None]:
    """Return what objects claim by what was found of them; None: no mask, or one of a whole panorama."""
    found = answer.found(range(len(views)), vetoed=True)
    if sum(logits is not None for logits in found) < 2:
        return [None] * len(views)
    present, masks = answer.scores > 0, answer.before
    claims: list[Claim | None] = []
    for item, view, logits, there, mask in zip(objects, views, found, present, masks, strict=True):
        if logits is None or not isinstance(view, SearchRegionView):
            claims.append(None)
            continue
        expected = _expected(item, mask, view.region, stamp, len(logits))
        claims.append(Claim.of(view.region, logits, expected, vetoed=not bool(there)))
    return claims


def _expected(
    item: TrackedObject, last: Logits, region: SearchRegion, stamp: int, size: int
) -> Logits | None:
    """Return where an object's mask should be, logits [size, size] in a region; None: unknown.

    ``last`` [s, s] is its last mask. What others left of it says neither where it is nor how large: then the
    last whole one, moved on with the object, does.
    """
    whole, before, bearing = item.whole, item.last_view, item.motion.predict(stamp)
    if whole is not None and isinstance(whole.view, SearchRegionView):
        age = (stamp - whole.stamp) * 1e-9
        if whole.stamp < item.motion.last_seen and 0 < age <= LONGEST_MEETING:
            direction = item.motion.moved(whole.direction, age)
            return moved_mask(whole.logits, whole.view.region, region, direction, size)
    if bearing is None or not isinstance(before, SearchRegionView):
        return None
    return moved_mask(last, before.region, region, bearing.direction, size)


def moved_mask(
    last: Logits, before: SearchRegion, region: SearchRegion, direction: Floats, size: int
) -> Logits | None:
    """Return the last mask where it should be now, logits [size, size] in ``region``.

    ``last`` [s, s] are logits in the region ``before``; ``direction`` [3] is where its middle should be now.
    None for an empty mask.
    """
    rows, columns = np.nonzero(last > 0)
    if not rows.size:
        return None
    middle = np.array([columns.mean(), rows.mean()])
    scale = before.pixel_angle(len(last)) / region.pixel_angle(size)  # pixels now per pixel then
    shift = region.project(direction, size) - scale * middle
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_CONSTANT, "borderValue": _ELSEWHERE}
    return np.asarray(cv2.warpAffine(last.astype(np.float32), matrix, (size, size), **how), np.float32)


@dataclass(frozen=True, eq=False)
class Settled:
    """What is left of a mask that had pixels of others."""

    logits: Logits  # [s, s]
    whole: bool  # most of it is left


def settled_masks(claims: Sequence[Claim | None]) -> dict[int, Settled]:
    """Return what is left, by row, of masks that have pixels of others.

    Of an object that others hide nothing is left. None: a row without a mask.
    """
    settled: dict[int, Settled] = {}
    for row, claim in enumerate(claims):
        if claim is None:
            continue
        others = [other for k, other in enumerate(claims) if other is not None and k != row]
        lost = _pixels_of_others(claim, [other for other in others if _near(claim, other)])
        if not lost.any():
            continue
        own = claim.logits > 0
        share = lost.sum() / own.sum()
        left = np.where(lost | (own & (share > 1 - HIDDEN)), -np.abs(claim.logits), claim.logits)
        settled[row] = Settled(left, share <= OCCLUDED)
    return settled


def _near(one: Claim, other: Claim) -> bool:
    """Return whether two regions may overlap."""
    away = float(angle_between(one.region.axes[2], other.region.axes[2]))
    return away < 0.75 * (one.region.fov + other.region.fov)  # half their diagonals


def _pixels_of_others(claim: Claim, others: Sequence[Claim]) -> NDArray[np.bool_]:
    """Return the pixels [s, s] of a mask that others claim with more strength."""
    own = claim.logits > 0
    lost = np.zeros_like(own)
    directions = claim.region.directions(len(own))[own]
    for other in others:
        x, y = other.region.project(directions, len(other.logits)).astype(np.float32).T
        claimed, strength = (_sampled(values, x, y) for values in (other.logits, other.strength))
        lost[own] |= (claimed > 0) & (strength > claim.strength[own])
    return lost


def _sampled(values: Logits, x: NDArray[np.float32], y: NDArray[np.float32]) -> Logits:
    """Sample values [s, s] at pixel indices x and y [n]."""
    shown = cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=_ELSEWHERE)
    return np.asarray(shown, np.float32).reshape(-1)
