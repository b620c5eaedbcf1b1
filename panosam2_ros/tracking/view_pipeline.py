"""Everything that finds objects in views of one kind: network, planner, encoder and prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from scipy.special import expit
from torch import Tensor

from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.colour_trust import note_vetoes, outdated_colours
from panosam2_ros.tracking.competition import Settled, claims_of, settled_masks
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.mask_cleaning import MaskCleaner
from panosam2_ros.tracking.object_group import ObjectBatch
from panosam2_ros.tracking.panorama_border import cut_to_panorama, reaches_border
from panosam2_ros.tracking.prompting import PromptBatch, PromptSegmenter
from panosam2_ros.tracking.propagation import empty_bank, propagate, remember_instead
from panosam2_ros.tracking.propagation_result import PropagationResult
from panosam2_ros.tracking.recreation import due_rows, recreated
from panosam2_ros.tracking.search_budget import LostObject, SearchBudget, ViewCosts
from panosam2_ros.tracking.step_graphs import CudaGraphs, StepCall, StepGraphs, bucket_of
from panosam2_ros.tracking.step_inputs import StepInputs, source_of
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.track_update import Sighting
from panosam2_ros.tracking.view import InputView, NetworkInput, ViewKind, reaches
from panosam2_ros.tracking.view_encoder import ViewEncoder, is_shared
from panosam2_ros.tracking.view_planner import ViewPlan, ViewPlanner
from panosam2_ros.tracking.view_refinement import MOST_PASSES, Look, best_looks, fewer_looks


@dataclass(frozen=True, eq=False)
class FrameTask:
    """Objects that are to be found in a frame."""

    batch: ObjectBatch
    frame: Frame
    outdated: Sequence[bool]  # for each object, whether its remembered colours do not count
    known: Tensor  # [M, C] what all objects look like, also those that are not of the batch

    def select(self, rows: list[int]) -> FrameTask:
        """Return the task of some objects, in this order; one may come several times."""
        return replace(self, batch=self.batch.select(rows), outdated=[self.outdated[row] for row in rows])


class ViewPipeline:
    """Finds objects in views of one kind; keeps nothing of objects."""

    def __init__(
        self,
        model: PanoSAM2,
        config: TrackerConfig,
        batcher: AdaptiveBatcher,
        planner: ViewPlanner,
        budget: SearchBudget,
    ) -> None:
        """Take the network and the planner of that kind of view, and the time of a frame for lost objects."""
        self.model, self.planner, self._batcher = model, planner, batcher
        self._budget = budget
        self.network = NetworkInput.of(model, config.vertical_fov)
        self._cleaner = MaskCleaner(config.cleanup, self.network, model.config)
        self._encoder = ViewEncoder(model, self.network, batcher)
        self.recreations = 0  # how often an object's maps were made anew
        on_gpu = model.device.type == "cuda" and config.cuda_graphs
        self._graphs = StepGraphs(self._step, CudaGraphs()) if on_gpu else None
        self._costs = ViewCosts(bucket_of if on_gpu else int)
        self.segmenter = PromptSegmenter(model, self.network, self.planner, self._encoder)

    @property
    def kind(self) -> ViewKind:
        """What the network sees."""
        return ViewKind.REGION if self.model.config.regions else ViewKind.PANORAMA

    def empty_batch(self, count: int = 0) -> ObjectBatch:
        """Return a batch without objects, and ``count`` rows of empty memory."""
        return ObjectBatch([], empty_bank(self.model, count))

    def prepare(self, batch: ObjectBatch, frame: Frame) -> None:
        """Derive from a frame what the views of a batch's objects will probably need."""
        self._encoder.prepare(frame, [item.view for item in batch.objects])

    def track(self, batch: ObjectBatch, frame: Frame, *, relit: bool) -> list[Sighting]:
        """Find a batch's objects in a frame, and remember it.

        ``relit``: the light of the frame differs from that of the frame before.
        """
        rows, known = self._turns(batch), batch.bank.appearance
        if len(rows) == len(batch.objects):
            return self._track(batch, frame, known, relit=relit)
        if not rows:
            return []
        chosen = batch.select(rows)
        found = self._track(chosen, frame, known, relit=relit)
        batch.put(rows, chosen)
        return found

    def _turns(self, batch: ObjectBatch) -> list[int]:
        """Return the rows of objects for which there is time in this frame; note that the others wait."""
        if not self._budget.is_limited:
            return list(range(len(batch.objects)))
        lost = [
            LostObject(row, item.turn, item.waited, self.planner.searches_panorama(item))
            for row, item in enumerate(batch.objects)
            if self.planner.is_lost(item)
        ]
        chosen = self._budget.choose(lost, len(batch.objects) - len(lost), self._costs)
        for row in chosen:
            batch.objects[row].turn = self._budget.next_turn()
        waiting = {each.row for each in lost}.difference(chosen)
        for row, item in enumerate(batch.objects):
            item.waited = item.waited + 1 if row in waiting else 0
        return [row for row in range(len(batch.objects)) if row not in waiting]

    def _track(self, batch: ObjectBatch, frame: Frame, known: Tensor, *, relit: bool) -> list[Sighting]:
        """Find all objects of a batch; ``known`` [M, C]: what all objects look like."""
        plan = self._planned(batch, frame)
        self._recreate(batch, plan, frame.stamp)
        outdated = outdated_colours(batch.objects, frame.stamp, relit=relit)
        task = FrameTask(batch, frame, outdated, known)
        result = self._timed(task, plan)
        note_vetoes(batch.objects, result.host, plan.away, frame.stamp)
        views, result = self._looked_again(task, plan, result)
        claims = claims_of(batch.objects, views, result.host, frame.stamp)
        # what was found elsewhere and is not the object stays so, whatever others leave of it
        settled = settled_masks(
            [
                None if away and claim is not None and claim.vetoed else claim
                for claim, away in zip(claims, plan.away, strict=True)
            ]
        )
        result = self._settled(batch, frame, views, result, settled)
        result = self._cleaner.clean(batch.objects, views, result, frame.stamp)
        batch.bank = result.bank
        return self.sightings(batch.objects, views, result, settled)

    def _planned(self, batch: ObjectBatch, frame: Frame) -> ViewPlan:
        """Return where to look for objects; note what it cost to search the panorama for places."""
        searches = any(self.planner.searches_panorama(item) for item in batch.objects)
        began = self._budget.clock()
        plan = self.planner.plan(batch, frame)
        if searches:
            self._costs.add_search(self._budget.clock() - began)
        return plan

    def _timed(self, task: FrameTask, plan: ViewPlan) -> PropagationResult:
        """Find objects; note what that cost, to the answer on the CPU."""
        began = self._budget.clock()
        result = self._propagate(task, plan)
        result = result.answered(result.host)
        self._costs.add_views(len(plan.views), self._budget.clock() - began)
        return result

    def _recreate(self, batch: ObjectBatch, plan: ViewPlan, stamp: int) -> None:
        """Make maps of prompts and anchors anew where the network keeps their pixels and it is time to."""
        if not batch.bank.rules.keyframes:
            return
        reach = reaches(plan.views, self.model.device)
        rows = due_rows(batch.objects, batch.bank, reach, stamp)
        if not rows:
            return
        chosen, order = torch.tensor(rows), torch.arange(len(batch.bank))
        order[chosen] = len(batch.bank) + torch.arange(len(rows))
        with self.model.precision():
            anew = recreated(self.model, batch.bank.select(chosen.to(reach.device)), reach[chosen])
        batch.bank = batch.bank.append(anew).select(order.to(reach.device))
        self.recreations += len(rows)

    def _looked_again(
        self, task: FrameTask, plan: ViewPlan, result: PropagationResult
    ) -> tuple[list[InputView], PropagationResult]:
        """Look once more, a few times at most, where the planner knows a better view of the frame.

        Returns the views in which objects were found, or first looked for, and what was found there.
        """
        views = list(plan.views)
        rows = [row for row, searched in enumerate(plan.away) if not searched]
        for _ in range(MOST_PASSES):
            looks: list[Look] = []
            for row, logits in zip(rows, result.host.found(rows), strict=True):
                better = self.planner.second_looks(
                    task.batch.objects[row], views[row], logits, task.frame.stamp
                )
                looks += [Look(row, view, missed=logits is None) for view in better]
            if self._budget.is_limited:
                looks = self._in_time(looks)
            if not looks:
                break
            again = self._propagate_looks(task, looks)
            best = best_looks(looks, again.host)
            views = [looks[best[row]].view if row in best else view for row, view in enumerate(views)]
            result, rows = result.replaced(best, again), list(best)
        return views, result

    def _in_time(self, looks: list[Look]) -> list[Look]:
        """Return the looks for which there is time; those at what was found belong to the step itself."""
        missed = sum(look.missed for look in looks)
        return fewer_looks(looks, self._budget.affordable(missed, len(looks) - missed, self._costs))

    def _settled(
        self,
        batch: ObjectBatch,
        frame: Frame,
        views: Sequence[InputView],
        result: PropagationResult,
        settled: Mapping[int, Settled],
    ) -> PropagationResult:
        """Give pixels that several masks claim to one object each.

        The masks that are left are remembered, except by networks that are to answer as SAM2.
        """
        masks = {row: own.logits for row, own in settled.items()}
        if not masks or not self.model.config.remember_settled:
            return result.answered(result.host.with_masks(masks))
        rows = list(masks)
        changed = result.select(rows).with_masks(list(masks.values()), self.model.config.mask_stride)
        changed = self._remembered(batch.select(rows).bank, frame, [views[row] for row in rows], changed)
        return result.replaced({row: k for k, row in enumerate(rows)}, changed)

    def _remembered(
        self, before: MemoryBank, frame: Frame, views: Sequence[InputView], found: PropagationResult
    ) -> PropagationResult:
        """Return what was found of objects, which is remembered now instead of what the network found."""

        def part(rows: slice) -> PropagationResult:
            features = self._encoder.encode(frame, views[rows])
            reach = reaches(views[rows], self.model.device)
            own = before.select(rows), features, found.select(rows)
            with self.model.precision():
                return remember_instead(self.model, *own, reach=reach, stamp=frame.stamp)

        return PropagationResult.concatenated(self._batcher.run(part, len(views)))

    def _propagate_looks(self, task: FrameTask, looks: Sequence[Look]) -> PropagationResult:
        """Find objects in other views, each a row of the result; where one was missed, with more doubt."""
        plan = ViewPlan([look.view for look in looks], [look.missed for look in looks])
        return self._timed(task.select([look.row for look in looks]), plan)

    def remembered_again(
        self, item: TrackedObject, mask: MaskArray, frame: Frame, old: ObjectBatch
    ) -> ObjectBatch:
        """Return an object with the memory of this kind of view, made of its mask [H, W] in a frame.

        Maps of other views say nothing here; of the memory ``old`` the pointers and colours stay.
        """
        segmented = self.segmenter.segment(
            frame, PromptBatch([Prompt(mask=mask)], [None], self.empty_batch(1).bank), newest=False
        )
        item.view = item.last_view = segmented.views[0]
        return ObjectBatch([item], segmented.result.bank.with_pointers_of(old.bank))

    def sightings(
        self,
        objects: Sequence[TrackedObject],
        views: Sequence[InputView],
        result: PropagationResult,
        settled: Mapping[int, Settled] = MappingProxyType({}),
    ) -> list[Sighting]:
        """Return what was found of each object; ``settled``: by row, of masks that lost pixels to others."""
        answer, found = result.host, []
        scores, ious = expit(answer.scores).tolist(), answer.ious.tolist()
        for row, (item, view) in enumerate(zip(objects, views, strict=True)):
            whole = row not in settled or settled[row].whole
            whole = whole and not reaches_border(view, answer.logits[row], self.network)
            measured = (answer.logits[row], scores[row], ious[row], whole)
            found.append(Sighting(item, view, *measured, self.network, self.planner))
        return found

    def _propagate(self, task: FrameTask, plan: ViewPlan) -> PropagationResult:
        """Find objects, in as many parts as memory asks for."""
        network, device, frame = self.network, self.model.device, task.frame

        def part(rows: slice) -> PropagationResult:
            views, elsewhere = plan.views[rows], plan.away[rows]
            inputs = StepInputs.of(
                frame, views, network, device, elsewhere=elsewhere, outdated=task.outdated[rows]
            )
            bank = task.batch.bank.select(rows)
            if not network.on_device or is_shared(views):
                features = self._encoder.encode(frame, views)
                return found_with(self.model, bank, features, inputs, task.known, search=any(elsewhere))
            call = StepCall(source_of(frame, views, network, device), task.known, inputs, bank)
            return self._step(call) if self._graphs is None else self._graphs.run(call)

        result = PropagationResult.concatenated(self._batcher.run(part, len(task.batch.bank)))
        return cut_to_panorama(result, plan.views, network)

    def _step(self, call: StepCall) -> PropagationResult:
        """Find objects in views that are sampled on the network's device."""
        pixels = call.inputs.pixels(call.source, self.network)
        with self.model.precision():
            features = self.model.encode_image(pixels)
        return found_with(self.model, call.bank, features, call.inputs, call.known, search=True)

    def place_seam(self, batches: Sequence[ObjectBatch], live: ObjectBatch) -> None:
        """Roll what is remembered together with the network's view, so that its seam avoids live objects."""
        if tokens := self.planner.place_seam(live.bank):
            for batch in batches:
                batch.bank = batch.bank.rolled(tokens)


def found_with(
    model: PanoSAM2,
    bank: MemoryBank,
    features: ImageFeatures,
    inputs: StepInputs,
    known: Tensor,  # [M, C] what all objects look like
    *,
    search: bool,  # whether any object may be searched in another place
) -> PropagationResult:
    """Find the objects of ``bank`` in what a network saw of their views."""
    elsewhere = inputs.elsewhere if search else None
    with model.precision():
        return propagate(
            model,
            bank,
            features,
            use_previous=None if elsewhere is None else ~elsewhere,
            elsewhere=elsewhere,
            outdated=inputs.outdated,
            known=known,
            reach=inputs.reach,
            stamp=inputs.stamp,
        )
