"""The Long-Short Memory Module: a long-term pointer that re-instantiates short-term memories.

The paper's text beyond its abstract is not available; this is our interpretation. For each object the
memory bank keeps one long-term pointer (a bounded running mean of the pointers of confident frames) and
the map of the last confident frame. At every read, empty slots are re-created from that map, and every
map is modulated by the pointer: attention of the map's tokens over the pointer's parts, added through a
gate that is initialised to zero, so that the untrained module is the identity.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LongShortMemory(nn.Module):
    """Modulation of memory maps by long-term pointers."""

    def __init__(self, memory_dim: int, hidden_dim: int) -> None:
        """Make the module for maps of ``memory_dim`` channels and pointers of ``hidden_dim``."""
        super().__init__()
        self.parts = hidden_dim // memory_dim
        self.norm = nn.LayerNorm(memory_dim)
        self.norm_pointer = nn.LayerNorm(hidden_dim)
        self.q_proj = nn.Linear(memory_dim, memory_dim)
        self.k_proj = nn.Linear(memory_dim, memory_dim)
        self.v_proj = nn.Linear(memory_dim, memory_dim)
        self.out_proj = nn.Linear(memory_dim, memory_dim)
        self.gate = nn.Parameter(torch.zeros(memory_dim))

    def forward(self, maps: Tensor, pointer: Tensor, known: Tensor) -> Tensor:
        """Modulate maps [N, S, C_mem, h, w] by pointers [N, C] of objects that are ``known``, [N] bool."""
        tokens = maps.flatten(3).permute(0, 1, 3, 2)  # [N, S, h * w, C_mem]
        parts = self.norm_pointer(pointer).unflatten(1, (self.parts, -1))[:, None]
        attended = F.scaled_dot_product_attention(
            self.q_proj(self.norm(tokens)), self.k_proj(parts), self.v_proj(parts)
        )
        change = self.gate * self.out_proj(attended)
        change = torch.where(known[:, None, None, None], change, 0)
        return maps + change.permute(0, 1, 3, 2).reshape(maps.shape)
