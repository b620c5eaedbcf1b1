"""PanoTracker: the core's only state. One verb for a stream, ``step``; prompts, removal, reset.

One image takes one path: a ``Frame`` is made of it, the planner says where to look for each object, the
network finds them there, and the updater turns masks into labels, bearings and motion. An object has an id
for ever (``obj_id``) and a row of the memory bank for now (``obj_idx``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.masks.label_image import resize_mask
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.memory.memory_file import NetworkIdentity, TrackerSnapshot
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.prompts.validation import KnownIds, validate_prompts
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.colour_trust import light_changed
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import BearingMotionModel
from panosam2_ros.tracking.object_group import ObjectBatch, ObjectGroup
from panosam2_ros.tracking.prompting import PromptBatch, answer, batches
from panosam2_ros.tracking.search_budget import SearchBudget
from panosam2_ros.tracking.track import (
    NOTHING_FOUND,
    PastTrack,
    PromptOutcome,
    Track,
    TrackedFrame,
    TrackedObject,
)
from panosam2_ros.tracking.track_update import Sighting, TrackUpdater
from panosam2_ros.tracking.tracker_state import frozen, thawed
from panosam2_ros.tracking.view import InputView, ViewKind
from panosam2_ros.tracking.view_pipeline import ViewPipeline
from panosam2_ros.tracking.view_planner import ViewPlanner, make_view_planner
from panosam2_ros.tracking.view_selection import ViewSelector, change_views


class PanoTracker:
    """Tracks prompted objects through a stream of panoramas.

    Not thread safe: one thread calls it, always the same.
    """

    def __init__(
        self, model: PanoSAM2, config: TrackerConfig | None = None, *, planner: ViewPlanner | None = None
    ) -> None:
        """Make a tracker that knows no object; ``model`` as ``build_model`` gives it.

        ``planner``: where to look for all objects, in views of one kind; None: by ``config.view``.
        """
        self.model, self.config = model, config or TrackerConfig()
        self.epoch = 0  # counts up at reset; ids are unique within one
        self.batcher = AdaptiveBatcher()
        self._beside = ThreadPoolExecutor(1, "panosam2_beside")  # what this thread need not wait for
        self._next_id = 1
        self.planner = planner
        self._budget = SearchBudget(self.config.search_budget)
        self._selector = ViewSelector(self.config.view, model.config)
        self._pipelines = {kind: self._pipeline(kind) for kind in self._selector.kinds}
        self._updater = TrackUpdater(self.config)
        self._live = self._empty_group()
        self._newest_stamp: int | None = None  # ns, of the image that was tracked last
        self._replaying: list[ObjectGroup] = []  # prompted on older images, the oldest first

    @property
    def max_objects(self) -> int:
        """Objects that can be tracked at once."""
        return self.config.max_objects

    @property
    def memory_bytes(self) -> int:
        """Size of all objects' memories."""
        return sum(group.memory_bytes for group in (self._live, *self._replaying))

    @property
    def network(self) -> NetworkIdentity:
        """The network whose memories these are."""
        return NetworkIdentity(self.model.config.name, self.model.weights_sha256, self.model.input_size)

    def empty_banks(self) -> dict[str, MemoryBank]:
        """Return an empty memory bank for each kind of view."""
        return {kind.value: each.empty_batch().bank for kind, each in self._pipelines.items()}

    def _pipeline(self, kind: ViewKind) -> ViewPipeline:
        region = kind is ViewKind.REGION
        size = self.model.input_size[0]
        model = self.model.for_regions(size) if region else self.model.for_panoramas()
        planner = self.planner or make_view_planner(model, self.config, centred=self._selector.chooses)
        return ViewPipeline(model, self.config, self.batcher, planner, self._budget)

    def _empty_group(self) -> ObjectGroup:
        batches = {kind: each.empty_batch() for kind, each in self._pipelines.items()}
        return ObjectGroup(batches, None, self._rotation_estimator())

    def tracks(self) -> tuple[Track, ...]:
        """Return every known object as of the newest image, ordered by id."""
        found = {track.obj_id: track for group in self._replaying for track in group.unseen_tracks()}
        found |= {item.obj_id: item.track() for item in self._live.objects}
        return tuple(found[obj_id] for obj_id in sorted(found))

    def tracks_at(self, stamp: int) -> tuple[PastTrack, ...]:
        """Return where every known object was in the image of ``stamp`` (ns), ordered by id."""
        items = {item.obj_id: item for group in (*self._replaying, self._live) for item in group.objects}
        return tuple(items[obj_id].past(stamp) for obj_id in sorted(items))

    # --- images

    @torch.inference_mode()
    def step(self, image: ImageArray, stamp: int, *, labels: bool = True) -> TrackedFrame:
        """Find every known object in the next image.

        ``image`` is RGB uint8 [H, W, 3]; ``stamp`` is in nanoseconds. ``labels`` False spares the label
        image; nothing else depends on it. Raises ValueError for an image that is not a panorama; nothing is
        forgotten then.
        """
        frame = Frame(image, stamp, self.config.vertical_fov)
        self._place_seam()
        self._newest_stamp = stamp
        found = self._advance(self._live, frame)
        label_image = self._updater.render(found, frame) if labels else None
        return TrackedFrame(stamp, label_image, self.tracks())

    def _advance(self, group: ObjectGroup, frame: Frame) -> list[Sighting]:
        """Track a group's objects into a frame; return the sightings of those that are visible."""
        self._rotate(group, frame)
        group.stamp = frame.stamp
        relit = light_changed(group.brightness, frame.brightness)
        group.brightness = frame.brightness
        if not group.objects:
            return []
        sightings: list[Sighting] = []
        self._budget.begin()
        for kind, batch in group.batches.items():
            if batch.objects:
                sightings += self._pipelines[kind].track(batch, frame, relit=relit)
        found = self._updater.update(sightings, frame)
        self._updater.wait([item for item in group.objects if item.waited], frame)
        change_views(group, frame, found, self._selector, self._pipelines)
        return found

    def _rotate(self, group: ObjectGroup, frame: Frame) -> None:
        """Take what is known to the frame's axes; meanwhile derive from the frame what views will need."""
        if self.config.camera_motion:
            rotation = self._beside.submit(group.camera_motion.update, frame.image)
            for kind, batch in group.batches.items():
                self._pipelines[kind].prepare(batch, frame)
            group.rotate(rotation.result())

    def _place_seam(self) -> None:
        """Roll what is remembered together with the network's view."""
        for kind, pipeline in self._pipelines.items():
            batches = [group.batches[kind] for group in (self._live, *self._replaying)]
            pipeline.place_seam(batches, self._live.batches[kind])

    def _rotation_estimator(self, first_column: tuple[int, int] = (0, 0)) -> RotationEstimator:
        return RotationEstimator(vertical_fov=self.config.vertical_fov, first_column=first_column)

    # --- prompts

    @torch.inference_mode()
    def prompt(self, image: ImageArray, stamp: int, prompts: Sequence[Prompt]) -> list[PromptOutcome]:
        """Add or correct objects by pointing at them in an image; return one outcome per prompt.

        The image is the newest one where ``stamp`` (ns) is that of the last step. Bad prompts are refused
        one by one, with the reason; the others take effect.
        """
        frame = Frame(image, stamp, self.config.vertical_fov)
        replaying = frozenset(chain.from_iterable(group.ids() for group in self._replaying))
        known = KnownIds(self._live.ids(), replaying, self._next_id, self.config.max_objects)
        checked = validate_prompts(prompts, frame.grid, known)
        outcomes = {i: PromptOutcome(error.status, str(error)) for i, error in checked.refused.items()}
        kinds = {i: self._kind(prompts[i], frame) for i in (*checked.new, *checked.corrections)}
        accepted = batches(checked, prompts, kinds)
        if accepted and not self._is_newest(frame) and not self._is_older(frame):
            self._rotate(self._live, frame)
        for indices in accepted:
            answer(
                indices,
                lambda rows: self._take_prompts([prompts[i] for i in rows], frame),
                self.batcher,
                outcomes,
            )
        return [outcomes[i] for i in range(len(prompts))]

    def _kind(self, prompt: Prompt, frame: Frame) -> ViewKind:
        """Return the kind of view in which a prompt is segmented."""
        return self._selector.of_prompt(prompt, self._live.find(prompt.obj_id), frame.grid)

    def _take_prompts(self, prompts: list[Prompt], frame: Frame) -> list[PromptOutcome]:
        """Segment checked prompts of one kind of view, all of new objects or all corrections.

        What was found is remembered.
        """
        pipeline = self._pipelines[self._kind(prompts[0], frame)]
        batch, newest = self._prompt_batch(prompts, frame, pipeline), self._is_newest(frame)
        segmented = pipeline.segmenter.segment(frame, batch, newest=newest)
        rows = segmented.found_rows()
        views = [segmented.views[i] for i in rows]
        result = segmented.result.select(rows)
        objects = [self._prompted_object(prompts[i], segmented.views[i], frame) for i in rows]
        group = self._empty_group()
        group.batches[pipeline.kind] = ObjectBatch(objects, result.bank)
        group.stamp, group.brightness = frame.stamp, frame.brightness
        by_id = {item.obj_id: prompts[i] for i, item in zip(rows, objects, strict=True)}
        found = self._updater.update(pipeline.sightings(objects, views, result), frame, by_id)
        labels = self._updater.render([seen for seen in found if by_id[seen.item.obj_id].mask is None], frame)
        self._take_in(group, frame)
        outcomes = [NOTHING_FOUND] * len(prompts)
        for i, item in zip(rows, objects, strict=True):
            given, (height, width) = prompts[i].mask, labels.shape
            mask = labels == item.obj_id if given is None else resize_mask(given, width, height).copy()
            outcomes[i] = PromptOutcome(PromptStatus.OK, "", item.track(), mask)
        return outcomes

    def _prompt_batch(self, prompts: list[Prompt], frame: Frame, pipeline: ViewPipeline) -> PromptBatch:
        """Return prompts with the memory of the objects that they correct; a replaced object has none."""
        if not prompts[0].corrects:
            return PromptBatch(prompts, [None] * len(prompts), pipeline.empty_batch(len(prompts)).bank)
        live = self._live.batches[pipeline.kind]
        known = live.select([row for prompt in prompts for row in live.rows([prompt.obj_id])])
        # what is corrected must not speak for itself
        bank = known.bank.before_newest() if self._is_newest(frame) else known.bank
        return PromptBatch(prompts, known.objects, bank)

    def _prompted_object(self, prompt: Prompt, view: InputView, frame: Frame) -> TrackedObject:
        """Return what is kept of a prompted object; a copy where it is corrected on an older image."""
        known = self._live.find(prompt.obj_id)
        if known is None:
            self._next_id += 1
            return TrackedObject(self._next_id - 1, prompt.label, BearingMotionModel(self.config.state), view)
        item = copy.deepcopy(known) if self._is_older(frame) else known
        item.label, item.view = prompt.label or item.label, view
        if prompt.replace:
            item.motion = BearingMotionModel(self.config.state)
        return item

    def _take_in(self, group: ObjectGroup, frame: Frame) -> None:
        """Track prompted objects with all others, or replay them to the newest image first."""
        if self._is_older(frame) and group.objects:
            group.camera_motion.update(frame.image)
            self._replaying.append(group)
        else:
            self._live.take_in(group)

    def _is_newest(self, frame: Frame) -> bool:
        """Return whether a frame is the one into which the live objects were tracked last."""
        return frame.stamp == self._live.stamp

    def _is_older(self, frame: Frame) -> bool:
        """Return whether a frame is older than the one that was tracked last."""
        return self._newest_stamp is not None and frame.stamp < self._newest_stamp

    # --- replay of objects that were prompted on older images

    @property
    def replaying(self) -> int:
        """How many groups of objects were prompted on older images and have not come to the newest yet."""
        return len(self._replaying)

    @property
    def replay_stamp(self) -> int | None:
        """Stamp (ns) of the oldest image up to which a group was replayed; None: there is no such group."""
        return self._replaying[0].stamp if self._replaying else None

    @torch.inference_mode()
    def replay(self, image: ImageArray, stamp: int) -> None:
        """Track the group that is farthest behind through one of the images after ``replay_stamp``.

        Once it has come to the newest image, its objects are tracked with all others. Raises ValueError as
        ``step``.
        """
        self._advance(self._replaying[0], Frame(image, stamp, self.config.vertical_fov))
        self.merge_replayed()

    def skip_replay(self, stamp: int) -> None:
        """Go on with the group farthest behind as if it had seen the image of ``stamp`` (ns)."""
        self._replaying[0].stamp = stamp
        self.merge_replayed()

    def merge_replayed(self, *, everything: bool = False) -> None:
        """Track objects that have come to the newest image with all others.

        ``everything``: also those that have not, since no image is left to replay.
        """
        waiting, newest = [], self._newest_stamp
        for group in sorted(self._replaying, key=lambda group: group.stamp or 0):
            if everything or newest is None or group.stamp is None or group.stamp >= newest:
                self._live.take_in(group)
            else:
                waiting.append(group)
        self._replaying = waiting

    # --- what is known

    def remove(self, obj_ids: Sequence[int]) -> list[int]:
        """Forget objects; return the ids of those that were known."""
        gone = {track.obj_id for track in self.tracks()} & set(obj_ids)
        for group in (self._live, *self._replaying):
            group.remove(gone)
        self._replaying = [group for group in self._replaying if group.objects]
        return sorted(gone)

    def withdraw(self, obj_ids: Sequence[int]) -> None:
        """Forget objects that were just made and of which nobody was told: their ids may be given again."""
        gone = self.remove(obj_ids)
        while self._next_id - 1 in gone:
            self._next_id -= 1

    def reset(self) -> None:
        """Forget everything; ids start again at 1 in a new epoch."""
        self._live.remove(self._live.ids())
        self._replaying = []
        self._next_id = 1
        self.epoch += 1

    def snapshot(self) -> TrackerSnapshot:
        """Return all that is remembered; it does not change any more when the tracker goes on."""
        banks, objects = frozen(self._live, self._replaying, self._pipelines)
        first = self._live.camera_motion.first_column
        return TrackerSnapshot(banks, objects, self.epoch, self._next_id, first_column=first)

    def restore(self, snapshot: TrackerSnapshot, image: ImageArray | None = None) -> None:
        """Forget everything and go on from the snapshot of a tracker of the same network.

        ``image``: the newest one of the snapshot's time; without it, how the camera has rotated since is not
        known.
        """
        camera_motion = self._rotation_estimator(snapshot.first_column)
        self._live = thawed(snapshot, self._pipelines, self.config.state, camera_motion)
        self._replaying = []
        self._next_id, self.epoch = snapshot.next_id, snapshot.epoch
        if image is not None and self.config.camera_motion:
            camera_motion.update(image)
