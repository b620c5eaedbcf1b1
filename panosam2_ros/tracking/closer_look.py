"""Closer looks at prompted objects: their outlines by the network's prompt head, in views that they fill.

An object is followed in a region that shows its surroundings. Its outline is seen better from closer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from panosam2_ros.geometry.search_region import SearchRegion
from panosam2_ros.geometry.window import Logits
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.prompt_head import closer_network
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.propagation import empty_bank, segment_prompts
from panosam2_ros.tracking.step_inputs import view_pixels
from panosam2_ros.tracking.view import InputView, NetworkInput, SearchRegionView, masks_agree
from panosam2_ros.tracking.view_encoder import encode_prompts
from panosam2_ros.tracking.view_planner import PromptView


@dataclass(frozen=True, eq=False)
class _Look:
    """A prompt whose object is looked at from closer."""

    row: int
    prompt: Prompt
    region: SearchRegion  # in which the object was found
    closer: SearchRegion
    found: Logits  # [h, w], in ``region``


class CloserLook:
    """Finds the outlines of prompted objects from closer; keeps nothing of objects."""

    def __init__(self, model: PanoSAM2, network: NetworkInput) -> None:
        """Take a network with a prompt head."""
        self._model, self._network = closer_network(model), network

    def masks(
        self, frame: Frame, prompts: Sequence[Prompt], views: Sequence[InputView], found: Logits
    ) -> dict[int, Logits]:
        """Return better masks, logits [h, w] in the views of ``prompts``, by row.

        ``found`` [N, h, w] was found there. Rows are missing whose object was given as a mask, or not
        found, is too large, is seen in a panorama, or seen from closer is something else.
        """
        looks = self._looks(prompts, views, found)
        better = {}
        for look, logits in zip(looks, self._seen(frame, looks), strict=True):
            mask = look.closer.shown_in(look.region, logits)
            if masks_agree(mask > 0, look.found > 0):
                better[look.row] = mask
        return better

    def _looks(self, prompts: Sequence[Prompt], views: Sequence[InputView], found: Logits) -> list[_Look]:
        """Return what is to be looked at."""
        looks = []
        for row, (prompt, view) in enumerate(zip(prompts, views, strict=True)):
            if prompt.mask is None and isinstance(view, SearchRegionView) and (found[row] > 0).any():
                closer = view.region.zoomed(self._model.config.prompt_zoom)
                if closer is not None:
                    looks.append(_Look(row, prompt, view.region, closer, found[row]))
        return looks

    def _seen(self, frame: Frame, looks: Sequence[_Look]) -> Sequence[Logits]:
        """Return the masks, logits [h, w] in the closer regions; they refine what was found before."""
        if not looks:
            return []
        network, device = self._network, self._model.device
        stride = LOW_RES_STRIDE // self._model.config.mask_stride
        shown = np.stack([look.region.shown_in(look.closer, look.found) for look in looks])
        last = F.avg_pool2d(torch.from_numpy(shown)[:, None], stride).to(device)
        views = [PromptView(SearchRegionView(look.closer), has_last_mask=True) for look in looks]
        prompts = [look.prompt for look in looks]
        encoded = encode_prompts(self._model, network, prompts, views, frame.grid, last_masks=last)
        pixels = view_pixels(frame, [view.view for view in views], network, device)
        nothing = empty_bank(self._model, len(looks))
        with self._model.precision():
            features = self._model.encode_image(pixels.to(device))
            result = segment_prompts(self._model, nothing, features, encoded, corrects=False)
        return list(result.host.logits)
