"""Identity embeddings say what covers a mask and what is round it."""

from __future__ import annotations

import torch

from panosam2_ros.model.identity import AROUND, OWN, identity_embeddings


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
