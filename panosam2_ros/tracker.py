"""PanoTracker: the core's only state. One verb for a stream, ``step``; prompts, removal, reset.

An object has an id for ever (``obj_id``) and a row of the memory bank for now (``obj_idx``).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.admission import Admission
from panosam2_ros.bearing import mask_bearing
from panosam2_ros.catching_up import Behind, joined
from panosam2_ros.equirect import Equirect, rotation_matrix
from panosam2_ros.masks import Logits, Patch, paint
from panosam2_ros.memory_bank import MemoryBank
from panosam2_ros.memory_file import Network, RememberedObject, TrackerMemory
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.object_state import ObjectMotion
from panosam2_ros.outlines import outlines
from panosam2_ros.periodic import fit_image
from panosam2_ros.prompts import LOW_RES_STRIDE, Prompt, PromptEncoding, of_same_length
from panosam2_ros.propagation import Propagated, empty_bank, prompt_objects, propagate
from panosam2_ros.steering import SeamSteering
from panosam2_ros.thrift import Thrift
from panosam2_ros.tidying import Expected, tidied
from panosam2_ros.tracker_config import TrackerConfig
from panosam2_ros.tracks import NOTHING_FOUND, Known, PromptOutcome, Track, TrackedFrame

Image = NDArray[np.uint8]


class PanoTracker:
    """Tracks prompted objects through a stream of panoramas.

    Not thread safe: one thread calls it, always the same.
    """

    def __init__(self, model: PanoSAM2, config: TrackerConfig | None = None) -> None:
        self.model, self.config = model, config or TrackerConfig()
        self.epoch = 0  # counts up at reset; ids are unique within one
        self._known: list[Known] = []  # in the order of the memory bank's rows and of ids
        self._bank: MemoryBank = empty_bank(model, 0)
        self._next_id = 1
        self.thrift = Thrift()
        self._newest: tuple[Image, ImageFeatures] | None = None  # prompts refer to it most often
        self._stamp: int | None = None  # ns, of the newest image
        self._behind: list[Behind] = []  # objects that were prompted on older images, oldest first
        self._steering = SeamSteering() if self.config.seam_steering else None
        self._turn = 0  # token columns by which images are rolled right for the network

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
    def step(self, image: Image, stamp: int) -> TrackedFrame:
        """Find every known object in the next image.

        ``image`` is RGB [H, W, 3]; ``stamp`` is in nanoseconds. Raises ValueError for an image
        that is not a panorama; nothing is forgotten then.
        """
        grid = self._grid(image)
        self._steer()
        features = self._encode(image)
        self._newest, self._stamp = (image, features), stamp
        if not self._known:
            masks = self._mask_grid(grid)
            return TrackedFrame(stamp, np.zeros((masks.height, masks.width), np.uint16), self.tracks())
        with self.model.precision():
            result = self._tidied(self._known, self._propagate(self._bank, features), stamp)
        self._bank = result.bank
        labels = self._observe(self._known, result, image, stamp)
        return TrackedFrame(stamp, labels, self.tracks())

    @torch.inference_mode()
    def prompt(self, image: Image, stamp: int, prompts: Sequence[Prompt]) -> list[PromptOutcome]:
        """Add or correct objects by pointing at them in an image; one outcome per prompt.

        Bad prompts are refused one by one, with the reason; the others take effect.
        """
        grid = self._grid(image)
        current = {known.obj_id for known in self._known}
        late = {known.obj_id for behind in self._behind for known in behind.known}
        state = Admission(frozenset(current), frozenset(late), self._next_id, self.config.max_objects)
        fresh, refine, refused = state.sorted(prompts, grid)
        outcomes = {i: PromptOutcome(False, reason, None) for i, reason in refused.items()}
        if fresh or refine:
            features = self._features(image)
            newest = self._newest is not None and self._newest[0] is image
            for indices, remembered in ((fresh, False), (refine, True)):
                for group in of_same_length(indices, prompts):
                    chosen = [prompts[i] for i in group]
                    apply = partial(self._apply, chosen, remembered, features, image, stamp, newest)
                    done = chain.from_iterable(self.thrift.pieces(apply, len(group)))
                    outcomes.update(zip(group, done, strict=True))
        return [outcomes[i] for i in range(len(prompts))]

    @property
    def behind(self) -> int | None:
        """Stamp (ns) of the oldest image up to which some object was tracked; None: all to the newest."""
        return self._behind[0].stamp if self._behind else None

    @torch.inference_mode()
    def catch_up(self, image: Image, stamp: int) -> None:
        """Track the objects that are farthest behind through one of the images after ``behind``.

        Once that is the newest, they are tracked with all others. Raises ValueError as ``step``.
        """
        self._grid(image)
        late = self._behind[0]
        with self.model.precision():
            result = self._propagate(late.bank, self._features(image))
            result = self._tidied(late.known, result, stamp)
        late.bank, late.stamp = result.bank, stamp
        self._observe(late.known, result, image, stamp)
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
                self._known, self._bank = joined(self._known, self._bank, late)
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
    def network(self) -> Network:
        """Whose memories these are."""
        return Network(self.model.config.name, self.model.weights_sha256, self.model.input_size)

    def memory(self) -> TrackerMemory:
        """All that is remembered; it does not change any more when the tracker goes on."""
        known, bank = self._known, self._bank
        for late in self._behind:
            known, bank = joined(known, bank, late)
        objects = tuple(RememberedObject(k.obj_id, k.label, k.motion.remembered()) for k in known)
        return TrackerMemory(bank.rolled(-self._turn), objects, self.epoch, self._next_id)

    def recall(self, memory: TrackerMemory) -> None:
        """Forget everything and go on from ``memory``, of the same network."""
        self._known = [
            Known(o.obj_id, o.label, ObjectMotion.recalled(o.motion, self.config.state))
            for o in memory.objects
        ]
        self._bank, self._newest, self._behind = memory.bank.rolled(self._turn), None, []
        self._next_id, self.epoch = memory.next_id, memory.epoch

    def _keep(self, wanted: Sequence[bool]) -> None:
        rows = torch.tensor([i for i, keep in enumerate(wanted) if keep], dtype=torch.int64)
        self._known = [known for known, keep in zip(self._known, wanted, strict=True) if keep]
        self._bank = self._bank.select(rows.to(self.model.device))

    def _grid(self, image: Image) -> Equirect:
        return Equirect(image.shape[1], image.shape[0], self.config.vertical_fov)

    def _mask_grid(self, grid: Equirect) -> Equirect:
        """Pixels of the label image that belongs to an image."""
        return grid.of_width(self.config.mask_width) if self.config.mask_width else grid

    def _encode(self, image: Image) -> ImageFeatures:
        def encode(_: slice) -> ImageFeatures:
            pixels = fit_image(image, *self.model.input_size).to(self.model.device)
            with self.model.precision():
                return self.model.encode_image(pixels.roll(self._turn * self.model.config.stride, -1))

        return self.thrift.pieces(encode, 1)[0]

    def _propagate(self, bank: MemoryBank, features: ImageFeatures) -> Propagated:
        """``propagate``, in as many pieces as memory asks for: only lost objects depend on others."""

        def some(rows: slice) -> Propagated:
            known = bank.select(rows)
            return propagate(self.model, known, features, vertical_fov=self.config.vertical_fov)

        return Propagated.joined(self.thrift.pieces(some, len(bank)))

    def _steer(self) -> None:
        """Turn the network's view, and what is remembered in it, away from objects on its seam."""
        if self._steering is None or not self._known:
            return
        seen = (self._bank.mask_logits > 0).flatten(0, 2).any(0).cpu().numpy()  # stride-4 columns
        tokens = seen.reshape(-1, self.model.config.stride // LOW_RES_STRIDE).max(1)
        move = self._steering.move(tokens)
        if move:
            self._bank = self._bank.rolled(move)
            for late in self._behind:
                late.bank = late.bank.rolled(move)
            self._turn = (self._turn + move) % tokens.size
            self._newest = None  # its features are of another turn

    def _features(self, image: Image) -> ImageFeatures:
        """Features of an image to prompt on; those of the newest are at hand."""
        if self._newest is not None and self._newest[0] is image:
            return self._newest[1]
        return self._encode(image)

    def _apply(
        self,
        prompts: list[Prompt],
        remembered: bool,
        features: ImageFeatures,
        image: Image,
        stamp: int,
        newest: bool,
        piece: slice,  # of the prompts
    ) -> list[PromptOutcome]:
        """Segment checked prompts, all new or all corrections, and remember what they gave."""
        prompts = prompts[piece]
        rows = [self._row(p.obj_id) for p in prompts]
        model, known = self.model, torch.tensor(rows)
        bank = self._bank.select(known) if remembered else empty_bank(model, len(prompts))
        if remembered and newest:
            bank = bank.before_newest()  # what is corrected must not speak for itself
        encoding = PromptEncoding(self._grid(image), model.input_size, model.config)
        previous = bank.rolled(-self._turn).mask_logits if remembered else None
        encoded = encoding.encode(prompts, previous)
        encoded = encoded.rolled(self._turn, model.config.stride, model.input_size[1])
        with model.precision():
            result = prompt_objects(model, bank, features, encoded.to(model.device), remembered)
        found = (result.mask_logits > 0).flatten(1).any(1).nonzero()[:, 0].tolist()
        late = self._stamp is not None and stamp < self._stamp
        chosen = result.select(torch.tensor(found, dtype=torch.int64))
        new = Behind([self._entry(prompts[i], late) for i in found], chosen.bank, stamp)
        by = {item.obj_id: prompts[i] for i, item in zip(found, new.known, strict=True)}
        labels = self._observe(new.known, chosen, image, stamp, by)
        if late and found:
            self._behind.append(new)
        else:
            self._known, self._bank = joined(self._known, self._bank, new)
        seen = {i: item.track() for i, item in zip(found, new.known, strict=True)}
        return [
            PromptOutcome(True, "", seen[i], labels == seen[i].obj_id) if i in seen else NOTHING_FOUND
            for i in range(len(prompts))
        ]

    def _row(self, obj_id: int) -> int:
        """``obj_idx`` of an object; -1 for one that is not known."""
        return next((i for i, k in enumerate(self._known) if k.obj_id == obj_id), -1)

    def _entry(self, prompt: Prompt, late: bool) -> Known:
        """What is kept of a prompted object; a copy for one that is corrected on an older image."""
        row = self._row(prompt.obj_id)
        if row < 0:
            self._next_id += 1
            return Known(self._next_id - 1, prompt.label, ObjectMotion(self.config.state))
        entry = copy.deepcopy(self._known[row]) if late else self._known[row]
        entry.label = prompt.label or entry.label
        if prompt.replace:
            entry.motion = ObjectMotion(self.config.state)
        return entry

    def _observe(
        self,
        known: Sequence[Known],
        result: Propagated,
        image: Image,
        stamp: int,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> NDArray[np.uint16]:
        """Update what is known of objects from their masks; the label image of those that are visible.

        ``prompts``: how objects, by id, were pointed at in this image; masks that were given stay.
        """
        masks = self._mask_grid(self._grid(image))
        scores = result.scores.sigmoid().tolist()
        ious = result.prediction.mask_iou.tolist()
        back = -self._turn * (self.model.config.stride // self.model.config.mask_stride)
        logits = result.fine_logits[:, 0].roll(back, -1).float().cpu().numpy()
        present = {
            item.obj_id: own
            for item, own, score in zip(known, logits, scores, strict=True)
            if item.motion.present(score)
        }
        given = {obj_id for obj_id, prompt in prompts.items() if prompt.mask is not None}
        free = {obj_id: own for obj_id, own in present.items() if obj_id not in given}
        labels, regions = paint(present, masks, self._redrawn(image, free))
        for item, score, iou in zip(known, scores, ious, strict=True):
            region = regions.get(item.obj_id)
            bearing = mask_bearing(region.whole(masks.height), masks, iou) if region else None
            item.motion.update(stamp, bearing, bool(prompts))
            item.score = score
            item.mask_iou = min(max(iou, 0.0), 1.0) if bearing else 0.0
        return labels

    def _redrawn(self, image: Image, logits: Mapping[int, Logits]) -> dict[int, Patch]:
        """Outlines from the image's pixels, where the network's configuration asks for them."""
        size = self.model.config.outline_size if self.config.redraw_outlines else 0
        return outlines(image, logits, size, self.config.vertical_fov) if size else {}

    def _tidied(self, known: Sequence[Known], result: Propagated, stamp: int) -> Propagated:
        """Without parts that do not belong to the objects, given where they should be."""
        angle = 2 * math.pi * self._turn * self.model.config.stride / self.model.input_size[1]
        turn = rotation_matrix(np.array([0.0, angle, 0.0]))  # images are rolled right by as much
        bearings = [item.motion.expected(stamp) for item in known]
        expected = [
            None if b is None else Expected(turn @ b.direction, math.sqrt(np.linalg.norm(b.covariance, 2)))
            for b in bearings
        ]
        return tidied(result, self.config.tidy_rules, expected, self.model.config.mask_stride)
