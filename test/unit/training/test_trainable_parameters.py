"""PanoSAM2's learned parts: identities before training, and effects after it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from panosam2_ros.geometry.circular import tangent_neighbours
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import OFFICIAL, official_config
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.distortion_refinement import DistortionRefinement
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.long_short_memory import LongShortMemory
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts

HEIGHT, WIDTH = 64, 128


def _shaken(module: nn.Module, seed: int = 1) -> nn.Module:
    """Make every parameter random, so that parts that start at zero have an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.5, generator=generator)
    return module.eval().requires_grad_(False)


def test_neighbours_are_where_the_tangent_plane_has_them() -> None:
    """Sampling a map of directions yields directions one row away, at every latitude, in order."""
    grid = Equirect(WIDTH, HEIGHT)
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    vectors = grid.pixel_to_vector(u, v)
    near = tangent_neighbours(torch.from_numpy(vectors).permute(2, 0, 1)[None].float())
    found = near[0].unflatten(0, (3, 9)).permute(1, 2, 3, 0).numpy().astype(float)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    angles = angle_between(found, vectors) / (np.pi / HEIGHT)  # [9, H, W] in rows
    inside = slice(3, HEIGHT - 3)  # at the poles bilinear sampling stays on this side
    assert np.allclose(angles[4], 0, atol=1e-3)
    assert np.allclose(angles[[1, 3, 5, 7], inside], 1, atol=0.06)
    assert np.allclose(angles[[0, 2, 6, 8], inside], np.sqrt(2), atol=0.09)
    up, right = found[1] - found[7], found[5] - found[3]
    assert (up[inside, :, 1] < 0).all()  # y points down
    assert (np.cross(right, up)[inside] * vectors[inside]).sum(-1).max() < 0  # seen from inside


def test_neighbours_roll_with_the_map() -> None:
    x = torch.rand(2, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    rolled = tangent_neighbours(x.roll(11, -1))
    assert torch.allclose(rolled, tangent_neighbours(x).roll(11, -1), atol=1e-5)


def test_channels_are_mixed_before_neighbours_are_sampled_to_the_same_end() -> None:
    generator = torch.Generator().manual_seed(3)
    refine = _shaken(DistortionRefinement(5, 1))
    features = torch.randn(2, 5, 16, 32, generator=generator)
    expected = refine.from_features(tangent_neighbours(features))
    assert torch.allclose(refine._neighbourhood(features), expected, atol=1e-4)


def test_refinement_is_the_identity_until_trained_then_local_and_seamless() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(4, 1, 16, 32, generator=generator) * 5
    features = torch.randn(2, 12, 16, 32, generator=generator)
    assert torch.equal(DistortionRefinement(12, 3)(logits, features), logits)
    refine = _shaken(DistortionRefinement(12, 3))
    out = refine(logits, features)
    assert (out - logits).abs().max() > 0.1
    rolled = refine(logits.roll(13, -1), features.roll(13, -1))
    assert torch.allclose(rolled, out.roll(13, -1), atol=1e-3)
    changed = logits.clone()
    changed[:, :, 8, 16] += 3  # at the equator three steps see three pixels and the samples' width
    columns = (refine(changed, features) - out).abs().amax((0, 1, 2)).nonzero()[:, 0]
    assert columns.min() >= 16 - 6 and columns.max() <= 16 + 6
    alone = refine(logits[2:3], features[1:])
    assert torch.allclose(alone, out[2:3], atol=1e-4)


def test_the_long_term_pointer_changes_nothing_until_trained_or_unless_known() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, 4, 32, 4, 8, generator=generator)
    pointer = torch.randn(2, 96, generator=generator)
    known = torch.tensor([True, False])
    assert torch.equal(LongShortMemory(32, 96)(maps, pointer, known), maps)
    module = _shaken(LongShortMemory(32, 96))
    out = module(maps, pointer, known)
    assert (out[0] - maps[0]).abs().max() > 0.1 and torch.equal(out[1], maps[1])
    other = module(maps, pointer.flip(1), known)
    assert (out[0] - other[0]).abs().max() > 0.1
    assert torch.allclose(module(maps.roll(3, -1), pointer, known), out.roll(3, -1), atol=1e-5)


def _track(model: PanoSAM2, shift: int = 0) -> torch.Tensor:
    """Return the mask logits [frames, N, 1, h, w] of two objects in a small video."""
    generator = torch.Generator().manual_seed(5)
    grid = Equirect(WIDTH, HEIGHT)
    encoding = PromptEncoder(grid, model.input_size, model.config)
    boxes = [(10, 20, 50, 40), (70, 10, 90, 50)]
    prompts = [Prompt(box=((a + shift) % WIDTH, b, (c + shift) % WIDTH, d)) for a, b, c, d in boxes]
    bank, masks = empty_bank(model, 2), []
    for t in range(6):
        image = torch.rand(1, 3, HEIGHT, WIDTH, generator=generator) * 255
        features: ImageFeatures = model.encode_image(image.roll(shift, -1))
        if t == 0:
            step = segment_prompts(model, bank, features, encoding.encode(prompts), corrects=False)
        else:
            step = propagate(model, bank, features, present=torch.tensor([True, True]))
        bank = step.bank
        masks.append(step.mask_logits)
    return torch.stack(masks)


def _with_parts(seed: int = 6) -> PanoSAM2:
    config = replace(ModelConfig(), input_height=HEIGHT, input_width=WIDTH, refine_steps=3, long_pointer=True)
    return random_model(seed, config=config).eval().requires_grad_(False)


def test_untrained_parts_leave_every_frame_as_it_was_and_trained_ones_do_not() -> None:
    model = _with_parts()
    with_parts = _track(model)
    assert model.refinement is not None and model.long_short is not None
    refinement, long_short = model.refinement, model.long_short
    model.refinement = model.long_short = None
    assert torch.equal(_track(model), with_parts)
    model.refinement = _shaken(refinement)
    assert (_track(model) - with_parts).abs().max() > 1e-2
    model.refinement, model.long_short = None, _shaken(long_short)
    assert (_track(model)[1:] - with_parts[1:]).abs().max() > 1e-5


def test_with_trained_parts_too_a_rolled_video_gives_rolled_masks() -> None:
    model = _with_parts()
    assert model.refinement is not None and model.long_short is not None
    _shaken(model.refinement)
    _shaken(model.long_short)
    assert torch.allclose(_track(model, 32), _track(model).roll(32 // 4, -1), atol=2e-3)


def test_the_parts_are_small_and_sam2_has_them() -> None:
    for name in (name for name in OFFICIAL if name.startswith("sam2")):
        config = official_config(name, 448, 896)
        assert config.refine_steps == 3 and config.long_pointer
        refinement = DistortionRefinement(config.hidden_dim // 8, config.refine_steps)
        long_short = LongShortMemory(config.memory_dim, config.hidden_dim)
        parts = [*refinement.parameters(), *long_short.parameters()]
        assert sum(p.numel() for p in parts) <= 1_000_000
