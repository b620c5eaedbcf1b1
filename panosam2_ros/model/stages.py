"""Trunks of several stages, each of which takes the map of the one before."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn


def maps_of_stages(stages: Iterable[nn.Module], x: Tensor) -> list[Tensor]:
    """Return the map of every stage, the first of which takes x."""
    maps = []
    for stage in stages:
        x = stage(x)
        maps.append(x)
    return maps
