"""The memory bank: which frames stay, which are replaced, and how large it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from panosam2_ros.memory.frame_memory import BankRules, FrameMemory
from panosam2_ros.memory.memory_bank import LONG_TERM, MemoryBank

SLOTS, POINTERS, MAX_COND = 4, 6, 2
RULES = BankRules(SLOTS, POINTERS, MAX_COND)


def bank(count: int, rules: BankRules = RULES) -> MemoryBank:
    return MemoryBank.empty(count, rules, memory_dim=2, hidden_dim=4, grid=(2, 4), device=torch.device("cpu"))


def write(
    before: MemoryBank,
    value: float,
    keep: list[bool],
    cond: bool = False,
    present: bool = True,
    confidence: float = 0.9,
    pointer: Tensor | None = None,  # [4]
    stamp: float | None = None,  # s
) -> MemoryBank:
    """Write one frame whose memories are all ``value``."""
    count = len(before)
    return before.write(
        FrameMemory(
            maskmem_features=torch.full((count, 2, 2, 4), value),
            obj_ptrs=torch.full((count, 4), value) if pointer is None else pointer.expand(count, 4),
            mask_logits=torch.full((count, 1, 8, 16), value),
            centre=torch.zeros(count, dtype=torch.int64),
            keep=torch.tensor(keep),
            cond=torch.full((count,), cond),
            present=torch.full((count,), present),
            confidence=torch.full((count,), confidence),
            stamp=None if stamp is None else torch.full((count,), round(stamp * 1e9)),
        )
    )


def values(memory: Tensor, valid: Tensor, row: int = 0) -> list[float]:
    return sorted(memory[row, valid[row]].flatten(1)[:, 0].tolist())


def test_the_first_prompt_and_the_newest_frames_stay() -> None:
    memory = write(bank(1), 0, [True], cond=True)
    for value in range(1, 8):
        memory = write(memory, value, [True])
    read = memory.read()
    assert values(read.maskmem_features, read.maskmem_valid) == [0, 5, 6, 7]
    found = read.maskmem_features[0, :, 0, 0, 0].tolist()
    by_value = dict(zip(found, read.tpos_index[0].tolist(), strict=True))
    assert by_value == {0: SLOTS - 1, 7: 0, 6: 1, 5: 2}


def test_prompted_frames_are_capped_and_the_first_survives() -> None:
    memory = bank(1)
    for value in range(5):
        memory = write(memory, value, [True], cond=True)
    memory = write(memory, 9, [True])
    read = memory.read()
    assert values(read.maskmem_features, read.maskmem_valid) == [0, 4, 9]


def test_frames_that_are_not_kept_only_increase_ages() -> None:
    memory = write(bank(2), 1, [True, True], cond=True)
    after = write(memory, 2, [True, False])
    read = after.read()
    assert values(read.maskmem_features, read.maskmem_valid, 1) == [1]
    assert after.frame.tolist() == [2, 2]
    assert read.ptr_age[1, 0] == 2 and after.mask_logits[1].max() == 1


def test_seen_refers_to_the_newest_frame() -> None:
    assert bank(2).seen.tolist() == [False, False]
    memory = write(bank(2), 1, [True, True], cond=True)
    assert memory.seen.tolist() == [True, True]
    after = write(memory, 2, [True, False])
    assert after.seen.tolist() == [True, False]
    absent = write(after, 3, [True, True], present=False)  # SAM2 stores such frames too
    assert absent.seen.tolist() == [False, False]
    kept = absent.keeping_masks(replace(after, mask_logits=after.mask_logits + 5))
    assert torch.equal(kept.mask_logits, after.mask_logits + 5)


def test_ages_are_clamped() -> None:
    memory = write(bank(1), 1, [True], cond=True)
    for _ in range(100):
        memory = write(memory, 0, [False])
    memory = write(memory, 2, [True])
    for _ in range(100):
        memory = write(memory, 0, [False])
    read = memory.read()
    assert read.ptr_age.max() == POINTERS - 1
    assert sorted(read.tpos_index[read.maskmem_valid].tolist()) == [SLOTS - 2, SLOTS - 1]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_invariants_of_any_history(history: list[tuple[bool, bool]]) -> None:
    """Every kept frame has at most one slot, and the newest kept frame has one."""
    memory = bank(1)
    for value, (keep, cond) in enumerate(history):
        memory = write(memory, value, [keep], cond)
    kept = [value for value, (keep, _) in enumerate(history) if keep]
    prompted = [value for value, (keep, cond) in enumerate(history) if keep and cond]
    read = memory.read()
    found = values(read.maskmem_features, read.maskmem_valid)
    assert len(set(found)) == len(found) == min(len(kept), len(found))
    assert set(found) <= set(kept)
    assert not kept or max(kept) in found
    assert not prompted or prompted[0] in found
    assert int(memory.maskmem.cond.sum()) <= MAX_COND


def test_objects_of_different_ages_are_independent() -> None:
    old = bank(1)
    for value in range(4):
        old = write(old, value, [True], cond=value == 0)
    young = write(bank(1), 7, [True], cond=True)
    both = write(old.append(young), 8, [True, True])
    alone = write(old, 8, [True])
    assert torch.equal(both.select(torch.tensor([0])).maskmem_features, alone.maskmem_features)
    assert torch.equal(both.read().tpos_index[:1], alone.read().tpos_index)
    read = both.read()
    assert values(read.maskmem_features, read.maskmem_valid, 1) == [7, 8]


def test_size_is_constant_over_a_thousand_frames() -> None:
    memory = bank(3)
    size = memory.nbytes
    for value in range(1000):
        memory = write(memory, value, [True, value % 2 == 0, value % 7 == 0], cond=value % 100 == 0)
    assert memory.nbytes == size
    tables = SLOTS * (8 + 3 + 8) + POINTERS * (8 + 3 + 8)
    maps, pointers = SLOTS * 2 * 8 * 4, (SLOTS + POINTERS + 1) * 16
    identity = 3 * 4 * 4
    reaches = (2 * SLOTS + 1) * 4
    assert size == 3 * (maps + pointers + tables + reaches + 8 * 16 * 4 + 3 * 8 + identity)


def test_an_identity_is_learned_slowly_from_confident_frames_and_keeps_what_was_prompted() -> None:
    memory, ways = bank(1), torch.eye(4)
    frame = {"cond": torch.tensor([True]), "confidence": torch.tensor([0.9])}

    def learn(before: MemoryBank, own: Tensor, **changes: Tensor) -> MemoryBank:
        yes = torch.tensor([True])
        values = {**frame, **changes}
        return before.write(
            FrameMemory(
                maskmem_features=torch.zeros(1, 2, 2, 4),
                obj_ptrs=torch.zeros(1, 4),
                mask_logits=torch.zeros(1, 1, 8, 16),
                centre=torch.zeros(1, dtype=torch.int64),
                keep=yes,
                present=yes,
                identity=torch.stack([own, ways[3]])[None],
                **values,
            )
        )

    assert not memory.appearance.any()
    memory = learn(memory, ways[0])
    assert torch.equal(memory.appearance[0], ways[0]) and torch.equal(memory.surroundings[0], ways[3])
    no = torch.tensor([False])
    doubtful = learn(memory, ways[1], cond=no, confidence=torch.tensor([0.3]))
    assert torch.equal(doubtful.appearance, memory.appearance)
    once = learn(memory, ways[1], cond=no)
    assert 0.99 < float(once.appearance[0, 0]) < 1
    for _ in range(200):
        once = learn(once, ways[1], cond=no)
    assert torch.allclose(once.appearance[0], torch.tensor([1.0, 1.0, 0.0, 0.0]) / 2**0.5, atol=1e-3)
    assert torch.equal(once.without_learned(torch.tensor([True])).appearance[0], ways[0])


def test_the_long_term_pointer_is_a_bounded_mean_of_confident_frames() -> None:
    memory = write(bank(1), 4, [True], cond=True)
    memory = write(memory, 2, [True])
    memory = write(memory, 100, [True], confidence=0.3)
    memory = write(memory, 100, [True], present=False)
    memory = write(memory, 100, [False])
    assert memory.read().long_ptr[0].tolist() == [3] * 4 and memory.read().long_valid.all()
    for _ in range(10 * LONG_TERM):
        memory = write(memory, 7, [True])
    assert memory.long_count.tolist() == [LONG_TERM]
    assert abs(memory.long_ptr - 7).max() < 0.01


def test_anchors_are_confident_differ_and_stay() -> None:
    memory = bank(1, BankRules(6, POINTERS, MAX_COND, anchors=2, anchor_period=0.4))
    memory = write(memory, 0, [True], cond=True)
    axes = torch.eye(4)
    for value in range(1, 40):  # the first half looks like axis 0, then like axis 1, then like axis 2
        pointer = axes[(value > 12) + (value > 25)]
        memory = write(memory, value, [True], confidence=0.3 if value == 4 else 0.9, pointer=pointer)
    anchors = memory.maskmem_features[0, memory.maskmem.anchor[0], 0, 0, 0].tolist()
    assert sorted(anchors) == [13, 26]  # 4 was doubtful, so 5 was the first, and has been replaced
    read = memory.read()
    assert values(read.maskmem_features, read.maskmem_valid) == [0, 13, 26, 37, 38, 39]


def anchors_of(rate: int, start: float = 100.0) -> list[float]:
    """Return the seconds of the anchors of an object that looks different twice a second."""
    memory = bank(1, BankRules(8, POINTERS, MAX_COND, anchors=4, anchor_period=1.5))
    axes = torch.eye(4)
    for index in range(7 * rate):
        second = index / rate
        pointer = axes[int(2 * second) % 4]
        memory = write(memory, second, [True], cond=index == 0, pointer=pointer, stamp=start + second)
    stamps = memory.maskmem.stamp[memory.maskmem.anchor]
    return sorted(round(s * 1e-9 - start, 2) for s in stamps.tolist())


def test_anchors_are_the_same_at_any_frame_rate() -> None:
    assert anchors_of(2) == anchors_of(10) == anchors_of(30) == [1.5, 3.0, 4.5, 6.0]


def test_a_clock_that_starts_again_does_not_end_anchors() -> None:
    memory = bank(1, BankRules(6, POINTERS, MAX_COND, anchors=2))
    memory = write(memory, 0, [True], cond=True, stamp=1000.0)
    memory = write(memory, 1, [True], stamp=5.0)
    assert memory.maskmem.anchor.any()


def test_rules_that_leave_no_slot_for_the_newest_frame_are_refused() -> None:
    with pytest.raises(ValueError, match="none for the newest frame"):
        BankRules(4, POINTERS, MAX_COND, anchors=2)


def test_before_newest_removes_the_newest_frame() -> None:
    memory = write(write(bank(1), 1, [True], cond=True), 2, [True])
    before = memory.before_newest()
    read = before.read()
    assert values(read.maskmem_features, read.maskmem_valid) == [1] and before.frame.tolist() == [1]
    assert int(read.ptr_valid.sum()) == 1


def test_what_an_object_looks_like_goes_with_it_to_other_views() -> None:
    old = write(write(bank(1), 3, [True], cond=True), 5, [True])
    old = replace(old, identity=torch.rand(1, 3, 4), long_ptr=torch.rand(1, 4))
    anew = write(bank(1), 9, [True], cond=True).with_pointers_of(old)
    assert torch.equal(anew.identity, old.identity) and torch.equal(anew.long_ptr, old.long_ptr)
    assert torch.equal(anew.obj_ptrs, old.obj_ptrs) and torch.equal(anew.colours, old.colours)
    assert values(anew.maskmem_features, anew.maskmem.valid) == [9] and bool(anew.seen)
