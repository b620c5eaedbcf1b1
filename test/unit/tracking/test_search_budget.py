"""Lost objects take turns within a budget of time, by what views have cost lately."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers.red_things import BLUE, RED, sees_red
from helpers.spherical_shapes import disc
from panosam2_ros.cli.track import _parser
from panosam2_ros.geometry.sphere import angle_between, lonlat_to_vector
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.ros.inference.tracker_factory import build_tracker
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking import view_planner
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.search_budget import LONGEST_PAUSE, LostObject, SearchBudget, ViewCosts
from panosam2_ros.tracking.step_graphs import bucket_of
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.tracking.view import SearchRegionView
from panosam2_ros.tracking.view_planner import SEARCH_AFTER
from panosam2_ros.tracking.view_refinement import Look, fewer_looks

VIEW, SEARCH = 0.01, 0.03  # s


def known_costs(computed: Callable[[int], int] = int, view: float = VIEW, most: int = 12) -> ViewCosts:
    """Costs of a machine on which every view that is computed takes as long."""
    costs = ViewCosts(computed)
    for _ in range(2):
        costs.add_search(SEARCH)
        for count in range(1, most):
            costs.add_views(count, view * computed(count))
    return costs


def test_what_is_done_for_the_first_time_says_nothing_of_its_cost() -> None:
    costs = ViewCosts()
    costs.add_views(2, 9.0)
    costs.add_search(9.0)
    assert costs.further(1, 1) == math.inf and costs.search == math.inf
    costs.add_views(2, 0.02)
    costs.add_search(0.03)
    assert costs.further(1, 1) == pytest.approx(0.01) and costs.search == 0.03


def test_costs_of_numbers_that_were_not_computed_follow_from_others() -> None:
    """A step of n views takes 6 + 4 n; where that is not known views cost too much rather than too little."""
    costs = ViewCosts()
    for count in (2, 2, 5, 5):
        costs.add_views(count, 6 + 4 * count)
    assert costs.further(2, 3) == pytest.approx(12) and costs.further(3, 1) == pytest.approx(4)
    assert costs.further(5, 5) >= 20 and costs.further(1, 1) >= 4 and costs.further(0, 1) <= 10
    assert costs.further(4, 0) == 0.0


def test_costs_follow_a_machine_that_becomes_slower() -> None:
    costs = known_costs()
    before = costs.further(3, 2)
    for _ in range(80):
        for count in (3, 5):
            costs.add_views(count, 5 * VIEW * count)
    assert before == pytest.approx(2 * VIEW) and costs.further(3, 2) == pytest.approx(10 * VIEW)


def test_one_hiccup_changes_nothing() -> None:
    costs = known_costs()
    for _ in range(3):
        costs.add_views(5, VIEW * 5)
    costs.add_views(5, 70.0)
    assert costs.further(3, 2) == pytest.approx(2 * VIEW)


def turns(budget: float, lost: int, frames: int) -> list[list[int]]:
    """The rows that are looked for in each of some frames; the panorama is searched in every other look."""
    own, known, chosen = SearchBudget(budget), known_costs(), []
    turn, waited, looks = [0] * lost, [0] * lost, [0] * lost
    for _ in range(frames):
        own.begin()
        items = [LostObject(row, turn[row], waited[row], looks[row] % 2 == 0) for row in range(lost)]
        rows = own.choose(items, 3, known)
        for row in rows:
            turn[row] = own.next_turn()
        for row in range(lost):
            waited[row] = 0 if row in rows else waited[row] + 1
            looks[row] += row in rows
        chosen.append(rows)
    return chosen


@pytest.mark.parametrize("lost", [1, 2, 5, 9])
@pytest.mark.parametrize("budget", [1e-6, 0.011, 0.021, 0.041, 0.075, 1.0])
def test_lost_objects_take_turns_within_the_budget(budget: float, lost: int) -> None:
    frames = turns(budget, lost, 240)
    looks = [0] * lost
    for t, rows in enumerate(frames):
        cost = VIEW * len(rows) + SEARCH * any(looks[row] % 2 == 0 for row in rows)
        recent = [row for own in frames[max(t - LONGEST_PAUSE + 1, 0) : t] for row in own]
        assert cost <= budget or (len(rows) == 1 and not recent), (t, rows)
        for row in rows:
            looks[row] += 1
    for t in range(len(frames) - LONGEST_PAUSE):
        assert any(frames[t : t + LONGEST_PAUSE]), t
    assert max(looks) - min(looks) <= 1
    assert budget < 1.0 or looks == [240] * lost


def test_views_that_a_recorded_step_computes_anyway_cost_nothing() -> None:
    """Three objects and one are both computed with four rows, five with eight."""
    costs = known_costs(bucket_of)
    assert costs.further(3, 1) == 0.0 and costs.further(3, 2) == pytest.approx(4 * VIEW)
    without_search = [LostObject(row, 0, 0, searches=False) for row in range(6)]
    for budget, count in ((1e-6, 1), (3.9 * VIEW, 1), (4.1 * VIEW, 5), (12.1 * VIEW, 6)):
        own = SearchBudget(budget)
        own.begin()
        assert len(own.choose(without_search, 3, costs)) == count


def test_what_lost_objects_took_is_not_left_for_objects_that_were_just_missed() -> None:
    own, costs = SearchBudget(0.055), known_costs()
    own.begin()
    assert own.choose([LostObject(0, 0, 0, searches=True)], 2, costs) == [0]
    assert own.affordable(8, 0, costs) == 1 and own.affordable(8, 0, costs) == 0
    own.begin()
    assert own.affordable(8, 1, costs) == 5


def test_looks_for_missed_objects_are_shared_evenly() -> None:
    view = SearchRegionView.__new__(SearchRegionView)
    looks = [Look(row, view, missed=row != 1) for row in (0, 0, 0, 1, 2, 2, 2)]
    assert [look.row for look in fewer_looks(looks, 3)] == [0, 0, 1, 2]
    assert fewer_looks(looks, 0) == [looks[3]] and fewer_looks(looks, 6) == looks


# --- the tracker

PLACES = (-2.2, -1.1, 0.0, 1.1, 2.2)  # longitudes of things; the first one stays
MACHINE = {"view": VIEW, "search": SEARCH}


def things(places: tuple[float, ...]) -> NDArray[np.uint8]:
    image = np.full((256, 512, 3), BLUE, np.uint8)
    for lon in places:
        image[disc(lon, 0.0, 0.12)] = RED
    return image


class Watched:
    """A tracker of red things, of which all but the first disappear, and what every step looked at."""

    def __init__(self, budget: float, monkeypatch: pytest.MonkeyPatch, *, elsewhere: bool = False) -> None:
        self.now, self.looks = 0.0, []
        search = {"colour_search": 0.6} if elsewhere else {"colour_search": 0.0}
        config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2, **search)
        self.tracker = PanoTracker(
            random_model(3, config=config).eval().requires_grad_(False),
            TrackerConfig(search_budget=budget, camera_motion=False),
        )
        for pipeline in self.tracker._pipelines.values():
            sees_red(pipeline.model, monkeypatch)
            encode = pipeline.model.encode_image
            monkeypatch.setattr(pipeline.model, "encode_image", self._timed(encode))
        self.tracker._budget.clock = lambda: self.now
        pixels, find = SearchRegionView.pixels, view_planner.directions_to_try

        def noted(view: SearchRegionView, *args: Any) -> torch.Tensor:
            self.looks.append(view.region.axes[2])
            return pixels(view, *args)

        def searched(*args: Any) -> Any:
            self.now += MACHINE["search"]
            find(*args)
            return {}  # nothing is anywhere, so that all places stay as they are

        monkeypatch.setattr(SearchRegionView, "pixels", noted)
        monkeypatch.setattr(view_planner, "directions_to_try", searched)
        answers = self.tracker.prompt(things(PLACES), 0, [Prompt(mask=disc(x, 0.0, 0.12)) for x in PLACES])
        assert all(answer.success for answer in answers)
        self.stamp = 0

    def _timed(self, encode: Callable[..., Any]) -> Callable[..., Any]:
        def timed(images: torch.Tensor) -> Any:
            self.now += MACHINE["view"] * len(images)
            return encode(images)

        return timed

    def step(self, places: tuple[float, ...] = PLACES[:1]) -> tuple[list[int], float]:
        """Track one more image; return what was looked for, by the index of its place, and the seconds."""
        self.looks.clear()
        began, self.stamp = self.now, self.stamp + 10**8
        self.tracker.step(things(places), self.stamp, labels=False)
        rows = [
            int(np.argmin([angle_between(look, lonlat_to_vector(lon, 0.0)) for lon in PLACES]))
            for look in self.looks
        ]
        return sorted(rows), self.now - began

    def lose(self) -> None:
        """Track images in which all but the first thing are missing, until the others are lost."""
        for _ in range(SEARCH_AFTER + 1):
            self.step()


def test_without_a_budget_all_lost_objects_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(0.0, monkeypatch)
    watched.lose()
    assert [watched.step()[0] for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3


@pytest.mark.parametrize("views", [0, 1, 3])
def test_a_step_takes_no_longer_than_that_of_seen_objects_and_the_budget(
    views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched((views + 0.5) * VIEW, monkeypatch)
    watched.lose()
    steps = [watched.step() for _ in range(24)]
    lost = [row for rows, _ in steps for row in rows if row]
    assert all(rows[0] == 0 for rows, _ in steps)
    if views:
        assert [len(rows) for rows, _ in steps] == [1 + views] * len(steps)
        assert all(seconds <= (1 + views) * VIEW + 1e-9 for _, seconds in steps)
    else:
        assert len(lost) == len(steps) // LONGEST_PAUSE and max(len(rows) for rows, _ in steps) == 2
    counts = [lost.count(row) for row in range(1, len(PLACES))]
    assert max(counts) - min(counts) <= 1


def test_the_search_of_the_panorama_is_a_part_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = SEARCH + 2.5 * VIEW
    watched = Watched(budget, monkeypatch, elsewhere=True)
    watched.lose()
    learning = [watched.step() for _ in range(3 * LONGEST_PAUSE)]  # what a search costs
    steps = [watched.step() for _ in range(24)]
    assert all(seconds <= VIEW + budget for _, seconds in steps)
    assert max(seconds for _, seconds in steps) >= VIEW + SEARCH  # it was searched
    assert all(len(rows) > 1 for rows, _ in steps[-8:]) and learning


def test_a_thing_that_was_waiting_is_found_when_its_turn_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(1e-6, monkeypatch)
    watched.lose()
    states = [track.state for track in watched.tracker.tracks()]
    assert states == [TrackState.VISIBLE] + [TrackState.OCCLUDED] * 4
    seen = []
    for _ in range(4 * LONGEST_PAUSE):
        watched.step(PLACES)
        seen.append(sum(track.state is TrackState.VISIBLE for track in watched.tracker.tracks()))
    assert seen == sorted(seen) and seen[-1] == 5 and {2, 3, 4} <= set(seen)


def test_what_waits_becomes_lost_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(1e-6, monkeypatch)
    for _ in range(32):
        watched.step()
    assert [track.state for track in watched.tracker.tracks()][1:] == [TrackState.LOST] * 4
    past = watched.tracker.tracks_at(watched.stamp)
    assert [each.past.stamp for each in past] == [watched.stamp] * 5


@pytest.mark.parametrize(("budget", "least", "most"), [(0.0, 8, 40), (3.5 * VIEW, 3, 3), (1e-6, 0, 0)])
def test_second_looks_for_what_was_just_missed_are_a_part_of_the_budget(
    budget: float, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(budget, monkeypatch)
    for _ in range(2):
        watched.step(PLACES)
    watched.step()
    assert least <= len(watched.looks) - len(PLACES) <= most


def test_results_depend_on_the_speed_of_the_machine_only_in_the_node() -> None:
    assert TrackerConfig().search_budget == 0.0 < Parameters().search_budget
    assert _parser().parse_args(["video.mp4", "--out", "out"]).search_budget == 0.0


def test_the_node_hands_its_budget_to_the_tracker() -> None:
    tracker = build_tracker(Parameters(model="panosam2_nano", device="cpu", search_budget=0.05))
    assert tracker._budget.seconds == 0.05


@pytest.mark.parametrize("budget", [-0.1, math.inf, math.nan])
def test_bad_budgets_are_refused(budget: float) -> None:
    with pytest.raises(ValueError, match="search_budget is a number of seconds"):
        TrackerConfig(search_budget=budget)
