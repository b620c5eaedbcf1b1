"""Segments prompted objects: where to look for them, a closer look, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import group_by_point_count
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.prompts.validation import ValidatedPrompts
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.closer_look import CloserLook
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.panorama_border import cut_to_panorama
from panosam2_ros.tracking.propagation import remember_prompted, segment_prompts
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.track import PromptOutcome, TrackedObject
from panosam2_ros.tracking.view import (
    InputView,
    NetworkInput,
    SearchRegionView,
    ViewKind,
    masks_agree,
    reaches,
)
from panosam2_ros.tracking.view_encoder import ViewEncoder, encode_prompts
from panosam2_ros.tracking.view_planner import PromptView, ViewPlanner


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Checked prompts that the network segments together: all new objects, or all corrections."""

    prompts: Sequence[Prompt]
    corrected: Sequence[TrackedObject | None]  # the objects that are corrected; None for new ones
    bank: MemoryBank  # of those objects; empty rows for new ones

    @property
    def corrects(self) -> bool:
        """Whether these are corrections."""
        return any(item is not None for item in self.corrected)


@dataclass(frozen=True, eq=False)
class SegmentedPrompts:
    """What a network found of prompts."""

    prompts: Sequence[Prompt]
    views: list[InputView]  # in which each object was found
    result: PropagationResult

    def found_rows(self) -> list[int]:
        """Return the prompts of which anything was found; what a mask shows need not be found."""
        found = (self.result.mask_logits > 0).flatten(1).any(1).tolist()
        return [i for i, prompt in enumerate(self.prompts) if found[i] or prompt.mask is not None]


class PromptSegmenter:
    """Segments prompts in a frame; keeps nothing of objects."""

    def __init__(
        self, model: PanoSAM2, network: NetworkInput, planner: ViewPlanner, encoder: ViewEncoder
    ) -> None:
        self._model, self._network, self._planner, self._encoder = model, network, planner, encoder
        self._closer = None if model.prompt_head is None else CloserLook(model, network)

    def segment(self, frame: Frame, batch: PromptBatch, *, newest: bool) -> SegmentedPrompts:
        """Segment prompts; once more in a closer view where what was found says where that is.

        ``newest``: the frame is the one that was tracked last.
        """
        pairs = zip(batch.prompts, batch.corrected, strict=True)
        views = [self._planner.plan_prompt(*pair, frame.grid, newest=newest) for pair in pairs]
        result = self._segmented(frame, batch, views)
        logits = result.host.logits
        closer = [
            self._planner.closer_view(prompt, view.view, np.asarray(own))
            for prompt, view, own in zip(batch.prompts, views, logits, strict=True)
        ]
        if any(view is not None for view in closer):
            views = [
                planned if view is None else PromptView(view, has_last_mask=False)
                for planned, view in zip(views, closer, strict=True)
            ]
            result = self._segmented(frame, batch, views)
        shown = [view.view for view in views]
        if self._closer is not None:
            masks = self._closer.masks(frame, batch.prompts, shown, result.host.logits)
            result = self._remembered(frame, batch, shown, result, masks)
        if self._model.config.forget_wrong and batch.corrects and newest:
            wrong = _was_wrong(batch, shown, result)
            result = replace(result, bank=result.bank.without_learned(wrong.to(self._model.device)))
        return SegmentedPrompts(batch.prompts, shown, result)

    def _remembered(
        self,
        frame: Frame,
        batch: PromptBatch,
        views: Sequence[InputView],
        result: PropagationResult,
        masks: Mapping[int, Logits],
    ) -> PropagationResult:
        """Return the result with other masks, fine logits by row, in the place of what was found."""
        if not masks:
            return result
        rows, shown = list(masks), [views[row] for row in masks]
        changed = result.select(rows).with_masks(list(masks.values()), self._model.config.mask_stride)
        features = self._encoder.encode(frame, shown)
        reach = reaches(shown, self._model.device)
        before = batch.bank.select(torch.tensor(rows, device=reach.device))
        with self._model.precision():
            changed = remember_prompted(
                self._model, before, features, changed, reach=reach, stamp=frame.stamp
            )
        return result.replaced({row: k for k, row in enumerate(rows)}, changed)

    def _segmented(
        self,
        frame: Frame,
        batch: PromptBatch,
        views: Sequence[PromptView],
    ) -> PropagationResult:
        """Segment prompts in these views, once."""
        masks = batch.bank.mask_logits if batch.corrects else None
        encoded = encode_prompts(
            self._model, self._network, batch.prompts, views, frame.grid, last_masks=masks
        )
        features = self._encoder.encode(frame, [view.view for view in views])
        with self._model.precision():
            result = segment_prompts(
                self._model,
                batch.bank,
                features,
                encoded,
                corrects=batch.corrects,
                reach=reaches([view.view for view in views], self._model.device),
                stamp=frame.stamp,
            )
        return cut_to_panorama(result, [view.view for view in views], self._network)


def _was_wrong(batch: PromptBatch, views: Sequence[InputView], result: PropagationResult) -> Tensor:
    """Return which corrected objects, [N] bool, had a mask in the same frame that shows something else."""
    found, last = (x[:, 0].float().cpu().numpy() for x in (result.mask_logits, batch.bank.mask_logits))
    each = zip(batch.corrected, views, found, last, strict=True)
    return torch.tensor([_is_other_mask(item, view, own > 0, before) for item, view, own, before in each])


def _is_other_mask(item: TrackedObject | None, view: InputView, found: MaskArray, last: Logits) -> bool:
    """Return whether an object's mask [h, w] in a view overlaps little with its last one.

    ``last`` [h, w] are the logits of the last mask in the object's last view. An object that was not seen
    has no mask that could be wrong; panoramas compare where they are rolled alike.
    """
    if item is None or item.motion.state is not TrackState.VISIBLE or item.last_view is None:
        return False
    before = last > 0
    if isinstance(view, SearchRegionView) and isinstance(item.last_view, SearchRegionView):
        before = item.last_view.region.shown_in(view.region, last) > 0
    elif view != item.last_view:
        return False
    return not masks_agree(found, before)


def batches(
    checked: ValidatedPrompts, prompts: Sequence[Prompt], kinds: Mapping[int, ViewKind]
) -> list[list[int]]:
    """Return indices of accepted prompts that can be segmented together, those of new objects first.

    ``kinds``: the kind of view in which each accepted prompt is segmented, by index.
    """
    return [
        batch
        for indices in (checked.new, checked.corrections)
        for kind in ViewKind
        for batch in group_by_point_count([i for i in indices if kinds[i] is kind], prompts)
    ]


def answer(
    indices: Sequence[int],
    apply: Callable[[Sequence[int]], list[PromptOutcome]],
    batcher: AdaptiveBatcher,
    outcomes: dict[int, PromptOutcome],
) -> None:
    """Apply prompts in as many batches as memory asks for; add their outcomes.

    What is raised after other prompts took effect becomes the outcome of the rest, since the caller has to
    learn of both.
    """

    def some(rows: slice) -> None:
        outcomes.update(zip(indices[rows], apply(indices[rows]), strict=True))

    try:
        batcher.run(some, len(indices))
    except Exception as error:
        if not any(outcome.success for outcome in outcomes.values()):
            raise
        failed = PromptOutcome(PromptStatus.INTERNAL, f"{type(error).__name__}: {error}")
        outcomes.update({i: failed for i in indices if i not in outcomes})
