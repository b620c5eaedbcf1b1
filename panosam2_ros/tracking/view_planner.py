"""Where to look for each object next: in a search region of its own, or in the whole panorama."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.search_region import FOLLOWING, SearchRegion
from panosam2_ros.geometry.sphere import Floats, vector_to_lonlat
from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.mask_decoder import FOREGROUND
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE
from panosam2_ros.prompts.extent import prompted_directions, prompted_extent
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.appearance_search import directions_to_try
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.panorama_border import limited_to_panorama
from panosam2_ros.tracking.seam_placement import SeamPlacer
from panosam2_ros.tracking.search_schedule import (
    MAX_SEARCHED_PER_FRAME,
    SEARCH_EVERY,
    SearchAttempt,
    searched_region,
)
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import InputView, PanoramaView, SearchRegionView, ViewKind
from panosam2_ros.tracking.view_refinement import centred_region, surrounding_regions

_INNER = 0.4  # of a region's side from its middle: a correction farther out gets a region of its own
SEARCH_AFTER = (
    3  # frames without an object, after which it is searched elsewhere in every SEARCH_EVERY-th frame
)


@dataclass(frozen=True, eq=False)
class ViewPlan:
    """Where to look for the objects of a group in one frame."""

    views: list[InputView]
    elsewhere: Sequence[bool] = ()  # for each object, whether it is searched in another place; empty: none is

    @property
    def away(self) -> Sequence[bool]:
        """For each object, whether it is searched in another place."""
        return self.elsewhere or [False] * len(self.views)


@dataclass(frozen=True, eq=False)
class PromptView:
    """Where to look for what a prompt points at."""

    view: InputView
    has_last_mask: bool  # the last mask of the corrected object was seen in this very view


class ViewPlanner(Protocol):
    """Decides where to look; keeps nothing of objects."""

    @property
    def roll_tokens(self) -> int:
        """Token columns by which panoramas, and what is remembered of them, are rolled right."""
        ...

    def place_seam(self, bank: MemoryBank) -> int:
        """Move the network's seam away from objects; return the token columns to roll the memory by."""
        ...

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return where to look for the objects of a group."""
        ...

    def is_lost(self, item: TrackedObject) -> bool:
        """Return whether an object has been missed for so long that it may wait while others are found."""
        ...

    def searches_panorama(self, item: TrackedObject) -> bool:
        """Return whether ``plan`` would search the panorama for places where an object may be."""
        ...

    def plan_prompt(
        self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect, *, newest: bool
    ) -> PromptView:
        """Return where to look for what is prompted; ``newest``: on the image that was tracked last."""
        ...

    def closer_view(self, prompt: Prompt, view: InputView, logits: Logits) -> InputView | None:
        """Return a better view of what was found (fine logits [h, w]); None where there is none."""
        ...

    def second_looks(
        self, item: TrackedObject, view: InputView, logits: Logits | None, stamp: int
    ) -> list[InputView]:
        """Return better views of an object in the same frame, of which the best answer counts.

        ``view`` answered these fine logits [h, w]; None: the object was not seen.
        """
        ...

    def next_view(self, view: InputView, logits: Logits | None, *, prompted: bool) -> InputView:
        """Return where to look after these fine logits [h, w]; None: the object was not seen."""
        ...


def make_view_planner(model: PanoSAM2, config: TrackerConfig, *, centred: bool = False) -> ViewPlanner:
    """Return the planner of what a network sees; ``centred``: panoramas have their object in the middle."""
    if model.config.regions:
        by_time = config.search_budget > 0
        return RegionPlanner(model, most_searched=config.max_objects if by_time else MAX_SEARCHED_PER_FRAME)
    return CentredPanoramaPlanner(model) if centred else PanoramaPlanner(model, config)


class OneLookPlanner:
    """A part of planners that look at a frame once, for every object: there is no better view."""

    def is_lost(self, item: TrackedObject) -> bool:
        """Return False: no object waits."""
        return False

    def searches_panorama(self, item: TrackedObject) -> bool:
        """Return False: objects are not searched elsewhere."""
        return False

    def closer_view(self, prompt: Prompt, view: InputView, logits: Logits) -> InputView | None:
        """Return None: there is none."""
        return None

    def second_looks(
        self, item: TrackedObject, view: InputView, logits: Logits | None, stamp: int
    ) -> list[InputView]:
        """Return none."""
        return []


class PanoramaPlanner(OneLookPlanner):
    """All objects share one picture of the panorama, rolled where its seam would be in the way."""

    def __init__(self, model: PanoSAM2, config: TrackerConfig) -> None:
        self._stride = model.config.stride
        self._placer = SeamPlacer() if config.seam_placement else None
        self.roll_tokens = 0

    def place_seam(self, bank: MemoryBank) -> int:
        """Move the network's seam away from objects; return the token columns to roll the memory by."""
        if self._placer is None or not len(bank):
            return 0
        seen = (bank.mask_logits > 0).flatten(0, 2).any(0).cpu().numpy()  # stride-4 columns
        tokens = seen.reshape(-1, self._stride // LOW_RES_STRIDE).max(1)
        move = self._placer.roll_tokens(tokens)
        self.roll_tokens = (self.roll_tokens + move) % tokens.size
        return move

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return the panorama for each object."""
        return ViewPlan([PanoramaView(self.roll_tokens)] * len(group.objects))

    def plan_prompt(
        self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect, *, newest: bool
    ) -> PromptView:
        """Return the panorama."""
        return PromptView(PanoramaView(self.roll_tokens), has_last_mask=corrected is not None)

    def next_view(self, view: InputView, logits: Logits | None, *, prompted: bool) -> InputView:
        """Return the panorama."""
        return PanoramaView(self.roll_tokens)


class CentredPanoramaPlanner(OneLookPlanner):
    """Every object has a panorama of its own, with the object in the middle."""

    roll_tokens = 0

    def __init__(self, model: PanoSAM2) -> None:
        self._columns = model.input_size[1] // model.config.stride

    def place_seam(self, bank: MemoryBank) -> int:
        """Return 0: no object lies on its own seam."""
        return 0

    def is_lost(self, item: TrackedObject) -> bool:
        """Return whether an object is lost: its panorama costs as much as one with an object."""
        return item.motion.state is TrackState.LOST

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return panoramas with the predicted directions in the middle."""
        bearings = [item.motion.predict(frame.stamp) or item.motion.bearing for item in group.objects]
        return ViewPlan([self._centred(bearing.direction) for bearing in bearings])

    def plan_prompt(
        self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect, *, newest: bool
    ) -> PromptView:
        """Return the last view of a corrected object, else a panorama with the prompt in the middle."""
        last = corrected.last_view if corrected is not None and newest else None
        if last is not None and last.kind is ViewKind.PANORAMA:
            return PromptView(last, has_last_mask=True)
        direction = (
            prompted_extent(prompt, grid).direction
            if corrected is None
            else corrected.motion.bearing.direction
        )
        return PromptView(self._centred(direction), has_last_mask=False)

    def next_view(self, view: InputView, logits: Logits | None, *, prompted: bool) -> InputView:
        """Return the same panorama; ``plan`` centres it."""
        return view

    def _centred(self, direction: Floats) -> PanoramaView:
        """Return the panorama whose middle column is the token of a direction [3]."""
        column = vector_to_lonlat(direction)[0] / (2 * math.pi) * self._columns
        return PanoramaView(-math.floor(column + 0.5) % self._columns)


class RegionPlanner:
    """Every object has a search region of its own, which goes where its motion predicts it."""

    roll_tokens = 0

    def __init__(self, model: PanoSAM2, *, most_searched: int = MAX_SEARCHED_PER_FRAME) -> None:
        """Take a network, and how many objects are searched elsewhere in a frame at most."""
        self._model, self._size, self._most_searched = model, model.input_size[1], most_searched

    def place_seam(self, bank: MemoryBank) -> int:
        """Return 0: a region has no seam."""
        return 0

    def is_lost(self, item: TrackedObject) -> bool:
        """Return whether an object was missed so often that it is searched elsewhere, too."""
        return _region(item.view).unseen >= SEARCH_AFTER

    def searches_panorama(self, item: TrackedObject) -> bool:
        """Return whether ``plan`` would search the panorama for places where an object may be."""
        region = _region(item.view)
        if not self._model.config.searches_elsewhere or not _is_searched(region):
            return False
        return self._model.matching is None or not SearchAttempt.of(region).is_anywhere

    def plan(self, group: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return predicted regions; for some of the lost objects, regions where they may be."""
        regions = [_predicted_region(item, frame) for item in group.objects]
        lost = [row for row, region in enumerate(regions) if _is_searched(region)]
        if not lost or not self._model.config.searches_elsewhere:
            return ViewPlan([SearchRegionView(region) for region in regions])
        most = self._most_searched
        many = len(lost) > most
        # objects that are lost together come up together
        turn = max(regions[row].unseen for row in lost) // SEARCH_EVERY
        start = -most * turn % len(lost) if many else 0
        chosen = (lost[start:] + lost[:start])[:most]
        visible = [region for region in regions if not region.unseen]
        last = {row: regions[row] for row in chosen}
        directions = directions_to_try(self._model, group.bank, frame, last, visible)
        elsewhere = [row in directions for row in range(len(regions))]
        for row, direction in directions.items():
            regions[row] = searched_region(regions[row], direction)
        views: list[InputView] = [SearchRegionView(region) for region in regions]
        return ViewPlan(views, elsewhere)

    def plan_prompt(
        self, prompt: Prompt, corrected: TrackedObject | None, grid: Equirect, *, newest: bool
    ) -> PromptView:
        """Return the last region where a correction lies well inside it, else one round the prompt."""
        last = corrected.last_view if corrected is not None and newest else None
        if last is not None and self._shows(_region(last), prompt, grid):
            return PromptView(last, has_last_mask=True)
        extent = prompted_extent(prompt, grid)
        if corrected is None or prompt.box is not None or prompt.mask is not None:
            region = SearchRegion.around(extent)
        elif (prompt.point_labels == FOREGROUND).any():
            region = replace(_region(corrected.view).recentred(extent.direction), unseen=0)
        else:  # where the object is not says little about where it is
            region = _region(corrected.view)
        return PromptView(SearchRegionView(region), has_last_mask=False)

    def _shows(self, region: SearchRegion, prompt: Prompt, grid: Equirect) -> bool:
        """Return whether all that a correction points at lies well inside a region."""
        if prompt.mask is not None:
            return False
        places = (region.project(prompted_directions(prompt, grid), self._size) + 0.5) / self._size - 0.5
        return bool((np.abs(places) <= _INNER).all())

    def closer_view(self, prompt: Prompt, view: InputView, logits: Logits) -> InputView | None:
        """Return a region of the found object's size: a click says nothing of it beforehand."""
        known = prompt.corrects or prompt.box is not None or prompt.mask is not None
        if known or not self._model.config.refine_views:
            return None
        extent = _region(view).target(logits > 0)
        return None if extent is None else SearchRegionView(SearchRegion.around(extent))

    def second_looks(
        self, item: TrackedObject, view: InputView, logits: Logits | None, stamp: int
    ) -> list[InputView]:
        """Return a region centred on what was found, or those round the place of what should be there."""
        region = _region(view)
        if logits is not None:
            centred = centred_region(region, logits > 0) if self._model.config.refine_views else None
            return [] if centred is None else [SearchRegionView(centred)]
        if item.motion.state is not TrackState.VISIBLE:
            return []
        bearing = item.motion.predict(stamp)
        predicted = region.axes[2] if bearing is None else bearing.direction
        return [SearchRegionView(other) for other in surrounding_regions(region, predicted)]

    def next_view(self, view: InputView, logits: Logits | None, *, prompted: bool) -> InputView:
        """Return the region that follows what was found."""
        region = _region(view)
        extent = None if logits is None else region.target(logits > 0)
        return SearchRegionView(region.next_region(extent, share=1.0 if prompted else FOLLOWING))


def _region(view: InputView) -> SearchRegion:
    """Return the region of a view; TypeError for a view of the panorama."""
    if not isinstance(view, SearchRegionView):
        raise TypeError(f"this network looks at search regions, got {view}")
    return view.region


def _predicted_region(item: TrackedObject, frame: Frame) -> SearchRegion:
    """Return where to look for an object in a frame if it goes on as it went."""
    region, bearing = _region(item.view), item.motion.predict(frame.stamp)
    if bearing is None:
        return region
    return region.predicted(limited_to_panorama(bearing.direction, frame.grid.vertical_fov))


def _is_searched(region: SearchRegion) -> bool:
    """Return whether an object is searched elsewhere in this frame."""
    return region.unseen >= SEARCH_AFTER and (region.unseen - SEARCH_AFTER) % SEARCH_EVERY == 0
