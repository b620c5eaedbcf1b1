"""The network: equivariance to rolls, independence of objects, and parts that equal upstream's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sam2.modeling.backbones.hieradet import Hiera, MultiScaleAttention
from sam2.modeling.memory_encoder import MaskDownSampler
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn

from panosam2_ros.geometry.circular import roll_columns
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.model import attention
from panosam2_ros.model.build import random_model
from panosam2_ros.model.checkpoints import official_config
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import (
    HieraAttention,
    ImageFeatures,
    SteadyHiera,
    WrapConv2d,
    build_trunk,
    fold_batch_norm,
    pad_convolutions,
)
from panosam2_ros.model.mask_decoder import DecoderPrompts, build_mask_decoder, embed_prompts
from panosam2_ros.model.memory_attention import rotary_attention, whole_turn_rotations
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts

HEIGHT, WIDTH, STRIDE = 128, 256, 16
GRID = Equirect(WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def model() -> PanoSAM2:
    """Random weights, large enough that every part has an effect on the result."""
    model = random_model(3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.memory_attention.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        for parameter in (model.maskmem_tpos_enc, model.no_mem_embed, model.no_obj_ptr):
            parameter.normal_(0, 0.5, generator=generator)
    model.set_input_size(HEIGHT, WIDTH)
    return model.eval().requires_grad_(False)


def video(frames: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    coarse = torch.rand(frames, 3, 16, 32, generator=generator) * 255
    return list(F.interpolate(coarse, (HEIGHT, WIDTH))[:, None])


def prompts(shift: int, count: int = 2) -> list[Prompt]:
    """Make a box and clicks, all shifted right by ``shift`` pixels."""
    clicks = [
        Prompt(points=np.array([[(200 + 29 * i + shift) % WIDTH, 40.0 + 9 * i]]), point_labels=np.array([1]))
        for i in range(count - 1)
    ]
    return [Prompt(box=((60 + shift) % WIDTH, 30, (120 + shift) % WIDTH, 80)), *clicks]


def track(model: PanoSAM2, shift: int, count: int = 2) -> tuple[list[Tensor], MemoryBank]:
    """Compute mask logits [N, 1, 32, 64] of every frame of a video rolled right by ``shift`` pixels."""
    encoding = PromptEncoder(GRID, model.input_size, model.config)
    bank, masks = empty_bank(model, count), []
    for t, image in enumerate(video(5)):
        features = model.encode_image(image.roll(shift, -1))
        if t == 0:
            step = segment_prompts(
                model, bank, features, encoding.encode(prompts(shift, count)), corrects=False
            )
        else:
            step = propagate(model, bank, features, present=torch.ones(count, dtype=torch.bool))
        bank = step.bank
        masks.append(step.mask_logits)
    return masks, bank


@pytest.mark.parametrize("shift", [32, 128, 224])
def test_rolling_the_video_rolls_masks_and_keeps_pointers(model: PanoSAM2, shift: int) -> None:
    """Every part from pixels to memory is equivariant to multiples of the trunk's stride (32 pixels)."""
    masks, bank = track(model, 0)
    rolled, rolled_bank = track(model, shift)
    for mask, other in zip(masks, rolled, strict=True):
        assert (mask.roll(shift // 4, -1) - other).abs().max() < 1e-4
    assert (bank.obj_ptrs - rolled_bank.obj_ptrs).abs().max() < 1e-4
    assert masks[-1].std() > 1e-2  # the masks are not constant


@pytest.mark.parametrize("tokens", [1, 5, 15])
def test_rolling_features_memories_and_prompts_by_tokens(model: PanoSAM2, tokens: int) -> None:
    """From the encoder's output on, every part is equivariant to single tokens (16 pixels)."""
    _, bank = track(model, 0)
    features = model.encode_image(video(1)[0])
    rolled_features = ImageFeatures(
        features.embedding.roll(tokens, -1),
        features.high_res_s4.roll(4 * tokens, -1),
        features.high_res_s8.roll(2 * tokens, -1),
    )
    rolled_bank = bank.rolled(tokens)
    present = torch.ones(2, dtype=torch.bool)
    step = propagate(model, bank, features, present=present)
    other = propagate(model, rolled_bank, rolled_features, present=present)
    assert (step.mask_logits.roll(4 * tokens, -1) - other.mask_logits).abs().max() < 1e-4
    assert (step.bank.obj_ptrs - other.bank.obj_ptrs).abs().max() < 1e-4
    assert (step.mask_logits - other.mask_logits).abs().max() > 1e-2


def test_masks_of_an_object_do_not_depend_on_other_objects(model: PanoSAM2) -> None:
    together, _ = track(model, 0, count=8)
    alone, _ = track(model, 0, count=1)
    for mask, other in zip(together, alone, strict=True):
        assert (mask[:1] - other).abs().max() < 1e-4


def test_pointers_and_maps_have_an_effect(model: PanoSAM2) -> None:
    """The tests above would also pass with a network that ignores its memory."""
    _, bank = track(model, 0)
    features = model.encode_image(video(1)[0])
    changed = MemoryBank(**{**vars(bank), "obj_ptrs": bank.obj_ptrs.flip(-1)})
    a, b = model.condition(features, bank.read()), model.condition(features, changed.read())
    assert (a - b).abs().max() > 1e-3  # ten times the tolerance of the tests above
    emptied = MemoryBank(**{**vars(bank), "maskmem_features": bank.maskmem_features * 0})
    assert (a - model.condition(features, emptied.read())).abs().max() > 1e-2


def test_rotary_factors_are_whole_turns() -> None:
    rotations = whole_turn_rotations(48, 4, 8).unflatten(0, (4, 8))
    ahead = rotations[:, 1] / rotations[:, 0]
    round_once = ahead**8
    assert (round_once[:, :12] - 1).abs().max() < 1e-5
    assert (ahead[0, 0].angle() - 2 * torch.pi / 8).abs() < 1e-6


@pytest.mark.parametrize("learning", [True, False])
def test_rotary_attention_equals_the_definition(learning: bool, monkeypatch) -> None:
    """Compare with an explicit softmax over explicitly rotated keys, partly invalid and without positions."""
    monkeypatch.setattr(attention, "_MIN_WEIGHTS", 0)
    monkeypatch.setattr(attention, "_MAX_QUERIES", 3)
    torch.manual_seed(0)
    layer = RoPEAttention(24, 1, feat_sizes=(1, 1), kv_in_dim=8, rope_k_repeat=True).eval()
    size, plain = (2, 4), 3
    query, key = torch.randn(2, 8, 24), torch.randn(2, 16 + plain, 8)
    valid = torch.rand(2, 16 + plain) > 0.3
    rotations = torch.view_as_real(whole_turn_rotations(24, *size))
    cos, sin = rotations.unbind(-1)

    def turn(x: Tensor) -> Tensor:
        a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    with torch.no_grad():
        q, k, v = turn(layer.q_proj(query)), layer.k_proj(key), layer.v_proj(key)
        placed = torch.cat([turn(k[:, :8]), turn(k[:, 8:16])], 1)
        pointers = torch.cat([torch.zeros(2, plain, 12), k[:, 16:, 12:]], -1)
        scores = q @ torch.cat([placed, pointers], 1).mT / 24**0.5
        weights = scores.masked_fill(~valid[:, None], -torch.inf).softmax(-1)
        expected = layer.out_proj(weights @ v)
    with torch.set_grad_enabled(learning):
        found = rotary_attention(layer, query, key, key, size, plain=plain, key_valid=valid)
    assert (expected - found).abs().max() < 1e-5


@pytest.mark.parametrize("least", [16, 10**6], ids=["by blocks", "at once"])
@pytest.mark.parametrize("pooled", [False, True])
def test_hiera_attention_equals_upstreams(least: int, pooled: bool, monkeypatch) -> None:
    monkeypatch.setattr(attention, "_MIN_WEIGHTS", least)
    monkeypatch.setattr(attention, "_MAX_QUERIES", 5)
    torch.manual_seed(0)
    upstream = MultiScaleAttention(12, 24, 3, nn.MaxPool2d(2) if pooled else None)
    x = torch.randn(2, 4, 6, 12)
    expected = upstream(x)
    layer = HieraAttention.of(upstream)
    assert layer.state_dict().keys() == upstream.state_dict().keys()
    assert torch.equal(layer(x), expected)  # with gradients it is upstream's implementation
    with torch.inference_mode():
        assert torch.allclose(layer(x), expected, atol=1e-6)
        rough = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert torch.allclose(rough.float(), expected, atol=0.05)
    assert expected.std() > 0.1


def test_cached_positions_of_hiera_follow_its_weights() -> None:
    trunk = build_trunk(official_config("sam2.1_hiera_tiny", 64, 128))
    assert isinstance(trunk, SteadyHiera)
    nn.init.normal_(trunk.pos_embed)
    with torch.no_grad():
        for size in ((16, 32), (8, 16), (8, 16)):
            assert torch.equal(trunk._get_pos_embed(size), Hiera._get_pos_embed(trunk, size))
        kept = trunk._get_pos_embed((8, 16))
        assert trunk._get_pos_embed((8, 16)) is kept
        trunk.pos_embed.mul_(2)
        assert torch.equal(trunk._get_pos_embed((8, 16)), Hiera._get_pos_embed(trunk, (8, 16)))


def test_other_trackers_fit_with_72_by_72_tokens_and_four_layers() -> None:
    """The sizes of SAM 3's tracker, with a small trunk."""
    config = ModelConfig(
        input_height=1152,
        input_width=1152,
        regions=True,
        trunk_channels=(8, 8, 8, 8),
        trunk_blocks=(1, 1, 1, 1),
        hidden_dim=32,
        memory_dim=16,
        attention_layers=4,
        attention_downsample=1,
        decoder_heads=2,
        memory_mask_stride=16,
        rotary="axial",
        position_code="sine",
    )
    network = random_model(config=config).eval()
    with torch.inference_mode():
        features = network.encode_image(torch.rand(1, 3, 1152, 1152) * 255)
        first = propagate(network, empty_bank(network, 1), features)
        assert first.bank.maskmem_features.shape[-2:] == (72, 72)
        assert propagate(network, first.bank, features).mask_logits.shape == (1, 1, 288, 288)


def test_a_decoder_without_finer_maps_equals_ours_with_maps_of_zeros() -> None:
    """EfficientTAM's decoder has none."""
    config = ModelConfig()
    ours = build_mask_decoder(config).eval()
    wanted = MaskDecoder(
        transformer_dim=config.hidden_dim,
        transformer=copy.deepcopy(ours.transformer),
        iou_head_hidden_dim=config.hidden_dim,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    ).eval()
    wanted.load_state_dict({k: x for k, x in ours.state_dict().items() if not k.startswith("conv_s")})
    embedding, code, dense = torch.randn(3, 1, config.hidden_dim, 4, 8).unbind()
    finer = [torch.zeros(1, config.hidden_dim // (8 // s), 4 * 4 // s, 4 * 8 // s) for s in (1, 2)]
    inputs = (embedding, code, torch.randn(1, 2, config.hidden_dim), dense, True, False)
    for found, expected in zip(ours(*inputs, finer), wanted(*inputs), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)


def test_wrap_convolution_equals_padding_by_hand() -> None:
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    x = torch.randn(2, 3, 8, 16)
    padded = F.pad(F.pad(x, (1, 1, 0, 0), mode="circular"), (0, 0, 1, 1))
    by_hand = F.conv2d(padded, conv.weight, conv.bias, 2)
    module = nn.Sequential(conv)
    pad_convolutions(module, wrap=True)
    assert torch.allclose(module(x), by_hand, atol=1e-6)
    pad_convolutions(module, wrap=False)
    assert torch.equal(module(x), conv(x))


def test_pad_convolutions_keeps_parameters_and_random_numbers() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1)))
    before, random = dict(module.named_parameters()), torch.get_rng_state()
    pad_convolutions(module, wrap=True)
    assert type(module[0]) is WrapConv2d and type(module[2][0]) is nn.Conv2d
    assert torch.equal(torch.get_rng_state(), random)
    after = dict(module.named_parameters())
    assert list(after) == list(before) and all(after[name] is before[name] for name in before)


def test_folding_batch_norm_changes_nothing(model: PanoSAM2) -> None:
    folded = copy.deepcopy(model)
    for module in folded.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.5)
            module.running_var.uniform_(0.5, 2)
    image = video(1)[0]
    before = folded.encode_image(image).embedding
    fold_batch_norm(folded.image_encoder.trunk)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert torch.allclose(folded.encode_image(image).embedding, before, atol=1e-4)


def test_no_convolution_pads_with_zeros_at_the_seam(model: PanoSAM2) -> None:
    padded = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.padding != (0, 0)]
    assert padded and all(isinstance(m, WrapConv2d) for m in padded)
    assert any(isinstance(m, MaskDownSampler) for m in model.modules())


def test_decoding_in_the_centre_column_equals_upstreams_decoder(model: PanoSAM2) -> None:
    """Without a roll, decoding in canonical yaw is a plain call of SAM2's decoder."""
    features = model.encode_image(video(1)[0])
    encoded = PromptEncoder(GRID, model.input_size, model.config).encode(prompts(0, 1))
    embedding = model.without_memory(features, 1)
    middle = torch.tensor([8])
    ours = model.decode(embedding, features, encoded.decoder, middle, torch.tensor([True]))
    sparse, dense = embed_prompts(model.sam_prompt_encoder, encoded.decoder)
    masks, iou, _, score = model.sam_mask_decoder(
        image_embeddings=embedding,
        image_pe=model.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
        repeat_image=False,
        high_res_features=[features.high_res_s4, features.high_res_s8],
    )
    assert torch.equal(ours.mask_logits, masks)
    assert torch.equal(ours.mask_iou, iou[:, 0])
    assert torch.equal(ours.object_score_logits, score[:, 0])


def test_embed_prompts_mixes_objects_with_and_without_masks(model: PanoSAM2) -> None:
    mask = torch.randn(2, 1, 32, 64)
    both = DecoderPrompts.of_masks(mask, torch.tensor([True, False]))
    _, dense = embed_prompts(model.sam_prompt_encoder, both)
    _, upstream = model.sam_prompt_encoder(points=None, boxes=None, masks=mask[:1])
    assert torch.allclose(dense[:1], upstream, atol=1e-6)
    _, nothing = model.sam_prompt_encoder(points=None, boxes=None, masks=None)
    assert torch.allclose(dense[1:], nothing.expand_as(dense[1:]))


def test_set_input_size_needs_multiples_of_32(model: PanoSAM2) -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        model.set_input_size(100, 200)


def test_roll_columns_of_each_item() -> None:
    x = torch.arange(8.0).expand(2, 3, 8)
    rolled = roll_columns(x, torch.tensor([1, -2]))
    assert torch.equal(rolled[0], x[0].roll(1, -1))
    assert torch.equal(rolled[1], x[1].roll(-2, -1))
