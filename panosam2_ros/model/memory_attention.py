"""Memory attention on a 2:1 grid: SAM2's layers, rotary codes that close round the sphere.

Upstream's ``RoPEAttention`` takes the square root of the number of tokens for both sides and
rotates columns by fractions of a turn, so that the first and the last column are far apart.
Here every horizontal plane turns a whole number of times per width: attention then depends on
longitude differences alone, and rolling the input rolls the output.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from sam2.modeling.memory_attention import MemoryAttention, MemoryAttentionLayer
from sam2.modeling.sam.transformer import RoPEAttention
from torch import Tensor, nn

from panosam2_ros.geometry.circular import cached_constant
from panosam2_ros.model.attention import blockwise_attention, prefers_blocks
from panosam2_ros.model.config import ModelConfig

ROPE_THETA = 10000.0


def whole_turn_rotations(dim: int, height: int, width: int) -> Tensor:
    """Rotary factors [height * width, dim / 2], complex64.

    Plane k = 1..dim/4 turns k times over 2 pi of longitude, and k half times over pi of
    latitude, so that both axes turn alike per angle at the equator. Our own choice; upstream
    has a geometric series of fractions.
    """
    turns = torch.arange(1, dim // 4 + 1, dtype=torch.float64)
    columns = (torch.arange(width, dtype=torch.float64) + 0.5) / width * (2 * math.pi)
    rows = (torch.arange(height, dtype=torch.float64) + 0.5) / height * math.pi
    by_column = (columns[:, None] * turns).expand(height, -1, -1)
    by_row = (rows[:, None, None] * turns).expand(-1, width, -1)
    angles = torch.cat([by_column, by_row], -1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def axial_rotations(dim: int, height: int, width: int, rounded: bool) -> Tensor:
    """SAM2's rotary factors [height * width, dim / 2], complex64, on a rectangle.

    ``rounded``: the angle per column is moved to the nearest whole number of turns per width;
    slow planes lose longitude altogether.
    """
    frequencies = ROPE_THETA ** (-torch.arange(0, dim, 4)[: dim // 4] / dim)
    horizontal = frequencies
    if rounded:
        horizontal = (frequencies * width / (2 * math.pi)).round() * (2 * math.pi / width)
    by_column = (torch.arange(width)[:, None] * horizontal).expand(height, -1, -1)
    by_row = (torch.arange(height)[:, None, None] * frequencies).expand(-1, width, -1)
    angles = torch.cat([by_column, by_row], -1).flatten(0, 1)
    return torch.polar(torch.ones_like(angles), angles)


@cached_constant
def _rotations_of(kind: str, dim: int, height: int, width: int) -> Tensor:
    """Cosines and sines [2, height * width, dim] of rotary factors; ``kind`` as in ``ModelConfig.rotary``."""
    if kind == "whole_turns":
        rotations = whole_turn_rotations(dim, height, width)
    else:
        rotations = axial_rotations(dim, height, width, kind == "rounded")
    return torch.stack([rotations.real, rotations.imag]).repeat_interleave(2, -1)


def _rotated(project: nn.Linear, x: Tensor, rotations: Tensor, heads: int) -> Tensor:
    """Projections of x [N, maps * tokens, C], [N, heads, maps * tokens, dim], turned by place.

    A turned pair (a, b) is (a, b) cos + (-b, a) sin: two projections, the second with its rows
    exchanged, in the place of products of complex numbers.
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
    """Keys [N, heads, K, dim] of things that have no place, cut to the planes of latitude.

    Upstream leaves them whole; a query that was turned by its column would then see them
    differently from every column, and a rolled image would not give a rolled result.
    """
    by_column, by_row = keys.chunk(2, -1)
    return torch.cat([torch.zeros_like(by_column), by_row], -1)


def rotary_attention(
    layer: RoPEAttention,
    query: Tensor,  # [N, h * w, C]
    key: Tensor,  # [N, maps * h * w + plain, C_kv]
    value: Tensor,  # like key
    size: tuple[int, int],  # h, w
    plain: int = 0,  # keys at the end that have no place (object pointers)
    key_valid: Tensor | None = None,  # bool [N, keys]
    kind: str = "whole_turns",
) -> Tensor:
    """Attention of upstream's layer with our rotations and a mask of valid keys."""
    heads = layer.num_heads
    rotations = _rotations_of(query.device, None, kind, layer.internal_dim // heads, *size)
    q = _rotated(layer.q_proj, query, rotations, heads)
    k = _rotated(layer.k_proj, key[:, : key.shape[1] - plain], rotations, heads)
    if plain:
        unplaced = layer.k_proj(key[:, key.shape[1] - plain :]).unflatten(-1, (heads, -1)).transpose(1, 2)
        k = torch.cat([k, unplaced if kind == "axial" else _without_longitude(unplaced)], 2)
    if heads == 1 and prefers_blocks(q, q.shape[2], k.shape[2]):
        return layer.out_proj(layer.v_proj(blockwise_attention(q[:, 0], k[:, 0], value, key_valid)))
    v = layer.v_proj(value).unflatten(-1, (heads, -1)).transpose(1, 2)
    mask = None if key_valid is None else key_valid[:, None, None, :]
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return layer.out_proj(out.transpose(1, 2).flatten(2))


class PanoMemoryAttention(MemoryAttention):
    """SAM2's memory attention for rectangular maps and keys that may be absent."""

    rotary = "whole_turns"

    def forward(
        self,
        curr: Tensor,  # [B, h * w, C]: B images, N / B objects of each, neighbours in N
        memory: Tensor,  # [N, keys, C_mem]
        curr_pos: Tensor,  # [B or 1, h * w, C]
        memory_pos: Tensor,  # [N, keys, C_mem]
        memory_valid: Tensor,  # bool [N, keys]
        size: tuple[int, int],
        num_obj_ptr_tokens: int,
    ) -> Tensor:
        """Tokens [N, h * w, C] that know the memory."""
        x = curr + 0.1 * curr_pos if self.pos_enc_at_input else curr
        keys = memory + memory_pos
        for layer in self.layers:
            y = layer.norm1(x)
            x = x + layer.dropout1(rotary_attention(layer.self_attn, y, y, y, size, kind=self.rotary))
            # Objects of an image part here; what comes before is computed once for all.
            x = x.repeat_interleave(memory.shape[0] // x.shape[0], 0)
            y = rotary_attention(
                layer.cross_attn_image, layer.norm2(x), keys, memory, size,
                num_obj_ptr_tokens, memory_valid, self.rotary,
            )  # fmt: skip
            x = x + layer.dropout2(y)
            y = layer.linear2(layer.activation(layer.linear1(layer.norm3(x))))
            x = x + layer.dropout3(y)
        return self.norm(x)


def build_memory_attention(config: ModelConfig) -> PanoMemoryAttention:
    """Layers named as SAM2 names them."""

    def attention(**kwargs: int | bool) -> nn.Module:
        return RoPEAttention(
            embedding_dim=config.hidden_dim,
            num_heads=1,
            downsample_rate=config.attention_downsample,
            feat_sizes=(1, 1),  # upstream's own table is not used
            **kwargs,
        )

    layer = MemoryAttentionLayer(
        activation="relu",
        cross_attention=attention(kv_in_dim=config.memory_dim, rope_k_repeat=True),
        d_model=config.hidden_dim,
        dim_feedforward=config.attention_mlp,
        dropout=0.0,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        self_attention=attention(),
    )
    attention_stack = PanoMemoryAttention(
        d_model=config.hidden_dim,
        pos_enc_at_input=True,
        layer=layer,
        num_layers=config.attention_layers,
    )
    attention_stack.rotary = config.rotary
    return attention_stack
