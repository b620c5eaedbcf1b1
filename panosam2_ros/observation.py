"""From what a network found to what is known of objects: label images, bearings, motion, the next view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks import paint
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.outlines import outlines
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.propagation import Propagated
from panosam2_ros.sight import Sight, View
from panosam2_ros.tidying import tidied
from panosam2_ros.tracker_config import TrackerConfig
from panosam2_ros.tracks import Known

Image = NDArray[np.uint8]
Labels = NDArray[np.uint16]


class Observer:
    """Knows how masks become what is published; keeps nothing of objects itself."""

    def __init__(self, sight: Sight, config: TrackerConfig, network: ModelConfig) -> None:
        self._sight, self._config, self._network = sight, config, network

    def nothing(self, grid: Equirect) -> Labels:
        """The label image of an image in which no object is known."""
        masks = self._mask_grid(grid)
        return np.zeros((masks.height, masks.width), np.uint16)

    def tidied(self, known: Sequence[Known], result: Propagated, stamp: int) -> Propagated:
        """Without parts that do not belong to the objects, given where they should be."""
        expected = self._sight.expected(known, stamp)
        return tidied(result, self._config.tidy_rules, expected, self._network.mask_stride)

    def observe(
        self,
        known: Sequence[Known],
        views: Sequence[View],
        result: Propagated,
        image: Image,
        stamp: int,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> Labels:
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
        labels, regions = paint(shown | self._redrawn(image, free), masks)
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
        known: Sequence[Known],
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

    def _redrawn(self, image: Image, masks: Mapping[int, Logits | MaskPatch]) -> dict[int, MaskPatch]:
        """Outlines from the image's pixels, where the network's configuration asks for them."""
        size = self._network.outline_size if self._config.redraw_outlines else 0
        return outlines(image, masks, size, self._config.vertical_fov) if size else {}

    def _mask_grid(self, grid: Equirect) -> Equirect:
        """Pixels of the label image that belongs to an image."""
        return grid.of_width(self._config.mask_width) if self._config.mask_width else grid
