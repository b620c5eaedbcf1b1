"""Memory attention on a 2:1 grid: SAM2's layers with rotary codes that are periodic over longitude.

Upstream's ``RoPEAttention`` takes the square root of the number of tokens for both sides and rotates
columns by fractions of a turn, so that the first and the last column are far apart. Here every horizontal
plane rotates a whole number of times per width: attention then depends on longitude differences alone, and
rolling the input rolls the output.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn

from panosam2_ros.geometry.circular import cached_constant
from panosam2_ros.model.attention import blockwise_attention, prefers_blocks
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.per_object import per_object
from panosam2_ros.model.spatial_perceiver import LATENT_GRID

ROPE_THETA = 10000.0


def whole_turn_rotations(dim: int, height: int, width: int) -> Tensor:
    """Compute rotary factors [height * width, dim / 2], complex64, of whole turns.

    Plane k = 1..dim/4 rotates k times over 2 pi of longitude and k half times over pi of latitude, so that
    both axes rotate equally per angle at the equator. Our own choice; upstream has a geometric series of
    fractions of a turn.
    """
    turns = torch.arange(1, dim // 4 + 1, dtype=torch.float64)
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width * (2 * math.pi)
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height * math.pi
    by_column = (columns[:, None] * turns).expand(height, -1, -1)
    by_row = (rows[:, None, None] * turns).expand(-1, width, -1)
    angles = torch.cat([by_column, by_row], -1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def axial_rotations(dim: int, height: int, width: int) -> Tensor:
    """Compute SAM2's rotary factors [height * width, dim / 2], complex64, on a rectangle."""
    frequencies = ROPE_THETA ** (-torch.arange(0, dim, 4)[: dim // 4] / dim)
    by_column = (torch.arange(width)[:, None] * frequencies).expand(height, -1, -1)
    by_row = (torch.arange(height)[:, None, None] * frequencies).expand(-1, width, -1)
    angles = torch.cat([by_column, by_row], -1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles)


@cached_constant
def _rotations_of(kind: str, dim: int, height: int, width: int) -> Tensor:
    """Compute cosines and sines [2, height * width, dim] of rotary factors; see ``ModelConfig.rotary``."""
    make = whole_turn_rotations if kind == "whole_turns" else axial_rotations
    rotations = make(dim, height, width)
    return torch.stack([rotations.real, rotations.imag]).repeat_interleave(2, -1)


@cached_constant
def _latent_rotations_of(kind: str, dim: int, height: int, width: int) -> Tensor:
    """Compute cosines and sines [2, height * width, dim] for the latents of one frame on ``LATENT_GRID``.

    The upper half of the grid has no place and is not rotated.
    """
    placed = _rotations_of(torch.device("cpu"), None, kind, dim, height // 2, width)
    unplaced = torch.stack([torch.ones_like(placed[0]), torch.zeros_like(placed[1])])
    return torch.cat([unplaced, placed], 1)


def _rotated(project: nn.Linear, x: Tensor, rotations: Tensor, heads: int) -> Tensor:
    """Project x [N, maps * tokens, C] to [N, heads, maps * tokens, dim] and rotate it by position.

    A rotated pair (a, b) is (a, b) cos + (-b, a) sin: two projections, the second with its rows
    exchanged, instead of products of complex numbers.
    """
    even, odd = project.weight[0::2], project.weight[1::2]
    weight = torch.stack([-odd, even], 1).flatten(0, 1)
    bias = torch.stack([-project.bias[1::2], project.bias[0::2]], 1).flatten()
    maps = x.shape[1] // rotations.shape[1]
    plain, turned = (
        y.unflatten(-1, (heads, -1)).transpose(1, 2).unflatten(2, (maps, -1))
        for y in (project(x), F.linear(x, weight, bias))
    )
    cos, sin = rotations.to(plain.dtype)
    return torch.addcmul(plain * cos, turned, sin).flatten(2, 3)


def _without_longitude(keys: Tensor) -> Tensor:
    """Set the planes of longitude of keys without a position, [N, heads, K, dim], to zero.

    Upstream keeps them; the product with a query, which is rotated by its column, would then depend on the
    column, and a rolled image would not give a rolled result.
    """
    by_column, by_row = keys.chunk(2, -1)
    return torch.cat([torch.zeros_like(by_column), by_row], -1)


def rotary_attention(
    layer: RoPEAttention,
    query: Tensor,  # [N, h * w, C]
    key: Tensor,  # [N, maps * h * w + plain, C_kv]; h * w of LATENT_GRID for latents
    value: Tensor,  # like key
    size: tuple[int, int],  # h, w
    *,
    plain: int = 0,  # keys at the end that have no position (object pointers)
    key_valid: Tensor | None = None,  # bool [N, keys]
    kind: str = "whole_turns",
    latents: bool = False,  # the keys of each map are latents on LATENT_GRID, not on the queries' grid
) -> Tensor:
    """Compute the attention of upstream's layer with our rotary codes and a mask of valid keys."""
    heads = layer.num_heads
    dim = layer.internal_dim // heads
    rotations = _rotations_of(query.device, None, kind, dim, *size)
    q = _rotated(layer.q_proj, query, rotations, heads)
    if latents:
        rotations = _latent_rotations_of(query.device, None, kind, dim, *LATENT_GRID)
    k = _rotated(layer.k_proj, key[:, : key.shape[1] - plain], rotations, heads)
    if plain:
        unplaced = layer.k_proj(key[:, key.shape[1] - plain :]).unflatten(-1, (heads, -1)).transpose(1, 2)
        k = torch.cat([k, unplaced if kind == "axial" else _without_longitude(unplaced)], 2)
    if heads == 1 and prefers_blocks(q, q.shape[2], k.shape[2]):
        values = blockwise_attention(q[:, 0], k[:, 0], value, key_valid=key_valid)
        out: Tensor = layer.out_proj(layer.v_proj(values))
        return out
    v = layer.v_proj(value).unflatten(-1, (heads, -1)).transpose(1, 2)
    mask = None if key_valid is None else key_valid[:, None, None, :]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = layer.out_proj(attended.transpose(1, 2).flatten(2))
    return out


class PanoMemoryAttention(MemoryAttention):
    """SAM2's memory attention for rectangular maps and partly valid keys."""

    rotary = "whole_turns"
    latents = False  # the memory is compressed to latents

    def forward(
        self,
        *,
        curr: Tensor,  # [B, h * w, C]: B images, N / B objects of each, adjacent in N
        memory: Tensor,  # [N, keys, C_mem]
        curr_pos: Tensor,  # [B or 1, h * w, C]
        memory_pos: Tensor,  # [N, keys, C_mem]
        memory_valid: Tensor,  # bool [N, keys]
        size: tuple[int, int],
        num_obj_ptr_tokens: int,
    ) -> Tensor:
        """Condition the images' tokens on the memory of each object, [N, h * w, C]."""
        x = curr + 0.1 * curr_pos if self.pos_enc_at_input else curr
        keys = memory + memory_pos
        options: dict[str, Any] = {
            "plain": num_obj_ptr_tokens,
            "key_valid": memory_valid,
            "kind": self.rotary,
            "latents": self.latents,
        }
        for layer in self.layers:
            y = layer.norm1(x)
            x = x + layer.dropout1(rotary_attention(layer.self_attn, y, y, y, size, kind=self.rotary))
            # up to here all objects of an image share the computation
            x = per_object(x, len(memory))
            y = rotary_attention(layer.cross_attn_image, layer.norm2(x), keys, memory, size, **options)
            x = x + layer.dropout2(y)
            y = layer.linear2(layer.activation(layer.linear1(layer.norm3(x))))
            x = x + layer.dropout3(y)
        tokens: Tensor = self.norm(x)
        return tokens


def _build_rotary_attention(config: ModelConfig, **kwargs: int | bool) -> RoPEAttention:
    """Build upstream's attention layer with the dimensions of a config."""
    return RoPEAttention(
        embedding_dim=config.hidden_dim,
        num_heads=1,
        downsample_rate=config.attention_downsample,
        feat_sizes=(1, 1),  # upstream's own table of rotary codes is not used
        **kwargs,
    )


def build_memory_attention(config: ModelConfig) -> PanoMemoryAttention:
    """Build the memory attention, whose parameters have SAM2's names."""
    layer = MemoryAttentionLayer(
        activation="relu",
        cross_attention=_build_rotary_attention(config, kv_in_dim=config.memory_dim, rope_k_repeat=True),
        d_model=config.hidden_dim,
        dim_feedforward=config.attention_mlp,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=_build_rotary_attention(config),
    )
    memory_attention = PanoMemoryAttention(
        d_model=config.hidden_dim,
        pos_enc_at_input=True,
        layer=layer,
        num_layers=config.attention_layers,
    )
    memory_attention.rotary = config.rotary
    memory_attention.latents = config.memory_tokens == "latents"
    return memory_attention
