"""What the boxes of a detector do with the tracker; everything here runs on the worker's thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from panosam2_ros.detections.association import KnownObjects, is_mask_of
from panosam2_ros.detections.boxes import DetectedBoxes
from panosam2_ros.detections.new_things import DetectionRules, new_things, usable_boxes
from panosam2_ros.detections.placed_boxes import PlacedBoxes
from panosam2_ros.detections.rate_limit import RateLimit
from panosam2_ros.geometry.angular_box import AngularBoxes, box_ious
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.inference.worker import Worker
from panosam2_ros.tracking.track import Track

_SAME_MASK = 0.5  # intersection over union of the extents of two masks of one thing


@dataclass(frozen=True)
class DetectionRequest:
    """Boxes of one image, and how they are judged."""

    stamp: int  # ns, of the image
    boxes: DetectedBoxes
    rules: DetectionRules
    rate: float  # objects per second that may be made
    vertical_fov: float  # rad, of the panorama


@dataclass(frozen=True)
class DetectionAnswer:
    """What became of the boxes of one message."""

    made: tuple[Track, ...] = ()  # new objects, as of the image of the boxes
    unusable: int = 0  # boxes
    postponed: int = 0  # new things that the rate leaves to later messages
    without_room: int = 0  # new things beyond the tracker's limit
    withdrawn: int = 0  # new things of which the network found no mask, or that of another object
    replaying: bool = False  # the boxes were not looked at: where objects were then is not known yet


class DetectionHandler:
    """Makes objects of boxes; keeps how many it has made lately."""

    def __init__(self) -> None:
        self._limit, self._turn = RateLimit(), 0

    def add(self, worker: Worker[Any], request: DetectionRequest) -> DetectionAnswer:
        """Make objects of the boxes that no known object explains.

        Raise NoSuchFrameError where the image is not held any more, and what its decoding raises.
        """
        worker.received_at(request.stamp)
        tracker = worker.tracker
        if tracker.replaying and (tracker.replay_stamp or 0) < request.stamp:
            return DetectionAnswer(replaying=True)
        known = KnownObjects.at(request.stamp, tracker.tracks_at(request.stamp))
        grid = _grid(worker, request)
        boxes = usable_boxes(request.boxes, grid, request.rules.image)
        unusable = len(request.boxes) - len(boxes)
        found = new_things(boxes, grid, known, request.rules)
        if not len(found):
            return DetectionAnswer(unusable=unusable)
        room = tracker.max_objects - len(tracker.tracks())
        granted = self._limit.take(min(len(found), room), request.rate, time.monotonic())
        chosen = found.of(np.roll(np.arange(len(found)), -self._turn)[:granted])
        self._turn = (self._turn + granted) % len(found)  # what fails again and again keeps nothing out
        made = _make(worker, request, chosen, grid, known) if granted else ()
        return DetectionAnswer(
            made=made,
            unusable=unusable,
            postponed=min(len(found), room) - granted,
            without_room=max(len(found) - room, 0),
            withdrawn=granted - len(made),
        )


def _make(
    worker: Worker[Any], request: DetectionRequest, chosen: PlacedBoxes, grid: Equirect, known: KnownObjects
) -> tuple[Track, ...]:
    """Prompt boxes; take objects back whose masks are not those of their boxes, or are known."""
    frame, image = worker.frame_at(request.stamp)
    if image.shape[:2] != (grid.height, grid.width):  # the resolution has just changed
        return ()
    boxes = zip(chosen.prompts.tolist(), chosen.detected.classes, strict=True)
    prompts = [Prompt(label=label, box=tuple(box)) for box, label in boxes]
    outcomes = worker.tracker.prompt(image, frame.stamp, prompts)
    kept: list[Track] = []
    for row, outcome in enumerate(outcomes):
        if (track := outcome.track) is None or not outcome.success:
            continue
        box = chosen.of([row])
        asked_for = is_mask_of(box.angular, _angular([track]), box.cut, request.rules.overlap).all()
        if asked_for and not _is_known(track, known, kept):
            kept.append(track)
    made = {track.obj_id for track in kept}
    worker.tracker.withdraw([o.track.obj_id for o in outcomes if o.track and o.track.obj_id not in made])
    return tuple(kept)


def _grid(worker: Worker[Any], request: DetectionRequest) -> Equirect:
    """Return the grid of the panoramas, without decoding another image where one has been processed."""
    stamp = 0 if worker.newest is not None else request.stamp
    height, width = worker.frame_at(stamp)[1].shape[:2]
    return Equirect(width, height, request.vertical_fov)


def _is_known(track: Track, known: KnownObjects, kept: Sequence[Track]) -> bool:
    """Tell whether a mask is that of an object that was seen in this image, or of one just made."""
    seen = known.angular.of(np.flatnonzero(known.reach == 0))
    others = [_angular([track]), seen, _angular(kept)]
    return any((box_ious(others[0], other) >= _SAME_MASK).any() for other in others[1:])


def _angular(tracks: Sequence[Track]) -> AngularBoxes:
    bearings = [track.bearing for track in tracks]
    directions = np.array([b.direction for b in bearings]).reshape(-1, 3)
    extents = np.array([(b.extent_horizontal, b.extent_vertical) for b in bearings]).reshape(-1, 2)
    return AngularBoxes(directions, extents)
