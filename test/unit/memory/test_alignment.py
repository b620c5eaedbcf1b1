"""Alignment of remembered maps with views that reach farther or less far."""

from __future__ import annotations

import torch
from torch import Tensor

from panosam2_ros.memory.alignment import reach_ratio, resampled
from panosam2_ros.memory.frame_memory import BankRules, FrameMemory
from panosam2_ros.memory.memory_bank import MemoryBank

SIDE = 32


def disc(radius: float, side: int = SIDE) -> Tensor:
    """Return a disc [1, side, side] of 1 on 0, as softly bounded as a pixel is wide."""
    across = torch.arange(side) + 0.5 - side / 2
    return (radius + 0.5 - torch.hypot(across[:, None], across)).clamp(0, 1)[None]


def test_a_disc_has_half_its_size_in_a_view_that_reaches_twice_as_far() -> None:
    maps, inside = resampled(disc(10)[None, None], torch.full((1, 1), 2.0))
    assert maps.shape == (1, 1, 1, SIDE, SIDE) and inside.shape == (1, 1, SIDE, SIDE)
    assert (maps[0, 0] - disc(5)).abs().mean() < 0.01 < (disc(10) - disc(5)).abs().mean()
    assert inside[0, 0].sum() == (SIDE // 2) ** 2 and inside[0, 0, 8:24, 8:24].all()
    closer, inside = resampled(disc(5)[None], torch.tensor([0.5]))
    assert ((closer[0] > 0.5) == (disc(10) > 0.5)).float().mean() > 0.98 and inside.all()


def test_what_was_not_seen_has_the_value_for_that() -> None:
    maps, inside = resampled(torch.full((1, 1, 8, 8), 3.0), torch.tensor([2.0]), outside=-6.0)
    assert (maps[0, 0][inside[0]] == 3).all() and (maps[0, 0][~inside[0]] == -6).all()


def test_maps_of_the_same_reach_stay_bit_for_bit_in_their_own_type() -> None:
    maps = torch.randn(3, 2, 4, 5, 7).bfloat16()
    same, inside = resampled(maps, torch.tensor([[1.0, 1 + 5e-7], [2.0, 1.0], [1 - 5e-7, 1.0]]))
    changed = torch.zeros(3, 2, dtype=torch.bool)
    changed[1, 0] = True
    assert torch.equal(same[~changed], maps[~changed]) and same.dtype is maps.dtype
    assert not torch.equal(same[1, 0], maps[1, 0]) and inside[~changed].all()


def test_views_that_do_not_compare_have_the_ratio_one() -> None:
    nan = float("nan")
    now, then = torch.tensor([4.0, 0.0, 4.0, nan, 4.0]), torch.tensor([2.0, 2.0, 0.0, 2.0, nan])
    assert reach_ratio(now, then).tolist() == [2, 1, 1, 1, 1]


def test_a_bank_shows_each_slot_and_the_last_mask_as_the_present_view_does() -> None:
    rules = BankRules(slots=3, max_obj_ptrs=2, max_cond=1)
    bank = MemoryBank.empty(1, rules, memory_dim=1, hidden_dim=2, grid=(16, 16), device=torch.device("cpu"))
    for reach in (3.0, 6.0):
        frame = FrameMemory(
            maskmem_features=disc(12 / reach, 16)[None],
            obj_ptrs=torch.ones(1, 2),
            mask_logits=20 * disc(48 / reach, 64)[None] - 10,
            centre=torch.zeros(1, dtype=torch.int64),
            keep=torch.tensor([True]),
            cond=torch.tensor([reach == 3]),
            present=torch.tensor([True]),
            confidence=torch.ones(1),
            reach=torch.tensor([reach]),
        )
        bank = bank.write(frame)
    assert bank.slot_reach.tolist() == [[3, 6, 0]] and bank.mask_reach.tolist() == [6]
    plain, aligned = bank.read(), bank.read(torch.tensor([6.0]))
    assert plain.tokens_valid is None and aligned.tokens_valid is not None
    assert aligned.tokens_valid.flatten(2).sum(-1).tolist() == [[64, 256, 256]]
    older, newer = aligned.maskmem_features[0, :2]
    assert torch.equal(newer, plain.maskmem_features[0, 1])
    assert (older - newer).abs().mean() < 0.02 < (plain.maskmem_features[0, 0] - newer).abs().mean()
    last = bank.last_masks(torch.tensor([3.0]), outside=-6.0)
    assert ((last > 0) == (disc(16, 64) > 0.5)).float().mean() > 0.99
    assert bank.last_masks(None, outside=-6.0) is bank.mask_logits
    assert bank.select(slice(0, 0)).append(bank).slot_reach.tolist() == [[3, 6, 0]]
