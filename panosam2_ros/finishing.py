"""Masks as they are remembered and published: without islands, and with outlines from the camera's pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from panosam2_ros.outlines import Outline, redrawn
from panosam2_ros.tidying import Expected, TidyRules, without_specks


@dataclass(frozen=True)
class Finish:
    """What is done to the masks that a network finds in one image; a ``propagation.Finisher``."""

    image: NDArray[np.uint8]  # [H, W, 3] RGB
    rules: TidyRules
    expected: Sequence[Expected | None]  # where each object should be; empty: masks are not tidied
    outline_size: int  # side of the windows in which masks are redrawn, pixels; 0: they are not
    turn: float = 0.0  # share of the width by which the network's panorama is rolled right

    def of(self, rows: slice) -> Finish:
        """The same for some of the objects."""
        return replace(self, expected=self.expected[rows])

    def __call__(self, fine_logits: Tensor, wanted: Tensor) -> tuple[Tensor, tuple[Outline | None, ...]]:
        """Logits [N, 1, h, w] with the masks of ``wanted`` [N] bool objects finished, and their outlines."""
        outlines: list[Outline | None] = [None] * len(fine_logits)
        tidy = self.expected and self.rules.active
        if not tidy and not self.outline_size:
            return fine_logits, tuple(outlines)
        masks = fine_logits[:, 0].float().cpu().numpy().copy()  # the network's own are still needed
        for i in wanted.nonzero()[:, 0].tolist():
            own = masks[i]
            if tidy:
                own = without_specks(own, self.rules, self.expected[i])
            if self.outline_size:
                outlines[i] = redrawn(self.image, own, self.outline_size, self.rules.vertical_fov, self.turn)
            found = outlines[i]
            masks[i] = own if found is None else found.drawn(own, self.turn)
        return torch.from_numpy(masks)[:, None].to(fine_logits), tuple(outlines)
