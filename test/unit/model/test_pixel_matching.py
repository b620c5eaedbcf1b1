"""Pixels that match those of prompted frames: what they say of masks, and how they are kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.memory.reference_frames import ReferenceFrames
from panosam2_ros.memory.slot_table import EMPTY
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.pixel_matching import MOST_EVIDENCE, match_evidence, pixel_keys
from panosam2_ros.tracking.propagation import empty_bank, propagate

CONFIG = ModelConfig(input_height=64, input_width=64, regions=True, matched_frames=2)


def half_and_half(height: int = 4, width: int = 6) -> tuple[Tensor, Tensor]:
    """Two kinds of pixels, [1, 8, h, w], side by side, and which are of the first kind, [h, w]."""
    kinds = torch.eye(8)[:2]
    first = torch.arange(width).expand(height, -1) < width // 2
    return torch.where(first, kinds[0][:, None, None], kinds[1][:, None, None])[None], first


def test_pixels_are_what_they_look_like_wherever_they_are() -> None:
    keys, first = half_and_half()
    share, valid = first.float()[None, None], torch.ones(1, 1, dtype=torch.bool)
    for moved in (keys, keys.flip(-1), keys.roll(1, -1)):
        evidence = match_evidence(moved, keys[:, None], share, valid)
        assert evidence.shape == (1, 1, 4, 6)
        assert torch.equal(evidence[0, 0] > 0, moved[0, 0] > 0.5)
        assert evidence.abs().min() == pytest.approx(MOST_EVIDENCE)


def test_frames_that_are_not_there_say_nothing() -> None:
    keys, first = half_and_half()
    references = torch.stack([keys, keys.flip(-1)], 1)
    share = first.float().expand(1, 2, -1, -1)
    nothing = match_evidence(keys, references, share, torch.zeros(1, 2, dtype=torch.bool))
    assert torch.equal(nothing, torch.zeros_like(nothing))
    only_first = match_evidence(keys, references, share, torch.tensor([[True, False]]))
    alone = match_evidence(keys, keys[:, None], share[:, :1], torch.ones(1, 1, dtype=torch.bool))
    assert torch.allclose(only_first, alone)
    both = match_evidence(keys, references, share, torch.ones(1, 2, dtype=torch.bool))
    assert both.abs().max() < 1e-5  # the two contradict each other


def test_objects_of_an_image_share_its_pixels() -> None:
    keys, first = half_and_half()
    references = keys[:, None].expand(2, -1, -1, -1, -1)
    share = torch.stack([first.float(), 1 - first.float()])[:, None]
    one, other = match_evidence(keys, references, share, torch.ones(2, 1, dtype=torch.bool))
    assert torch.allclose(one, -other)


def test_keys_are_unit_vectors_of_both_strides() -> None:
    keys = pixel_keys(torch.randn(2, 5, 8, 8), torch.randn(2, 7, 4, 4))
    assert keys.shape == (2, 12, 8, 8)
    assert torch.allclose(keys.norm(dim=1), torch.full((2, 8, 8), 1.0), atol=0.05)
    assert torch.allclose(keys[:, :5].norm(dim=1), torch.full((2, 8, 8), 0.5**0.5), atol=1e-5)


def test_the_first_prompt_stays_and_others_replace_each_other() -> None:
    kept = ReferenceFrames.empty(2, 2, 3, (4, 4), torch.device("cpu"))
    assert not kept.valid.any()
    for frame in (0, 3, 5):
        keys, share = torch.full((2, 3, 4, 4), float(frame)), torch.full((2, 4, 4), 0.5)
        kept = kept.write(torch.tensor([True, frame != 5]), torch.full((2,), frame), keys, share)
    assert kept.written.tolist() == [[0, 5], [0, 3]]
    assert kept.keys[0, 1, 0, 0, 0] == 5 and kept.keys[1, 1, 0, 0, 0] == 3
    without = kept.only(kept.written != 5)
    assert without.written.tolist() == [[0, EMPTY], [0, 3]]
    assert without.later(torch.tensor([2, 4])).written.tolist() == [[2, EMPTY], [4, 7]]


def matched(model: PanoSAM2, image: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of the same picture again, with the network's bank and with one that has no references."""
    features, bank = model.encode_image(image), empty_bank(model, 1)
    height, width = bank.mask_logits.shape[-2:]
    mask = torch.full((1, 1, height, width), -5.0)
    mask[..., : width // 2] = 5.0
    share = F.avg_pool2d((mask > 0).float(), 2)[:, 0]
    keys = features.keys
    assert keys is not None
    known = bank.references.write(torch.ones(1, dtype=torch.bool), bank.frame, keys, share)
    with_them = propagate(model, bank.with_tensors({**bank.tensors(), **named(known)}), features)
    return with_them.mask_logits, propagate(model, bank, features).mask_logits


def named(frames: ReferenceFrames) -> dict[str, Tensor]:
    return {f"references.{name}": getattr(frames, name) for name in ("written", "keys", "share")}


@torch.inference_mode()
def test_a_network_is_told_what_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(1, config=CONFIG).eval()
    left = torch.zeros(1, 3, 64, 64)
    left[..., :32] = torch.tensor([200.0, 40.0, 40.0]).view(1, 3, 1, 1)
    told, untold = matched(model, left)
    gained = told - untold
    assert gained[..., :4].mean() > 0.5 > -0.5 > gained[..., -4:].mean()


def test_networks_without_matching_keep_nothing() -> None:
    model = random_model(1, config=ModelConfig(input_height=64, input_width=64, regions=True)).eval()
    assert model.matching is None and model.encode_image(torch.zeros(1, 3, 64, 64)).keys is None
    assert empty_bank(model, 3).references.keys.numel() == 0
