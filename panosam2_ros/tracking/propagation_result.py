"""What a network found of objects in one frame."""

from __future__ import annotations

import copy
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
class HostAnswer:
    """What a network found of N objects in one frame, on the CPU."""

    logits: Logits  # [N, h, w], fine
    before: Logits  # [N, h', w'], of the objects' last masks before this frame
    scores: Logits  # [N] logits of presence
    network_scores: Logits  # [N], the same without what rules say
    ious: Logits  # [N], predicted IoU of the masks

    def found(self, rows: Sequence[int], *, vetoed: bool = False) -> list[Logits | None]:
        """Return the logits [h, w] of these objects; None for those that are not present.

        ``vetoed``: also of those that the network sees and a rule does not believe.
        """
        present = (self.network_scores if vetoed else self.scores) > 0
        return [self.logits[row] if present[row] and (self.logits[row] > 0).any() else None for row in rows]

    def with_masks(self, masks: Mapping[int, Logits]) -> HostAnswer:
        """Return the answer with other masks, logits [h, w] by row; who has an empty one is not present."""
        if not masks:
            return self
        logits, scores = self.logits.copy(), self.scores.copy()
        for row, own in masks.items():
            logits[row] = own
            if not (own > 0).any():
                scores[row] = min(scores[row], -CERTAIN)
        return replace(self, logits=logits, scores=scores)

    def select(self, rows: Sequence[int] | slice) -> HostAnswer:
        """Return the answer for these objects, in this order."""
        chosen = rows if isinstance(rows, slice) else np.asarray(rows, np.int64)
        return HostAnswer(*(getattr(self, f.name)[chosen] for f in fields(self)))

    @classmethod
    def concatenated(cls, parts: Sequence[HostAnswer]) -> HostAnswer:
        """Return the objects of all parts, in this order."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


@dataclass(frozen=True, eq=False)
class PropagationResult:
    """What a network found of N objects in one frame.

    Rules change what becomes of that on the CPU, in ``host``; the tensors stay as the network left them.
    """

    prediction: MaskPrediction
    mask_logits: Tensor  # [N, 1, 4h, 4w]: a prompt's mask where one was given, else the decoder's
    fine_logits: Tensor  # [N, 1, H', W'], the same at the stride of the masks that come out
    scores: Tensor  # [N] logits of presence; a prompt says that its object is present
    before: Tensor  # [N, 1, 4h, 4w], logits of the last masks before this frame
    bank: MemoryBank  # after this frame

    @cached_property
    def host(self) -> HostAnswer:
        """The answer on the CPU, which all rules and whoever publishes it read: one copy, on first use."""
        masks = (self.fine_logits[:, 0], self.before[:, 0])
        numbers = (self.scores, self.prediction.object_score_logits, self.prediction.mask_iou)
        parts = [*(mask.flatten(1) for mask in masks), *(each[:, None] for each in numbers)]
        packed = torch.cat([part.float() for part in parts], 1).cpu().numpy()
        fine, before, *rest = np.split(packed, np.cumsum([part.shape[1] for part in parts[:-1]]), 1)
        shaped = (own.reshape(mask.shape) for own, mask in zip((fine, before), masks, strict=True))
        return HostAnswer(*shaped, *(own[:, 0] for own in rest))

    def answered(self, host: HostAnswer) -> PropagationResult:
        """Return the result with another answer on the CPU."""
        other = copy.copy(self)
        other.__dict__["host"] = host  # where ``cached_property`` keeps it
        return other

    def select(self, rows: Sequence[int] | slice) -> PropagationResult:
        """Return the result of these objects, in this order."""
        chosen = (
            rows if isinstance(rows, slice) else torch.tensor(rows, dtype=torch.int64).to(self.scores.device)
        )
        prediction = MaskPrediction(
            *(getattr(self.prediction, f.name)[chosen] for f in fields(MaskPrediction))
        )
        own = (self.mask_logits[chosen], self.fine_logits[chosen], self.scores[chosen], self.before[chosen])
        found = PropagationResult(prediction, *own, self.bank.select(chosen))
        return found.answered(self.host.select(rows)) if "host" in self.__dict__ else found

    def with_masks(self, masks: Sequence[Logits], stride: int) -> PropagationResult:
        """Return the result with other masks, fine logits [h, w] at a stride in pixels; memory stays.

        Objects whose mask is empty are not present. What is known of that on the CPU is forgotten.
        """
        fine = torch.from_numpy(np.stack(masks))[:, None].to(self.fine_logits.device)
        low = F.avg_pool2d(fine, LOW_RES_STRIDE // stride)
        prediction = replace(self.prediction, mask_logits=low, fine_logits=fine)
        empty = ~(fine > 0).flatten(1).any(1)
        scores = torch.where(empty, self.scores.clamp(max=-CERTAIN), self.scores)
        return PropagationResult(prediction, low, fine, scores, self.before, self.bank)

    def replaced(self, rows: Mapping[int, int], other: PropagationResult) -> PropagationResult:
        """Return the result with some rows of another one in the place of its own: own row -> other's row."""
        if not rows:
            return self
        count = len(self.scores)
        chosen = [count + rows[row] if row in rows else row for row in range(count)]
        return PropagationResult.concatenated([self, other]).select(chosen)

    @classmethod
    def concatenated(cls, parts: Sequence[PropagationResult]) -> PropagationResult:
        """Return the objects of all parts, in this order."""
        if len(parts) == 1:
            return parts[0]
        predictions = [part.prediction for part in parts]
        found = cls(
            MaskPrediction(
                *(torch.cat([getattr(p, f.name) for p in predictions]) for f in fields(MaskPrediction))
            ),
            torch.cat([part.mask_logits for part in parts]),
            torch.cat([part.fine_logits for part in parts]),
            torch.cat([part.scores for part in parts]),
            torch.cat([part.before for part in parts]),
            reduce(MemoryBank.append, [part.bank for part in parts]),
        )
        known = all("host" in part.__dict__ for part in parts)
        return found.answered(HostAnswer.concatenated([part.host for part in parts])) if known else found
