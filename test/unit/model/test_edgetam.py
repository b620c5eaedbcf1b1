"""EdgeTAM's parts, its names, what it refuses, and that a tracker runs it in search regions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.tracker_inputs import live_batch, mask_prompt, picture
from panosam2_ros import Prompt
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.checkpoints import EDGETAM, EDGETAM_SIZE, official_config
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.repvit import RepViT
from panosam2_ros.model.spatial_perceiver import LATENT_GRID, LATENT_SIDE, LatentEncoding, SpatialPerceiver
from panosam2_ros.model.transformers_names import official_name
from panosam2_ros.tracking.propagation import empty_bank
from panosam2_ros.tracking.tracker import PanoTracker, TrackerConfig
from panosam2_ros.tracking.view import SearchRegionView

# Of the sorted names and shapes of all tensors, "NAME (SHAPE)" a line, in the state dict of the network that
# facebookresearch/EdgeTAM builds from its edgetam.yaml (commit 9cc44bf) with timm 1.0.31.
ORIGINAL_NAMES = "ceda0fdf169f31588a88c94fe56a150020f27eb57555b7913273864fa8446a45"


@pytest.mark.parametrize("prefix", ["timm_model.", ""])
def test_names_of_the_trunk_in_files_of_transformers(prefix: str) -> None:
    name = official_name(f"vision_encoder.backbone.{prefix}stages_1.blocks.0.se.fc1.bias")
    assert name == "image_encoder.trunk.body.stages_1.blocks.0.se.fc1.bias"


@pytest.fixture(scope="module")
def model() -> PanoSAM2:
    return random_model(0, config=official_config(EDGETAM, 256, 256)).eval().requires_grad_(False)


def test_tensors_have_the_names_and_shapes_of_the_original(model: PanoSAM2) -> None:
    lines = [f"{name} {tuple(x.shape)}" for name, x in sorted(model.state_dict().items())]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == ORIGINAL_NAMES


def test_a_checkpoint_in_the_original_format_is_recognised(model: PanoSAM2, tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    torch.save({"model": model.state_dict()}, path)
    built = build_model(str(path), device="cpu", precision="float32")
    assert (built.config.name, built.input_size, built.config.regions) == (EDGETAM, EDGETAM_SIZE, True)
    assert torch.equal(built.maskmem_tpos_enc, model.maskmem_tpos_enc)
    trunk = built.image_encoder.trunk
    assert isinstance(trunk, RepViT) and not any(isinstance(m, torch.nn.BatchNorm2d) for m in trunk.modules())


def test_the_trunk_has_four_strides(model: PanoSAM2) -> None:
    maps = model.image_encoder.trunk(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 48, 16, 24), (2, 96, 8, 12), (2, 192, 4, 6), (2, 384, 2, 3)]


@pytest.mark.parametrize("size", [(448, 896), (224, 224), (1000, 1000)])
def test_inputs_that_the_memory_cannot_take_are_refused(model: PanoSAM2, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"multiple of 256 pixels, got {size[0]}x{size[1]}"):
        official_config(EDGETAM, *size)
    with pytest.raises(ValueError, match="multiple of"):
        model.set_input_size(*size)


def test_panoramas_are_refused_and_wide_objects_are_seen_in_regions(model: PanoSAM2) -> None:
    with pytest.raises(ValueError, match=r"edgetam sees search regions only.*set view to auto or regions"):
        PanoTracker(model, TrackerConfig(view="panorama"))
    tracker = PanoTracker(model)
    mask = np.zeros((128, 256), bool)
    mask[50:70, 40:160] = True  # 169 degrees
    assert tracker.prompt(picture(), 0, [Prompt(mask=mask)])[0].success
    tracker.step(picture(1), 10**8)
    assert [type(item.view) for item in live_batch(tracker).objects] == [SearchRegionView]


def test_region_sizes_are_multiples_of_256(model: PanoSAM2) -> None:
    smaller = model.for_regions(512)
    assert smaller.input_size == (512, 512) and smaller.no_mem_embed is model.no_mem_embed
    with pytest.raises(ValueError, match="multiple of 256 pixels, got 448x448"):
        model.for_regions(448)


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="trunk is one of conv, mobilenet_v2, hiera, repvit, got 'vit'"):
        ModelConfig(trunk="vit")
    with pytest.raises(ValueError, match="memory_tokens is map or latents, got 'tokens'"):
        ModelConfig(memory_tokens="tokens")


def perceiver() -> SpatialPerceiver:
    torch.manual_seed(2)
    return SpatialPerceiver(8).eval().requires_grad_(False)


def test_patch_level_latents_see_their_window_and_global_ones_everything() -> None:
    compress, maps = perceiver(), torch.randn(1, 8, 32, 48)
    changed = maps.clone()
    changed[..., 2 * 5 + 1, 3 * 7 + 2] += 9 * torch.randn(8)  # in the window of row 5 and column 7
    difference = (compress(changed) - compress(maps)).abs().amax((0, 1))
    assert tuple(difference.shape) == LATENT_GRID
    assert (difference[:LATENT_SIDE] > 0).all()
    assert difference[LATENT_SIDE:].nonzero().tolist() == [[5, 7]]


def test_global_latents_know_places_and_patch_level_ones_do_not() -> None:
    compress, maps = perceiver(), torch.randn(2, 8, 16, 16)
    compress.latents_2d.copy_(compress.latents_2d[:1].expand_as(compress.latents_2d))  # one query for all
    here, there = compress(maps), compress(maps.roll(3, -1))
    assert (here[..., :LATENT_SIDE, :] - there[..., :LATENT_SIDE, :]).abs().max() > 1e-3
    rolled = here[..., LATENT_SIDE:, :].roll(3, -1)
    assert torch.allclose(rolled, there[..., LATENT_SIDE:, :], atol=1e-5)


def test_only_patch_level_latents_have_a_position_code() -> None:
    code = LatentEncoding(8)(torch.zeros(1, 8, *LATENT_GRID))
    assert tuple(code.shape) == (1, 8, *LATENT_GRID)
    assert not code[..., :LATENT_SIDE, :].any()
    placed = code[0, :, LATENT_SIDE:].flatten(1).T
    assert (torch.cdist(placed, placed) + torch.eye(len(placed)) > 1e-3).all()  # all differ


def test_memories_have_one_size_whatever_the_input_is_and_do_not_roll(model: PanoSAM2) -> None:
    assert model.memory_grid == LATENT_GRID
    bank = empty_bank(model, 2)
    assert bank.maskmem_features.shape[-2:] == LATENT_GRID and bank.mask_logits.shape[-2:] == (64, 64)
    large = random_model(0, config=official_config(EDGETAM, 512, 512))
    assert empty_bank(large, 2).maskmem_features.shape == bank.maskmem_features.shape
    with pytest.raises(ValueError, match="cannot be rolled"):
        bank.rolled(1)


def test_a_tracker_runs_it_in_search_regions_and_continues_from_a_snapshot(model: PanoSAM2) -> None:
    tracker = PanoTracker(model, TrackerConfig(max_objects=2))
    outcome = tracker.prompt(picture(), 0, [mask_prompt(240, 40), mask_prompt(100, 60)])
    assert all(item.success for item in outcome)
    tracker.step(picture(1), 10**8)
    snapshot = tracker.snapshot()
    assert snapshot.bank.maskmem_features.shape[-2:] == LATENT_GRID
    expected = tracker.step(picture(2), 2 * 10**8)
    again = PanoTracker(model, TrackerConfig(max_objects=2))
    again.restore(snapshot)
    found = again.step(picture(2), 2 * 10**8)
    assert np.array_equal(found.labels, expected.labels)
    assert torch.equal(again.snapshot().bank.maskmem_features, tracker.snapshot().bank.maskmem_features)
