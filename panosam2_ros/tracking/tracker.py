"""PanoTracker: the core's only state. One verb for a stream, ``step``; prompts, removal, reset.

An object has an id for ever (``obj_id``) and a row of the memory bank for now (``obj_idx``).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.memory.memory_file import NetworkIdentity, TrackerSnapshot
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import group_by_point_count
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.prompts.validation import Admission
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import BearingMotionModel
from panosam2_ros.tracking.object_group import ObjectGroup, merge
from panosam2_ros.tracking.propagation import PropagationResult, empty_bank, propagate, segment_prompts
from panosam2_ros.tracking.track import NOTHING_FOUND, PromptOutcome, Track, TrackedFrame, TrackedObject
from panosam2_ros.tracking.track_update import TrackUpdater
from panosam2_ros.tracking.view import Look, Sight, View, WholePanorama
from panosam2_ros.tracking.view_planner import SearchRegions


class PanoTracker:
    """Tracks prompted objects through a stream of panoramas.

    Not thread safe: one thread calls it, always the same.
    """

    def __init__(self, model: PanoSAM2, config: TrackerConfig | None = None) -> None:
        self.model, self.config = model, config or TrackerConfig()
        self.epoch = 0  # counts up at reset; ids are unique within one
        self._known: list[TrackedObject] = []  # in the order of the memory bank's rows and of ids
        self._bank: MemoryBank = empty_bank(model, 0)
        self._next_id = 1
        self.thrift = AdaptiveBatcher()
        self._sight: Sight = (
            SearchRegions(model, self.config)
            if model.config.regions
            else WholePanorama(model, self.config, self.thrift)
        )
        self._observer = TrackUpdater(self._sight, self.config, model.config)
        self._camera = RotationEstimator(self.config.vertical_fov)
        self._newest: ImageArray | None = None
        self._stamp: int | None = None  # ns, of the newest image
        self._behind: list[ObjectGroup] = []  # objects that were prompted on older images, oldest first

    @property
    def max_objects(self) -> int:
        return self.config.max_objects

    @property
    def memory_mib(self) -> float:
        """Size of all objects' memories, MiB."""
        return self._bank.nbytes / 2**20

    def tracks(self) -> tuple[Track, ...]:
        """Every known object as of the newest image, ordered by id."""
        found = {track.obj_id: track for late in self._behind for track in late.tracks()}
        found |= {known.obj_id: known.track() for known in self._known}
        return tuple(found[obj_id] for obj_id in sorted(found))

    @torch.inference_mode()
    def step(self, image: ImageArray, stamp: int) -> TrackedFrame:
        """Find every known object in the next image.

        ``image`` is RGB [H, W, 3]; ``stamp`` is in nanoseconds. Raises ValueError for an image
        that is not a panorama; nothing is forgotten then.
        """
        grid = self._grid(image)
        self._steer()
        look = self._sight.look(image, newest=True)
        self._turn(self._known, self._camera, image)
        self._newest, self._stamp = image, stamp
        if not self._known:
            return TrackedFrame(stamp, self._observer.nothing(grid), self.tracks())
        with self.model.precision():
            result, views = self._propagate(self._known, self._bank, look, image, stamp)
            result = self._observer.tidied(self._known, result, stamp)
        self._bank = result.bank
        labels = self._observer.observe(self._known, views, result, image, stamp)
        return TrackedFrame(stamp, labels, self.tracks())

    @torch.inference_mode()
    def prompt(self, image: ImageArray, stamp: int, prompts: Sequence[Prompt]) -> list[PromptOutcome]:
        """Add or correct objects by pointing at them in an image; one outcome per prompt.

        Bad prompts are refused one by one, with the reason; the others take effect.
        """
        grid = self._grid(image)
        current = {known.obj_id for known in self._known}
        late = {known.obj_id for behind in self._behind for known in behind.known}
        state = Admission(frozenset(current), frozenset(late), self._next_id, self.config.max_objects)
        fresh, refine, refused = state.sorted(prompts, grid)
        outcomes = {i: PromptOutcome(error.status, str(error), None) for i, error in refused.items()}
        if fresh or refine:
            if self._newest is not image and not self._is_late(stamp):
                self._turn(self._known, self._camera, image)
            look, newest = self._sight.look(image), self._newest is image
            for indices, remembered in ((fresh, False), (refine, True)):
                for group in group_by_point_count(indices, prompts):
                    chosen = [prompts[i] for i in group]
                    apply = partial(self._apply, chosen, remembered, look, image, stamp, newest)
                    self._answered(group, apply, outcomes)
        return [outcomes[i] for i in range(len(prompts))]

    def _answered(
        self,
        group: Sequence[int],
        apply: Callable[[slice], list[PromptOutcome]],
        outcomes: dict[int, PromptOutcome],
    ) -> None:
        """Adds the outcomes of a group of prompts.

        What is raised after others took effect is the outcome of the rest: the caller has to learn of both.
        """

        def some(piece: slice) -> None:
            outcomes.update(zip(group[piece], apply(piece), strict=True))

        try:
            self.thrift.pieces(some, len(group))
        except Exception as error:
            if not any(outcome.success for outcome in outcomes.values()):
                raise
            failed = PromptOutcome(PromptStatus.INTERNAL, f"{type(error).__name__}: {error}", None)
            outcomes.update({i: failed for i in group if i not in outcomes})

    @property
    def late(self) -> int:
        """How many groups of objects were prompted on older images and are not at the newest yet."""
        return len(self._behind)

    @property
    def behind(self) -> int | None:
        """Stamp (ns) of the oldest image up to which some object was tracked; None: all to the newest."""
        return self._behind[0].stamp if self._behind else None

    @torch.inference_mode()
    def catch_up(self, image: ImageArray, stamp: int) -> None:
        """Track the objects that are farthest behind through one of the images after ``behind``.

        Once that is the newest, they are tracked with all others. Raises ValueError as ``step``.
        """
        self._grid(image)
        late = self._behind[0]
        self._turn(late.known, late.camera, image)
        with self.model.precision():
            result, views = self._propagate(late.known, late.bank, self._sight.look(image), image, stamp)
            result = self._observer.tidied(late.known, result, stamp)
        late.bank, late.stamp = result.bank, stamp
        self._observer.observe(late.known, views, result, image, stamp)
        self.settle()

    def skip(self, stamp: int) -> None:
        """An image that those farthest behind should have gone through cannot be had."""
        self._behind[0].stamp = stamp
        self.settle()

    def settle(self, everything: bool = False) -> None:
        """Take over objects that have come to the newest image; ``everything``: no image is left for any."""
        waiting = []
        for late in sorted(self._behind, key=lambda late: late.stamp):
            if everything or self._stamp is None or late.stamp >= self._stamp:
                self._known, self._bank = merge(self._known, self._bank, late)
            else:
                waiting.append(late)
        self._behind = waiting

    def remove(self, obj_ids: Sequence[int]) -> list[int]:
        """Forget objects; answers those that were known."""
        gone = {track.obj_id for track in self.tracks()} & set(obj_ids)
        parts = [late.without(list(gone)) for late in self._behind]
        self._behind = [late for late in parts if late.known]
        self._keep([known.obj_id not in gone for known in self._known])
        return sorted(gone)

    def reset(self) -> None:
        """Forget everything; ids start again at 1 in a new epoch."""
        self._keep([False] * len(self._known))
        self._behind = []
        self._next_id = 1
        self.epoch += 1

    @property
    def network(self) -> NetworkIdentity:
        """Whose memories these are."""
        return NetworkIdentity(self.model.config.name, self.model.weights_sha256, self.model.input_size)

    def memory(self) -> TrackerSnapshot:
        """All that is remembered; it does not change any more when the tracker goes on."""
        known, bank = self._known, self._bank
        for late in self._behind:
            known, bank = merge(known, bank, late)
        objects = tuple(item.to_dict() for item in known)
        bank = bank.rolled(-self._sight.turn)
        first = self._camera.first_column
        return TrackerSnapshot(bank, objects, self.epoch, self._next_id, first_column=first)

    def recall(self, memory: TrackerSnapshot, image: ImageArray | None = None) -> None:
        """Forget everything and go on from ``memory``, of the same network.

        ``image``: the one that was newest then; how the camera has turned since is not known without it.
        """
        self._known = [TrackedObject.from_dict(item, self.config.state) for item in memory.objects]
        self._bank, self._newest, self._behind = memory.bank.rolled(self._sight.turn), None, []
        self._next_id, self.epoch = memory.next_id, memory.epoch
        self._camera = RotationEstimator(self.config.vertical_fov, memory.first_column)
        if image is not None:
            self._turn([], self._camera, image)

    def _keep(self, wanted: Sequence[bool]) -> None:
        rows = torch.tensor([i for i, keep in enumerate(wanted) if keep], dtype=torch.int64)
        self._known = [known for known, keep in zip(self._known, wanted, strict=True) if keep]
        self._bank = self._bank.select(rows.to(self.model.device))

    def _grid(self, image: ImageArray) -> Equirect:
        return Equirect(image.shape[1], image.shape[0], self.config.vertical_fov)

    def _propagate(
        self, known: Sequence[TrackedObject], bank: MemoryBank, look: Look, image: ImageArray, stamp: int
    ) -> tuple[PropagationResult, list[View]]:
        """``propagate``, in as many pieces as memory asks for: only lost objects depend on others."""

        def some(rows: slice) -> PropagationResult:
            own = None if elsewhere is None else elsewhere[rows]
            return propagate(
                self.model, bank.select(rows), look(views[rows]), elsewhere=own,
                vertical_fov=self.config.vertical_fov,
            )  # fmt: skip

        views, elsewhere = self._sight.searched(image, stamp, known, bank)
        return PropagationResult.joined(self.thrift.pieces(some, len(bank))), views

    def _steer(self) -> None:
        """Turn what is remembered together with the network's view."""
        move = self._sight.steer(self._bank)
        if move:
            self._bank = self._bank.rolled(move)
            for late in self._behind:
                late.bank = late.bank.rolled(move)

    def _apply(
        self,
        prompts: list[Prompt],
        remembered: bool,
        look: Look,
        image: ImageArray,
        stamp: int,
        newest: bool,
        piece: slice,  # of the prompts
    ) -> list[PromptOutcome]:
        """Segment checked prompts, all new or all corrections, and remember what they gave."""
        prompts = prompts[piece]
        rows = [self._row(p.obj_id) for p in prompts]
        bank = self._bank.select(torch.tensor(rows)) if remembered else empty_bank(self.model, len(prompts))
        if remembered and newest:
            bank = bank.before_newest()  # what is corrected must not speak for itself
        corrected = [self._known[row] if remembered else None for row in rows]
        views = self._sight.views(prompts, corrected, self._grid(image), newest)
        result = self._segment(prompts, views, corrected, bank, look, image)
        rough, fine = views, result.fine_logits[:, 0].float().cpu().numpy()
        views = self._sight.closer(prompts, rough, list(fine))
        if any(a is not b for a, b in zip(rough, views, strict=True)):
            result = self._segment(prompts, views, corrected, bank, look, image)
        found = (result.mask_logits > 0).flatten(1).any(1).nonzero()[:, 0].tolist()
        late = self._is_late(stamp)
        chosen = result.select(torch.tensor(found, dtype=torch.int64))
        known = [self._entry(prompts[i], late, views[i]) for i in found]
        new = ObjectGroup(known, chosen.bank, stamp, RotationEstimator(self.config.vertical_fov))
        by = {item.obj_id: prompts[i] for i, item in zip(found, new.known, strict=True)}
        labels = self._observer.observe(new.known, [views[i] for i in found], chosen, image, stamp, by)
        if late and found:
            new.camera.turn(image)
            self._behind.append(new)
        else:
            self._known, self._bank = merge(self._known, self._bank, new)
        seen = {i: item.track() for i, item in zip(found, new.known, strict=True)}
        return [
            PromptOutcome(PromptStatus.OK, "", seen[i], labels == seen[i].obj_id)
            if i in seen
            else NOTHING_FOUND
            for i in range(len(prompts))
        ]

    def _segment(
        self,
        prompts: Sequence[Prompt],
        views: Sequence[View],
        corrected: Sequence[TrackedObject | None],
        bank: MemoryBank,
        look: Look,
        image: ImageArray,
    ) -> PropagationResult:
        """What prompts in these views give; ``corrected``: the objects whose memory ``bank`` is, if any."""
        remembered = any(item is not None for item in corrected)
        masks = bank.mask_logits if remembered else None
        encoded = self._sight.encode(prompts, views, self._grid(image), corrected, masks)
        with self.model.precision():
            return segment_prompts(self.model, bank, look(views), encoded.to(self.model.device), remembered)

    def _is_late(self, stamp: int) -> bool:
        """Whether an image is older than the newest."""
        return self._stamp is not None and stamp < self._stamp

    def _turn(self, known: Sequence[TrackedObject], camera: RotationEstimator, image: ImageArray) -> None:
        """Take what is known to an image's axes, from those of the one that ``camera`` saw last."""
        if self.config.camera_motion:
            rotation = camera.turn(image)
            for item in known:
                item.turn(rotation)

    def _row(self, obj_id: int) -> int:
        """``obj_idx`` of an object; -1 for one that is not known."""
        return next((i for i, k in enumerate(self._known) if k.obj_id == obj_id), -1)

    def _entry(self, prompt: Prompt, late: bool, view: View) -> TrackedObject:
        """What is kept of a prompted object; a copy for one that is corrected on an older image."""
        row = self._row(prompt.obj_id)
        if row < 0:
            self._next_id += 1
            return TrackedObject(
                self._next_id - 1, prompt.label, BearingMotionModel(self.config.state), view=view
            )
        entry = copy.deepcopy(self._known[row]) if late else self._known[row]
        entry.label, entry.view = prompt.label or entry.label, view
        if prompt.replace:
            entry.motion = BearingMotionModel(self.config.state)
        return entry
