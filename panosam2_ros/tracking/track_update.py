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
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.window import Logits, MaskPatch
from panosam2_ros.masks.boundary import refine_boundaries
from panosam2_ros.masks.cleanup import remove_islands_and_holes
from panosam2_ros.masks.label_image import render_label_image
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.propagation import PropagationResult
from panosam2_ros.tracking.track import TrackedObject
from panosam2_ros.tracking.view import InputView, NetworkInput
from panosam2_ros.tracking.view_planner import ViewPlanner


class TrackUpdater:
    """Turns masks into what is known and published of objects; keeps nothing of them itself."""

    def __init__(
        self, planner: ViewPlanner, network: NetworkInput, config: TrackerConfig, model: ModelConfig
    ) -> None:
        self._planner, self._network, self._config, self._model = planner, network, config, model

    def clean(
        self,
        objects: Sequence[TrackedObject],
        views: Sequence[InputView],
        result: PropagationResult,
        stamp: int,  # ns, of the image
    ) -> PropagationResult:
        """Remove parts of masks that do not belong to their objects, also for the next frame.

        Prompted frames should stay as they are: a mask that somebody gave may have parts.
        """
        config = self._config.cleanup
        if self._model.regions:
            config = replace(config, vertical_fov=None)
        if config.min_island <= 0 and config.max_hole <= 0:
            return result
        masks = result.fine_logits[:, 0].float().cpu().numpy()
        pairs = zip(objects, views, strict=True)
        places = [view.expected_place(item.motion, stamp, self._network) for item, view in pairs]
        cleaned = [
            remove_islands_and_holes(m, config, expected=place)
            for m, place in zip(masks, places, strict=True)
        ]
        fine, bank = torch.from_numpy(np.stack(cleaned))[:, None].to(result.fine_logits), result.bank
        low = F.avg_pool2d(fine, LOW_RES_STRIDE // self._model.mask_stride)
        kept = torch.where(bank.seen[:, None, None, None], low, bank.mask_logits)
        # The decoder's next middle stays that of all that was found: with that of what is left, val is no
        # better (0.622 for 0.625) and the real video's hand is lost (its cycle 0.00 for 0.69).
        return replace(result, mask_logits=low, fine_logits=fine, bank=replace(bank, mask_logits=kept))

    def update(
        self,
        objects: Sequence[TrackedObject],
        views: Sequence[InputView],
        result: PropagationResult,
        frame: Frame,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
    ) -> LabelImage:
        """Update objects from their masks; return the label image of those that are visible.

        ``prompts``: how objects, by id, were prompted in this frame; masks that were given stay as they are.
        """
        grid = frame.mask_grid(self._config.mask_width)
        scores = result.scores.sigmoid().tolist()
        ious = result.prediction.mask_iou.tolist()
        logits = result.fine_logits[:, 0].float().cpu().numpy()
        present = [item.motion.present(score) for item, score in zip(objects, scores, strict=True)]
        found = self._visible(objects, views, logits, present, prompted=bool(prompts))
        given = {obj_id for obj_id, prompt in prompts.items() if prompt.mask is not None}
        refined = self._refined(frame.image, {i: mask for i, mask in found.items() if i not in given})
        labels, regions = render_label_image(found | refined, grid)
        for item, score, iou in zip(objects, scores, ious, strict=True):
            region = regions.get(item.obj_id)
            bearing = mask_bearing(region.whole(grid.height), grid, mask_iou=iou) if region else None
            item.motion.update(frame.stamp, bearing, prompted=bool(prompts))
            item.searched = True
            item.score = score
            item.mask_iou = min(max(iou, 0.0), 1.0) if bearing else 0.0
        return labels

    def _visible(
        self,
        objects: Sequence[TrackedObject],
        views: Sequence[InputView],
        logits: NDArray[np.float32],  # [N, h, w] fine
        present: Sequence[bool],
        *,
        prompted: bool,
    ) -> dict[int, Logits | MaskPatch]:
        """Return masks of present objects by id, in the panorama; plan where to look for all of them next."""
        found: dict[int, Logits | MaskPatch] = {}
        for item, view, own, there in zip(objects, views, logits, present, strict=True):
            mask = view.to_panorama(own, self._network) if there else None
            if mask is None:
                item.view = self._planner.next_view(item.view, None, prompted=prompted)
            else:
                found[item.obj_id] = mask
                item.last_view = view
                item.view = self._planner.next_view(view, own, prompted=prompted)
        return found

    def _refined(self, image: ImageArray, masks: Mapping[int, Logits | MaskPatch]) -> dict[int, MaskPatch]:
        """Return masks whose boundaries follow the image's pixels, where the network's configuration asks."""
        size = self._model.outline_size if self._config.refine_boundaries else 0
        return refine_boundaries(image, masks, size, self._config.vertical_fov) if size else {}
