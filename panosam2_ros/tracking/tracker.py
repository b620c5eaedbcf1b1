"""PanoTracker: the core's only state. One verb for a stream, ``step``; prompts, removal, reset.

One image takes one path: a ``Frame`` is made of it, the planner says where to look for each object, the
network finds them there, and the updater turns masks into labels, bearings and motion. An object has an id
for ever (``obj_id``) and a row of the memory bank for now (``obj_idx``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import reduce
from itertools import chain

import torch

from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.memory.memory_file import NetworkIdentity, TrackerSnapshot
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt, PromptStatus
from panosam2_ros.prompts.validation import KnownIds, validate_prompts
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.motion_model import BearingMotionModel
from panosam2_ros.tracking.object_group import ObjectGroup, merge
from panosam2_ros.tracking.prompting import PromptBatch, PromptSegmenter, answer, batches
from panosam2_ros.tracking.propagation import PropagationResult, empty_bank, propagate
from panosam2_ros.tracking.track import NOTHING_FOUND, PromptOutcome, Track, TrackedFrame, TrackedObject
from panosam2_ros.tracking.track_update import TrackUpdater
from panosam2_ros.tracking.view import InputView, NetworkInput
from panosam2_ros.tracking.view_encoder import ViewEncoder
from panosam2_ros.tracking.view_planner import ViewPlan, make_view_planner


class PanoTracker:
    """Tracks prompted objects through a stream of panoramas.

    Not thread safe: one thread calls it, always the same.
    """

    def __init__(self, model: PanoSAM2, config: TrackerConfig | None = None) -> None:
        """Make a tracker that knows no object; ``model`` as ``build_model`` gives it."""
        self.model, self.config = model, config or TrackerConfig()
        self.epoch = 0  # counts up at reset; ids are unique within one
        self.batcher = AdaptiveBatcher()
        self._next_id = 1
        network = NetworkInput.of(model, self.config.vertical_fov)
        self._planner = make_view_planner(model, self.config)
        self._encoder = ViewEncoder(model, network, self.batcher)
        self._updater = TrackUpdater(self._planner, network, self.config, model.config)
        self._segmenter = PromptSegmenter(model, network, self._planner, self._encoder)
        self._live = ObjectGroup([], empty_bank(model, 0), None, self._rotation_estimator())
        self._newest_stamp: int | None = None  # ns, of the image that was tracked last
        self._replaying: list[ObjectGroup] = []  # prompted on older images, the oldest first

    @property
    def max_objects(self) -> int:
        """Objects that can be tracked at once."""
        return self.config.max_objects

    @property
    def memory_bytes(self) -> int:
        """Size of all objects' memories."""
        return self._live.bank.nbytes + sum(group.bank.nbytes for group in self._replaying)

    @property
    def network(self) -> NetworkIdentity:
        """The network whose memories these are."""
        return NetworkIdentity(self.model.config.name, self.model.weights_sha256, self.model.input_size)

    def tracks(self) -> tuple[Track, ...]:
        """Return every known object as of the newest image, ordered by id."""
        found = {track.obj_id: track for group in self._replaying for track in group.unseen_tracks()}
        found |= {item.obj_id: item.track() for item in self._live.objects}
        return tuple(found[obj_id] for obj_id in sorted(found))

    # --- images

    @torch.inference_mode()
    def step(self, image: ImageArray, stamp: int) -> TrackedFrame:
        """Find every known object in the next image.

        ``image`` is RGB uint8 [H, W, 3]; ``stamp`` is in nanoseconds. Raises ValueError for an image
        that is not a panorama; nothing is forgotten then.
        """
        frame = Frame(image, stamp, self.config.vertical_fov)
        self._place_seam()
        self._newest_stamp = stamp
        labels = self._advance(self._live, frame)
        return TrackedFrame(stamp, labels, self.tracks())

    def _advance(self, group: ObjectGroup, frame: Frame) -> LabelImage:
        """Track a group's objects into a frame; return the label image of those that are visible."""
        self._rotate(group, frame)
        group.stamp = frame.stamp
        if not group.objects:
            return frame.empty_labels(self.config.mask_width)
        with self.model.precision():
            plan = self._planner.plan(group, frame)
            result = self._propagate(group, frame, plan)
            result = self._updater.clean(group.objects, plan.views, result, frame.stamp)
        group.bank = result.bank
        return self._updater.update(group.objects, plan.views, result, frame)

    def _propagate(self, group: ObjectGroup, frame: Frame, plan: ViewPlan) -> PropagationResult:
        """Find a group's objects, in as many batches as memory asks for."""

        def batch(rows: slice) -> PropagationResult:
            features = self._encoder.encode(frame, plan.views[rows])
            elsewhere = None if plan.elsewhere is None else plan.elsewhere[rows]
            return propagate(self.model, group.bank.select(rows), features, elsewhere=elsewhere)

        return PropagationResult.concatenated(self.batcher.run(batch, len(group.bank)))

    def _rotate(self, group: ObjectGroup, frame: Frame) -> None:
        """Take what is known to the frame's axes."""
        if self.config.camera_motion:
            group.rotate_to(frame.image)

    def _place_seam(self) -> None:
        """Roll what is remembered together with the network's view."""
        if tokens := self._planner.place_seam(self._live.bank):
            for group in (self._live, *self._replaying):
                group.bank = group.bank.rolled(tokens)

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
        accepted = batches(checked, prompts)
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

    def _take_prompts(self, prompts: list[Prompt], frame: Frame) -> list[PromptOutcome]:
        """Segment checked prompts, all of new objects or all corrections, and remember what was found."""
        batch, newest = self._prompt_batch(prompts, frame), self._is_newest(frame)
        segmented = self._segmenter.segment(frame, batch, newest=newest)
        rows = segmented.found_rows()
        views = [segmented.views[i] for i in rows]
        result = segmented.result.select(torch.tensor(rows, dtype=torch.int64))
        objects = [self._prompted_object(prompts[i], segmented.views[i], frame) for i in rows]
        group = ObjectGroup(objects, result.bank, frame.stamp, self._rotation_estimator())
        by_id = {item.obj_id: prompts[i] for i, item in zip(rows, objects, strict=True)}
        labels = self._updater.update(objects, views, result, frame, by_id)
        self._take_in(group, frame)
        outcomes = [NOTHING_FOUND] * len(prompts)
        for i, item in zip(rows, objects, strict=True):
            outcomes[i] = PromptOutcome(PromptStatus.OK, "", item.track(), labels == item.obj_id)
        return outcomes

    def _prompt_batch(self, prompts: list[Prompt], frame: Frame) -> PromptBatch:
        """Return prompts with the memory of the objects that they correct; a replaced object has none."""
        if not prompts[0].corrects:
            return PromptBatch(prompts, [None] * len(prompts), empty_bank(self.model, len(prompts)))
        rows = [self._live.row(prompt.obj_id) for prompt in prompts]
        bank = self._live.bank.select(torch.tensor(rows))
        if self._is_newest(frame):
            bank = bank.before_newest()  # what is corrected must not speak for itself
        return PromptBatch(prompts, [self._live.objects[row] for row in rows], bank)

    def _prompted_object(self, prompt: Prompt, view: InputView, frame: Frame) -> TrackedObject:
        """Return what is kept of a prompted object; a copy where it is corrected on an older image."""
        row = self._live.row(prompt.obj_id)
        if row < 0:
            self._next_id += 1
            return TrackedObject(self._next_id - 1, prompt.label, BearingMotionModel(self.config.state), view)
        item = self._live.objects[row]
        item = copy.deepcopy(item) if self._is_older(frame) else item
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
            self._live = merge(self._live, group)

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
                self._live = merge(self._live, group)
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

    def reset(self) -> None:
        """Forget everything; ids start again at 1 in a new epoch."""
        self._live.remove(self._live.ids())
        self._replaying = []
        self._next_id = 1
        self.epoch += 1

    def snapshot(self) -> TrackerSnapshot:
        """Return all that is remembered; it does not change any more when the tracker goes on."""
        group = reduce(merge, self._replaying, self._live)
        objects = tuple(item.to_dict() for item in group.objects)
        bank = group.bank.rolled(-self._planner.roll_tokens)
        first = self._live.camera_motion.first_column
        return TrackerSnapshot(bank, objects, self.epoch, self._next_id, first_column=first)

    def restore(self, snapshot: TrackerSnapshot, image: ImageArray | None = None) -> None:
        """Forget everything and go on from the snapshot of a tracker of the same network.

        ``image``: the newest one of the snapshot's time; without it, how the camera has rotated since is not
        known.
        """
        objects = [TrackedObject.from_dict(item, self.config.state) for item in snapshot.objects]
        bank = snapshot.bank.rolled(self._planner.roll_tokens)
        camera_motion = self._rotation_estimator(snapshot.first_column)
        self._live = ObjectGroup(objects, bank, None, camera_motion)
        self._replaying = []
        self._next_id, self.epoch = snapshot.next_id, snapshot.epoch
        if image is not None and self.config.camera_motion:
            camera_motion.update(image)
