"""Sampling places of square views: float32 against float64, and panoramas that are rolled."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.geometry.sphere import lonlat_to_vector, vector_to_lonlat
from panosam2_ros.geometry.stereographic import placement, sampling_places

STEPS = 1024  # of a pixel: fine enough to measure the error of float32
ANYWHERE = given(st.floats(-3.1, 3.1), st.floats(-1.57, 1.57), st.floats(0.05, 1.2))


def region(lon: float, lat: float, size: float) -> SearchRegion:
    return SearchRegion.around(TargetExtent(lonlat_to_vector(lon, lat), size, size))


def places(view: SearchRegion, size: int, panorama: tuple[int, int], steps: int) -> tuple[np.ndarray, ...]:
    placed = placement(view.axes, view.fov, panorama, vertical_fov=math.pi, steps=steps)
    return tuple(x[0].numpy() for x in sampling_places(torch.from_numpy(placed)[None], size))


@pytest.mark.parametrize("width", [640, 3840, 7680])
@settings(max_examples=40, deadline=None)
@ANYWHERE
def test_places_are_those_of_float64(width: int, lon: float, lat: float, size: float) -> None:
    view, height = region(lon, lat, size), width // 2
    panorama = (width, height)
    u, v = places(view, 160, panorama, STEPS)
    true_lon, true_lat = vector_to_lonlat(view.directions(160))
    across = u / STEPS - (true_lon / (2 * math.pi) * width + width / 2 - 0.5)
    across -= np.rint(across / width) * width
    down = v / STEPS - ((0.5 - true_lat / math.pi) * height - 0.5).clip(0, height - 1)
    # pixels of the equator: near a pole a small angle is many columns
    assert np.abs(across * np.cos(true_lat)).max() < 0.01 and np.abs(down).max() < 0.01


@settings(max_examples=60, deadline=None)
@ANYWHERE
def test_a_rolled_panorama_moves_places_by_whole_columns(lon: float, lat: float, size: float) -> None:
    columns, width = 211, 1920
    plain, turned = (region(lon + angle, lat, size) for angle in (0.0, columns / width * 2 * math.pi))
    (u, v), (turned_u, turned_v) = (places(each, 64, (width, 960), 32) for each in (plain, turned))
    assert ((turned_u - u) % (32 * width) == 32 * columns).all() and (turned_v == v).all()
