"""Seam placement: the seam moves only where it must and where there is room; results do not change."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from helpers.tracker_inputs import planner_of
from panosam2_ros.model.build import random_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.seam_placement import MIN_CLEARANCE, WANTED_CLEARANCE, SeamPlacer
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig


def room(columns: np.ndarray) -> int:
    """Empty columns beside the seam, on the narrower side."""
    where = np.flatnonzero(columns)
    return int(min(where[0], columns.size - 1 - where[-1])) if where.size else columns.size


@given(st.sets(st.integers(0, 27)))
def test_the_seam_has_room_afterwards_if_there_is_any_and_then_stays(occupied: set[int]) -> None:
    columns = np.isin(np.arange(28), list(occupied))
    move = SeamPlacer().roll_tokens(columns)
    after = np.roll(columns, move)
    if move:
        assert room(columns) < MIN_CLEARANCE and room(after) >= WANTED_CLEARANCE - 1
    elif room(columns) < MIN_CLEARANCE:
        gaps = np.diff(sorted(occupied), append=min(occupied) + 28) - 1
        assert gaps.max() < 2 * WANTED_CLEARANCE
    assert SeamPlacer().roll_tokens(after) == 0


def test_a_placed_seam_changes_no_mask() -> None:
    """The small network is periodic: a turn of its view changes nothing but rounding."""
    frames = [np.random.default_rng(t).integers(0, 255, (128, 256, 3), np.uint8) for t in range(5)]
    trackers = []
    for steer in (False, True):
        model = random_model(1).eval().requires_grad_(False)
        model.set_input_size(128, 256)
        trackers.append(PanoTracker(model, TrackerConfig(seam_placement=steer)))
    mask = np.zeros((128, 256), bool)
    mask[40:70, np.arange(240, 280) % 256] = True
    for tracker in trackers:
        assert tracker.prompt(frames[0], 0, [Prompt(mask=mask)])[0].success
    for t, frame in enumerate(frames[1:], 1):
        plain, placed = (tracker.step(frame, t) for tracker in trackers)
        assert np.mean(plain.labels != placed.labels) < 2e-3
        assert abs(plain.tracks[0].score - placed.tracks[0].score) < 1e-3
    assert planner_of(trackers[0]).roll_tokens == 0 and planner_of(trackers[1]).roll_tokens != 0
    box = Prompt(box=(230, 30, 20, 80))
    answers = [tracker.prompt(frames[-1], 9, [box])[0] for tracker in trackers]
    directions = [a.track.bearing.direction for a in answers if a.track is not None]
    assert len(directions) == 0 or np.allclose(directions[0], directions[1], atol=1e-2)
    corrections = [
        tracker.prompt(frames[-1], 9, [Prompt(obj_id=1, points=np.array([[250.0, 50.0]]),
                                              point_labels=np.array([1]))])[0]
        for tracker in trackers
    ]  # fmt: skip
    assert corrections[0].success == corrections[1].success
