"""What a network found of objects in one frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.geometry.window import Logits
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE

CERTAIN = 10.0  # presence logit of a prompted object


@dataclass(frozen=True, eq=False)
class PropagationResult:
    """What a network found of N objects in one frame."""

    prediction: MaskPrediction
    mask_logits: Tensor  # [N, 1, 4h, 4w]: a prompt's mask where one was given, else the decoder's
    fine_logits: Tensor  # [N, 1, H', W'], the same at the stride of the masks that come out
    scores: Tensor  # [N] logits of presence; a prompt says that its object is present
    bank: MemoryBank  # after this frame

    def select(self, rows: Tensor | slice) -> PropagationResult:
        """Return the result of these objects, [M] int64, in this order."""
        prediction = MaskPrediction(*(getattr(self.prediction, f.name)[rows] for f in fields(MaskPrediction)))
        own = (self.mask_logits[rows], self.fine_logits[rows], self.scores[rows])
        return PropagationResult(prediction, *own, self.bank.select(rows))

    def with_masks(self, fine_logits: Tensor, stride: int) -> PropagationResult:
        """Return the result with other masks, logits [N, 1, H', W'] at a stride in pixels; memory stays.

        Objects whose mask is empty are not present.
        """
        mask_logits = F.avg_pool2d(fine_logits, LOW_RES_STRIDE // stride)
        prediction = replace(self.prediction, mask_logits=mask_logits, fine_logits=fine_logits)
        empty = ~(fine_logits > 0).flatten(1).any(1)
        scores = torch.where(empty, self.scores.clamp(max=-CERTAIN), self.scores)
        return PropagationResult(prediction, mask_logits, fine_logits, scores, self.bank)

    def replaced(self, rows: Mapping[int, int], other: PropagationResult) -> PropagationResult:
        """Return the result with some rows of another one in the place of its own: own row -> other's row."""
        if not rows:
            return self
        count = len(self.scores)
        chosen = [count + rows[row] if row in rows else row for row in range(count)]
        return PropagationResult.concatenated([self, other]).select(
            torch.tensor(chosen, device=self.scores.device)
        )

    @cached_property
    def cpu_logits(self) -> Logits:
        """The fine logits [N, h, w] on the CPU, copied once."""
        return np.asarray(self.fine_logits[:, 0].float().cpu().numpy())

    def found_logits(self, rows: Sequence[int], *, vetoed: bool = False) -> list[Logits | None]:
        """Return the fine logits [h, w] of these objects on the CPU; None for those that are not present.

        ``vetoed``: also of those that the network sees and a rule does not believe.
        """
        scores = self.prediction.object_score_logits if vetoed else self.scores
        logits, present = self.cpu_logits, (scores > 0).tolist()
        return [logits[row] if present[row] and (logits[row] > 0).any() else None for row in rows]

    @classmethod
    def concatenated(cls, parts: Sequence[PropagationResult]) -> PropagationResult:
        """Return the objects of all parts, in this order."""
        if len(parts) == 1:
            return parts[0]
        predictions = [part.prediction for part in parts]
        return cls(
            MaskPrediction(
                *(torch.cat([getattr(p, f.name) for p in predictions]) for f in fields(MaskPrediction))
            ),
            torch.cat([part.mask_logits for part in parts]),
            torch.cat([part.fine_logits for part in parts]),
            torch.cat([part.scores for part in parts]),
            reduce(MemoryBank.append, [part.bank for part in parts]),
        )
