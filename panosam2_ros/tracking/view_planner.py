"""Networks that see a search region of each object: where those lie, and lost objects' new ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from panosam2_ros.geometry.circular import fit_image, reference_column
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.search_region import FOLLOWING, PATCH, UNKNOWN_SIZE, SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.cleanup import ExpectedPlace
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.colour_histogram import colour_bins, colour_evidence
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import FOREGROUND
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import DENSE_LOGIT, EncodedPrompts, ImageSize, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.redetection import MAX_SEARCHED_PER_FRAME, MIN_LOG_RATIO, rank_candidates
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import Look, View

_INNER = 0.4  # of a region's side from its middle: a correction farther out gets a region of its own
SEARCHED = 256  # columns of the panorama in which colours are looked for
MISSING = 3  # frames without an object, after which it is looked for elsewhere, ...
SEARCH_EVERY = 2  # ... in every second frame; in the others where it was
_SIDE = 33  # points on each side of a box, which is no box any more in a region


class SearchRegions:
    """Every object has a picture of its own."""

    turn = 0

    def __init__(self, model: PanoSAM2, config: TrackerConfig) -> None:
        self._model, self._fov = model, config.vertical_fov
        self._newest: tuple[ImageArray, ImagePyramid] | None = None

    def steer(self, bank: MemoryBank) -> int:
        return 0

    def look(self, image: ImageArray, newest: bool = False) -> Look:
        known = self._newest is not None and self._newest[0] is image
        pyramid = self._newest[1] if known and self._newest else ImagePyramid(image)
        if newest:
            self._newest = (image, pyramid)
        return lambda views: self._encoded(pyramid, views)

    def _encoded(self, pyramid: ImagePyramid, views: Sequence[View]) -> ImageFeatures:
        regions = [view.pixels(pyramid, self._size, self._fov) for view in views if view is not None]
        pixels = torch.from_numpy(np.stack(regions)).permute(0, 3, 1, 2).to(self._model.device)
        with self._model.precision():
            return self._model.encode_image(pixels)

    @property
    def _size(self) -> int:
        return self._model.input_size[1]

    def searched(
        self, image: ImageArray, stamp: int, known: Sequence[TrackedObject], bank: MemoryBank
    ) -> tuple[list[View], torch.Tensor | None]:
        views = [_ahead(item, stamp) for item in known]
        lost = [row for row, view in enumerate(views) if view is not None and _is_lost(view)]
        if not lost or not self._model.config.colour_search:
            return views, None
        start = (
            -MAX_SEARCHED_PER_FRAME * int(bank.frame.max()) % len(lost)
            if len(lost) > MAX_SEARCHED_PER_FRAME
            else 0
        )
        chosen = (lost[start:] + lost[:start])[:MAX_SEARCHED_PER_FRAME]
        in_sight = [view for view in views if view is not None and not view.unseen]
        bank, own = bank.select(torch.tensor(chosen)), [views[row] for row in chosen]
        places = self._likely_places(image, bank, own, in_sight)
        elsewhere = torch.zeros(len(known), dtype=torch.bool)
        for row, place in zip(chosen, places, strict=True):
            view = views[row]
            if place is not None and view is not None:
                views[row], elsewhere[row] = replace(view.recentred(place), unseen=0), True
        return views, elsewhere.to(self._model.device)

    def _likely_places(
        self, image: ImageArray, lost: MemoryBank, views: Sequence[View], in_sight: Sequence[SearchRegion]
    ) -> list[Floats | None]:
        """A direction for each lost object in which its colours are; another one in every try."""
        grid = Equirect(image.shape[1], image.shape[0], self._fov).of_width(SEARCHED)
        first = reference_column(image)
        turn = rotation_matrix([0.0, first / image.shape[1] * 2 * math.pi, 0.0])  # undoes the roll
        in_sight = [replace(view, axes=view.axes @ turn) for view in in_sight]
        pixels = fit_image(np.roll(image, -first, 1), 2 * grid.height, 2 * grid.width).to(self._model.device)
        bins = colour_bins(pixels, 2)
        free = colour_evidence(bins, lost.colours).masked_fill(self._taken(grid, in_sight), -MIN_LOG_RATIO)
        found: list[Floats | None] = []
        for view, evidence, colours in zip(views, free, lost.colours, strict=True):
            assert view is not None
            parts = rank_candidates(bins, evidence, colours, math.pi / 4 * view.diameter**2, self._fov)
            part = parts[view.unseen // SEARCH_EVERY % len(parts), 0].cpu().numpy() > 0
            target = TargetExtent.of_mask(part, grid)
            found.append(None if target is None else turn @ target.direction)
        return found

    def _taken(self, grid: Equirect, in_sight: Sequence[SearchRegion]) -> torch.Tensor:
        """[1, h, w] bool: where objects are that are in sight."""
        taken, pixel = np.zeros((grid.height, grid.width), bool), 2 * math.pi / grid.width
        for view in in_sight:
            forward = grid.rotated_vectors(view.axes)[2]
            taken |= forward > math.cos(view.diameter / 2 + pixel)
        return torch.from_numpy(taken)[None].to(self._model.device)

    def views(
        self, prompts: Sequence[Prompt], known: Sequence[TrackedObject | None], grid: Equirect, newest: bool
    ) -> list[View]:
        return [self._view(*one, grid, newest) for one in zip(prompts, known, strict=True)]

    def _view(self, prompt: Prompt, known: TrackedObject | None, grid: Equirect, newest: bool) -> View:
        seen = known.seen_in if known is not None and newest else None
        if seen is not None and self._shows(seen, prompt, grid):
            return seen
        target = _target(prompt, grid)
        if known is None or known.view is None:
            return SearchRegion.around(target)
        if prompt.box is not None or prompt.mask is not None:
            return SearchRegion.around(target)
        if (prompt.point_labels == FOREGROUND).any():
            return replace(known.view.recentred(target.direction), unseen=0)
        return known.view  # where it is not says little about where it is

    def _shows(self, seen: SearchRegion, prompt: Prompt, grid: Equirect) -> bool:
        """Whether all that a correction points at lies well inside a region."""
        if prompt.mask is not None:
            return False
        places = (seen.project(_pointed(prompt, grid), self._size) + 0.5) / self._size - 0.5
        return bool((np.abs(places) <= _INNER).all())

    def closer(self, prompts: Sequence[Prompt], views: Sequence[View], found: Sequence[Logits]) -> list[View]:
        return [self._closer(*one) for one in zip(prompts, views, found, strict=True)]

    def _closer(self, prompt: Prompt, view: View, logits: Logits) -> View:
        """The size of what is clicked at is known only when it was found."""
        corrects = prompt.obj_id and not prompt.replace
        if view is None or corrects or prompt.box is not None or prompt.mask is not None:
            return view
        target = view.target(logits > 0)
        return view if target is None else SearchRegion.around(target)

    def encode(
        self,
        prompts: Sequence[Prompt],
        views: Sequence[View],
        grid: Equirect,
        known: Sequence[TrackedObject | None],
        masks: torch.Tensor | None,
    ) -> EncodedPrompts:
        own = [self._inside(*one, grid) for one in zip(prompts, views, strict=True)]
        if masks is not None:  # what was seen in another region says nothing in this one
            pairs = zip(known, views, strict=True)
            same = [item is not None and item.seen_in is view for item, view in pairs]
            masks = masks.where(torch.tensor(same).view(-1, 1, 1, 1).to(masks.device), -DENSE_LOGIT)
        size = ImageSize(self._size, self._size)
        return PromptEncoder(size, self._model.input_size, self._model.config).encode(own, masks)

    def _inside(self, prompt: Prompt, view: View, grid: Equirect) -> Prompt:
        """The same prompt in pixel indices of a region."""
        assert view is not None
        if prompt.mask is not None:
            return replace(prompt, mask=view.mask(prompt.mask, self._size, self._fov))
        edge = self._size - 0.501
        points, box = prompt.points, None
        if len(points):
            points = view.project(grid.pixel_to_vector(*points.T), self._size).clip(-0.5, edge)
        if prompt.box is not None:
            places = view.project(_outline(prompt.box, grid), self._size).clip(-0.5, edge)
            box = (*places.min(0).tolist(), *places.max(0).tolist())
        return replace(prompt, points=points, box=box)

    def expected(self, known: Sequence[TrackedObject], stamp: int) -> list[ExpectedPlace | None]:
        return [None] * len(known)

    def shown(self, logits: Logits, view: View) -> Logits | MaskPatch | None:
        assert view is not None
        return view.patch(logits, self._model.config.outline_size or PATCH, self._fov)

    def next_region(self, view: View, logits: Logits | None, prompted: bool = False) -> View:
        assert view is not None
        target = None if logits is None else view.target(logits > 0)
        return view.next_region(target, 1.0 if prompted else FOLLOWING)


def _ahead(item: TrackedObject, stamp: int) -> View:
    """Where an object is looked for at ``stamp`` (ns) if it goes on as it went."""
    expected = None if item.view is None else item.motion.expected(stamp)
    return item.view if item.view is None or expected is None else item.view.predicted(expected.direction)


def _is_lost(view: SearchRegion) -> bool:
    """Whether an object is looked for elsewhere in this frame."""
    return view.unseen >= MISSING and (view.unseen - MISSING) % SEARCH_EVERY == 0


def _outline(box: tuple[float, float, float, float], grid: Equirect) -> Floats:
    """Directions [N, 3] along the sides of a box, the level ones first."""
    u_min, v_min, u_max, v_max = box
    at = np.linspace(0, 1, _SIDE)
    u, v = u_min + at * box_width(u_min, u_max, grid.width), v_min + at * (v_max - v_min)
    ones = np.ones_like(at)
    sides = [(u, v_min * ones), (u, v_max * ones), (u_min * ones, v), (u[-1] * ones, v)]
    return np.concatenate([grid.pixel_to_vector(*side) for side in sides])


def _extent(box: tuple[float, float, float, float], grid: Equirect) -> Floats:
    """Directions [N, 3] that lie as far apart as what fits into a box: near the poles its corners are empty.

    Of a box round a pole its lower or upper side is all that says how far its object reaches.
    """
    u_min, v_min, u_max, v_max = box
    wide = box_width(u_min, u_max, grid.width)
    if wide > grid.width / 2:
        return _outline(box, grid)[: 2 * _SIDE]
    u, v = u_min + wide / 2, (v_min + v_max) / 2
    return grid.pixel_to_vector(np.array([u, u, u_min, u_min + wide]), np.array([v_min, v_max, v, v]))


def _pointed(prompt: Prompt, grid: Equirect) -> Floats:
    """Directions [N, 3] of all that a prompt without a mask points at."""
    parts = [grid.pixel_to_vector(*prompt.points.T)] if len(prompt.points) else []
    return np.concatenate([*parts, *([_outline(prompt.box, grid)] if prompt.box is not None else [])])


def _target(prompt: Prompt, grid: Equirect) -> TargetExtent:
    """Where what is prompted is; what is only clicked at has a size of which nothing is known."""
    if prompt.mask is not None:
        found = TargetExtent.of_mask(prompt.mask, grid)
        assert found is not None  # a checked mask is not empty
        return found
    if prompt.box is not None:
        vectors = _extent(prompt.box, grid)
        return TargetExtent.of_directions(vectors, np.ones(len(vectors)))
    on = prompt.point_labels == FOREGROUND
    vectors = grid.pixel_to_vector(*prompt.points[on if on.any() else slice(None)].T)
    found = TargetExtent.of_directions(vectors, np.ones(len(vectors)))
    return TargetExtent(found.direction, max(found.diameter, UNKNOWN_SIZE), max(found.longest, UNKNOWN_SIZE))
