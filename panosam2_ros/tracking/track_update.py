"""From what a network found to what is known of objects: label images, bearings, motion, the next view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.boundary import refine_boundaries
from panosam2_ros.masks.cleanup import CleanupConfig, ExpectedPlace, remove_islands_and_holes
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.propagation import PropagationResult
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import Sight, View


class TrackUpdater:
    """Knows how masks become what is published; keeps nothing of objects itself."""

    def __init__(self, sight: Sight, config: TrackerConfig, network: ModelConfig) -> None:
        self._sight, self._config, self._network = sight, config, network

    def nothing(self, grid: Equirect) -> LabelImage:
        """The label image of an image in which no object is known."""
        masks = self._mask_grid(grid)
        return np.zeros((masks.height, masks.width), np.uint16)

    def tidied(
        self, known: Sequence[TrackedObject], result: PropagationResult, stamp: int
    ) -> PropagationResult:
        """Without parts that do not belong to the objects, given where they should be."""
        expected = self._sight.expected(known, stamp)
        return tidied(result, self._config.tidy_rules, expected, self._network.mask_stride)

    def observe(
        self,
        known: Sequence[TrackedObject],
        views: Sequence[View],
        result: PropagationResult,
        image: ImageArray,
        stamp: int,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> LabelImage:
        """Update what is known of objects from their masks; the label image of those that are visible.

        ``prompts``: how objects, by id, were pointed at in this image; masks that were given stay.
        """
        masks = self._mask_grid(Equirect(image.shape[1], image.shape[0], self._config.vertical_fov))
        scores = result.scores.sigmoid().tolist()
        ious = result.prediction.mask_iou.tolist()
        logits = result.fine_logits[:, 0].float().cpu().numpy()
        present = [item.motion.present(score) for item, score in zip(known, scores, strict=True)]
        shown = self._shown(known, views, logits, present, bool(prompts))
        given = {obj_id for obj_id, prompt in prompts.items() if prompt.mask is not None}
        free = {obj_id: own for obj_id, own in shown.items() if obj_id not in given}
        labels, regions = render_label_image(shown | self._redrawn(image, free), masks)
        for item, score, iou in zip(known, scores, ious, strict=True):
            region = regions.get(item.obj_id)
            bearing = mask_bearing(region.whole(masks.height), masks, iou) if region else None
            item.motion.update(stamp, bearing, bool(prompts))
            item.looked_for = True
            item.score = score
            item.mask_iou = min(max(iou, 0.0), 1.0) if bearing else 0.0
        return labels

    def _shown(
        self,
        known: Sequence[TrackedObject],
        views: Sequence[View],
        logits: NDArray[np.float32],
        present: Sequence[bool],
        prompted: bool,
    ) -> dict[int, Logits | MaskPatch]:
        """Masks of objects that are present, by id, in the panorama; where all are looked for next."""
        found: dict[int, Logits | MaskPatch] = {}
        for item, view, own, there in zip(known, views, logits, present, strict=True):
            mask = self._sight.shown(own, view) if there else None
            if mask is None:
                item.view = self._sight.next_region(item.view, None)
            else:
                found[item.obj_id] = mask
                item.seen_in, item.view = view, self._sight.next_region(view, own, prompted)
        return found

    def _redrawn(self, image: ImageArray, masks: Mapping[int, Logits | MaskPatch]) -> dict[int, MaskPatch]:
        """Outlines from the image's pixels, where the network's configuration asks for them."""
        size = self._network.outline_size if self._config.redraw_outlines else 0
        return refine_boundaries(image, masks, size, self._config.vertical_fov) if size else {}

    def _mask_grid(self, grid: Equirect) -> Equirect:
        """Pixels of the label image that belongs to an image."""
        return grid.of_width(self._config.mask_width) if self._config.mask_width else grid


def tidied(
    result: PropagationResult,
    rules: CleanupConfig,
    expected: Sequence[ExpectedPlace | None],
    mask_stride: int,
) -> PropagationResult:
    """Objects' masks tidied, also those that the next frame starts from; ``mask_stride``: of what comes out.

    Prompted frames should stay as they are: a mask that somebody gave may have parts.
    """
    if rules.min_island <= 0 and rules.max_hole <= 0:
        return result
    masks = result.fine_logits[:, 0].float().cpu().numpy()
    tidy = [remove_islands_and_holes(mask, rules, place) for mask, place in zip(masks, expected, strict=True)]
    fine, bank = torch.from_numpy(np.stack(tidy))[:, None].to(result.fine_logits), result.bank
    low = F.avg_pool2d(fine, LOW_RES_STRIDE // mask_stride)
    kept = torch.where(bank.seen[:, None, None, None], low, bank.mask_logits)
    # The decoder's next middle stays that of all that was found: with that of what is left, val is no better
    # (0.622 for 0.625) and the real video's hand is lost (its cycle 0.00 for 0.69).
    return replace(result, mask_logits=low, fine_logits=fine, bank=replace(bank, mask_logits=kept))
