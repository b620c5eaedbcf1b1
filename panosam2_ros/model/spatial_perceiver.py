"""EdgeTAM's 2D Spatial Perceiver, which compresses a memory map to a fixed number of latents.

Zhou et al., "EdgeTAM: On-Device Track Anything Model" (arXiv 2501.07256). Half of the latents are global:
they attend to the whole map and have no place. The others are patch-level: each attends to its own window
of the map, so that together they are a small map themselves. Memory attention reads 512 tokens of a frame
instead of 4096, whatever the size of the input. Names of parameters are those of EdgeTAM's checkpoint.

A compressed memory is stored as one map [C, 32, 16]: the global latents in its upper half, the patch-level
ones in its lower half, which is the order in which memory attention reads them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from panosam2_ros.model.config import LATENT_SIDE
from panosam2_ros.model.position_codes import SineEncoding

LATENT_GRID = (2 * LATENT_SIDE, LATENT_SIDE)  # h, w of a compressed memory
_DEPTH = 2
_EXPANSION = 4  # hidden channels of a layer's MLP per channel


class LatentEncoding(nn.Module):
    """The position encoding of a compressed memory: zero for global latents, SAM2's sines for the others."""

    def __init__(self, channels: int) -> None:
        """Make an encoding of ``channels`` channels."""
        super().__init__()
        self.sines = SineEncoding(channels, warmup_cache=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute codes [N, C, 32, 16] for compressed memories x [N, C, 32, 16]."""
        placed: Tensor = self.sines(x[..., LATENT_SIDE:, :])
        return torch.cat([torch.zeros_like(placed), placed], -2)


class LatentAttention(nn.Module):
    """Attention of latents on a map's tokens or, in a layer's second half, on themselves."""

    def __init__(self, channels: int, *, on_map: bool) -> None:
        """Make attention with one head of ``channels``."""
        super().__init__()
        if on_map:
            self.norm_x = nn.LayerNorm(channels)
            self.norm_latents = nn.LayerNorm(channels)
        else:
            self.norm = nn.LayerNorm(channels)
        self.on_map = on_map
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_kv = nn.Linear(channels, 2 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels, bias=False)

    def forward(self, latents: Tensor, tokens: Tensor | None = None, code: Tensor | None = None) -> Tensor:
        """Attend with latents [N, L, C], [N, L, C].

        Args:
            latents: the queries.
            tokens: [N, K, C], of a map; None where the latents attend on themselves.
            code: [K, C], added to keys and values.
        """
        if tokens is None:
            queries = sources = self.norm(latents)
        else:
            queries, sources = self.norm_latents(latents), self.norm_x(tokens)
        keys, values = self.to_kv(sources).chunk(2, -1)
        if code is not None:
            keys, values = keys + code, values + code
        attended: Tensor = self.to_out(F.scaled_dot_product_attention(self.to_q(queries), keys, values))
        return attended


def _mlp(channels: int) -> nn.Sequential:
    """Make a layer norm and two linear layers without bias with a GELU between."""
    return nn.Sequential(
        nn.LayerNorm(channels),
        nn.Linear(channels, _EXPANSION * channels, bias=False),
        nn.GELU(),
        nn.Linear(_EXPANSION * channels, channels, bias=False),
    )


class PerceiverLayer(nn.Module):
    """Attention on a map and among the latents, each followed by an MLP, all with residual connections."""

    def __init__(self, channels: int) -> None:
        """Make a layer that keeps the number of channels."""
        super().__init__()
        self.attn = LatentAttention(channels, on_map=True)
        self.ff = _mlp(channels)
        self.self_attn = LatentAttention(channels, on_map=False)
        self.self_ff = _mlp(channels)

    def forward(self, latents: Tensor, tokens: Tensor, code: Tensor | None) -> Tensor:
        """Update latents [N, L, C] from tokens [N, K, C] with position code [K, C]."""
        latents = latents + self.attn(latents, tokens, code)
        latents = latents + self.ff(latents)
        latents = latents + self.self_attn(latents)
        updated: Tensor = latents + self.self_ff(latents)
        return updated


class SpatialPerceiver(nn.Module):
    """The compression of memory maps; both kinds of latents share its layers."""

    def __init__(self, channels: int) -> None:
        """Make a perceiver for maps of ``channels``."""
        super().__init__()
        self.latents = nn.Parameter(torch.randn(LATENT_SIDE**2, channels))
        self.latents_2d = nn.Parameter(torch.randn(LATENT_SIDE**2, channels))
        self.layers = nn.ModuleList(PerceiverLayer(channels) for _ in range(_DEPTH))
        self.norm = nn.LayerNorm(channels)
        self.sines = SineEncoding(channels, warmup_cache=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Compress maps [N, C, h, w], whose sides are multiples of ``LATENT_SIDE``, to [N, C, 32, 16]."""
        latents = torch.cat([self._global_latents(maps), self._patch_latents(maps)], 1)
        return torch.unflatten(self.norm(latents).transpose(1, 2), 2, LATENT_GRID)

    def _global_latents(self, maps: Tensor) -> Tensor:
        """Compute latents [N, 256, C], each of a whole map."""
        tokens = maps.flatten(2).transpose(1, 2)
        code = self.sines(maps[:1])[0].flatten(1).T
        latents = self.latents.expand(maps.shape[0], -1, -1)
        for layer in self.layers:
            latents = layer(latents, tokens, code)
        return latents

    def _patch_latents(self, maps: Tensor) -> Tensor:
        """Compute latents [N, 256, C], each of its window of a map."""
        count, channels, height, width = maps.shape
        size = (height // LATENT_SIDE, width // LATENT_SIDE)
        windows = maps.unflatten(3, (LATENT_SIDE, size[1])).unflatten(2, (LATENT_SIDE, size[0]))
        tokens = windows.permute(0, 2, 4, 3, 5, 1).reshape(count * LATENT_SIDE**2, -1, channels)
        latents = self.latents_2d.repeat(count, 1)[:, None]
        for layer in self.layers:
            latents = layer(latents, tokens, None)
        return latents.view(count, -1, channels)
