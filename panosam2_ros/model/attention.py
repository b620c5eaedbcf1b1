"""Attention where torch's own is slow: on CPUs, over long sequences."""

from __future__ import annotations

import torch
from torch import Tensor

_LEAST = 2_000_000  # weights from which blocks are worth their while; panosam2_nano has 0.6 million
_BLOCK = 256  # queries at a time: their weights stay in the cache between the two products


def prefers_blocks(x: Tensor, queries: int, keys: int) -> bool:
    """Whether ``blockwise_attention`` is the better one on x's device, while tracking.

    Many short products in two threads wait for each other where other processes want the cores.
    """
    return x.device.type == "cpu" and not torch.is_grad_enabled() and queries * keys >= _LEAST


def blockwise_attention(
    q: Tensor, k: Tensor, value: Tensor, key_valid: Tensor | None = None
) -> Tensor:
    """Softmax attention of q [N, T, D] on k [N, K, D] over unprojected values [N, K, C]: [N, T, C].

    The weights of a query sum to 1, so that an affine projection of the values may as well
    follow the attention: exact, and a quarter of the second product where memory is 64 wide and
    attention 256. Keys that are not valid (``key_valid`` bool [N, K]) cost nothing. Two matrix
    products in bfloat16 are twice as fast here as torch's fused attention in that type.
    """
    scaled = q * q.shape[-1] ** -0.5
    result = q.new_empty(*q.shape[:2], value.shape[-1])
    for n in range(q.shape[0]):
        keys, values = k[n], value[n]
        if key_valid is not None and not bool(key_valid[n].all()):
            keys, values = keys[key_valid[n]], values[key_valid[n]]
        values = values.type_as(q)
        with torch.autocast("cpu", enabled=False):  # it would compute the softmax in float32
            for first in range(0, q.shape[1], _BLOCK):
                block = slice(first, first + _BLOCK)
                result[n, block] = torch.softmax(scaled[n, block] @ keys.T, -1) @ values
    return result
