"""Identity embeddings say what covers a mask and what is round it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.identity import AROUND, OWN, IdentityCheck, identity_embeddings
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.tracking.propagation import empty_bank, propagate

CHECKED = ModelConfig(input_height=64, input_width=64, regions=True, matched_frames=1, identity_check=True)


def test_features_are_pooled_under_the_mask_and_outside_of_it() -> None:
    features = torch.zeros(2, 3, 4, 4)
    features[:, 0] = 2.0
    features[:, :, 1:3, 1:3] = torch.tensor([0.0, 5.0, 0.0]).view(1, 3, 1, 1)
    mask = torch.full((4, 1, 16, 16), -4.0)
    mask[..., 4:12, 4:12] = 3.0
    found = identity_embeddings(features, mask)
    assert found.shape == (4, 2, 3)
    assert torch.allclose(found[:, OWN], torch.tensor([0.0, 1.0, 0.0]).expand(4, 3))
    assert torch.allclose(found[:, AROUND], torch.tensor([1.0, 0.0, 0.0]).expand(4, 3))


def test_objects_of_an_image_are_adjacent() -> None:
    features = torch.eye(2).view(2, 2, 1, 1).expand(2, 2, 4, 4)
    found = identity_embeddings(features, torch.ones(6, 1, 16, 16))[:, OWN]
    assert found.argmax(1).tolist() == [0, 0, 0, 1, 1, 1]


def test_what_covers_nothing_has_no_identity_and_nothing_is_learned_from_it() -> None:
    features = torch.rand(1, 3, 4, 4, requires_grad=True)
    found = identity_embeddings(features, torch.full((1, 1, 16, 16), -1.0))
    assert not found[0, OWN].any() and found[0, AROUND].any() and not found.requires_grad


def prediction(scores: Tensor) -> MaskPrediction:
    """Masks [N, 1, 16, 16] of the middle, with presence logits [N]."""
    masks = torch.full((len(scores), 1, 16, 16), -4.0)
    masks[..., 4:12, 4:12] = 3.0
    return MaskPrediction(masks, torch.full_like(scores, 0.8), torch.zeros(len(scores), 2), scores, masks)


def test_an_untrained_check_changes_nothing() -> None:
    own, known = F.normalize(torch.randn(3, 8), dim=1), F.normalize(torch.randn(3, 3, 8), dim=2)
    scores = torch.tensor([5.0, -2.0, 0.5])
    assert torch.equal(IdentityCheck(4)(own, known, torch.randn(3, 1, 8, 8), prediction(scores)), scores)


def test_a_check_learns_to_tell_objects_from_other_things() -> None:
    """Of any looks: it sees how alike things are, so that what it learned holds for things it never saw."""
    torch.manual_seed(0)
    check = IdentityCheck(16)
    optimizer = torch.optim.AdamW(check.parameters(), 0.01)

    def batch() -> tuple[Tensor, Tensor]:
        prompted, other = F.normalize(torch.randn(2, 64, 32), dim=-1)
        same = torch.rand(64) < 0.5
        own = F.normalize(torch.where(same[:, None], prompted, other) + 0.1 * torch.randn(64, 32), dim=1)
        known = torch.stack([prompted, prompted, F.normalize(torch.randn(64, 32), dim=1)], 1)
        return check(own, known, torch.zeros(64, 1, 8, 8), prediction(torch.full((64,), 4.0))), same

    for _ in range(80):
        scores, same = batch()
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(scores, same.float()).backward()
        optimizer.step()
    scores, same = batch()
    assert ((scores > 0) == same).float().mean() > 0.95


def test_the_decoder_learns_presence_as_without_a_check() -> None:
    check, scores = IdentityCheck(4), torch.tensor([5.0, -2.0], requires_grad=True)
    torch.nn.init.normal_(check.layers[-1].weight)
    own, known = torch.randn(2, 8), torch.randn(2, 3, 8)
    check(own, known, torch.randn(2, 1, 8, 8), prediction(scores)).sum().backward()
    assert scores.grad is not None and scores.grad.tolist() == [1.0, 1.0]


def test_presence_follows_the_check_and_its_gradient_reaches_the_decoder() -> None:
    model = random_model(1, config=CHECKED)
    images = torch.rand(1, 3, 64, 64) * 255
    bank = empty_bank(model, 2)
    assert bank.identity.shape[-1] == sum(model.image_encoder.trunk.channel_list[1:3])
    features = model.encode_image(images)
    before = propagate(model, bank, features).scores
    assert model.identity_check is not None
    torch.nn.init.constant_(model.identity_check.layers[-1].bias, -3.0)
    after = propagate(model, bank, features).scores
    assert torch.allclose(after, before - 3, atol=1e-5)
    after.sum().backward()
    head = model.sam_mask_decoder.pred_obj_score_head.layers[-1].weight.grad
    assert head is not None and bool(head.any())


def test_a_check_needs_pixels_that_are_compared() -> None:
    with pytest.raises(ValueError, match="identity_check needs matched_frames"):
        ModelConfig(identity_check=True)


def test_what_is_unlike_a_lost_object_is_not_its_return() -> None:
    model = random_model(1, config=replace(CHECKED, return_likeness=0.5)).eval()
    features = model.encode_image(torch.rand(1, 3, 64, 64) * 255)
    with torch.no_grad():
        plain = propagate(model, empty_bank(model, 1), features)
        own = identity_embeddings(features.identity_maps, plain.prediction.mask_logits)[:, OWN]
        assert own.any()
        for like, found in ((own, True), (-own, False)):
            bank = empty_bank(model, 1)
            bank = replace(bank, identity=like[:, None].expand(-1, 3, -1))
            torch.nn.init.constant_(model.identity_check.layers[-1].bias, 20.0)
            assert bool(propagate(model, bank, features).scores > 0) == found
        assert bool(propagate(model, empty_bank(model, 1), features).scores > 0)  # its looks are not known
