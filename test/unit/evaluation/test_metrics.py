"""Measures: agreement with the field's tools, and exactness on the sphere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vos_benchmark.evaluator import Evaluator

from panosam2_ros.evaluation.boundaries import (
    PixelWindow,
    Points,
    boundary,
    near_in_pixels,
    row_weights_of_360vos,
)
from panosam2_ros.evaluation.metrics import SPHERE_TOLERANCE, MaskMetrics
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import rotation_matrix

Mask = NDArray[np.bool_]
GRID = Equirect(128, 64)  # DAVIS's radius is 2 pixels
METRICS = MaskMetrics(GRID)
FORWARD = np.array([0.0, 0.0, 1.0])


def oracle(truth: Mask, predicted: Mask) -> tuple[float, float]:
    """Return J and F of vos-benchmark."""
    evaluator = Evaluator()
    evaluator.feed_frame(predicted.astype(np.uint8), truth.astype(np.uint8))
    return evaluator.object_iou[1][0], evaluator.boundary_f[1][0]


def cap(grid: Equirect, direction: NDArray[np.float64], radius: float) -> Mask:
    """Return the mask of all pixels within ``radius`` rad of a direction."""
    v, u = np.mgrid[: grid.height, : grid.width]
    return np.asarray(grid.pixel_to_vector(u, v) @ direction >= math.cos(radius))


@st.composite
def masks(draw: st.DrawFn, grid: Equirect = GRID) -> Mask:
    """Draw unions of rectangles that may cross the seam and touch the borders, with isolated pixels."""
    mask = np.zeros((grid.height, grid.width), bool)
    for _ in range(draw(st.integers(0, 3))):
        v, u = draw(st.integers(0, grid.height - 1)), draw(st.integers(0, grid.width - 1))
        h, w = draw(st.integers(1, grid.height)), draw(st.integers(1, grid.width))
        mask[v : v + h, (u + np.arange(w)) % grid.width] ^= True
    pixels = st.tuples(st.integers(0, grid.height - 1), st.integers(0, grid.width - 1))
    for v, u in draw(st.lists(pixels, max_size=8)):
        mask[v, u] ^= True
    return mask


@st.composite
def pairs(draw: st.DrawFn, grid: Equirect = GRID) -> tuple[Mask, Mask]:
    """Draw two masks, not both empty; in half of the cases one is the other moved a little."""
    truth, other = draw(masks(grid)), draw(masks(grid))
    if draw(st.booleans()):
        shift = draw(st.integers(-4, 4)), draw(st.integers(-4, 4))
        other = np.roll(truth, shift, (0, 1))
    truth[0, 0] |= not (truth.any() or other.any())
    return truth, other


@settings(max_examples=100, deadline=None)
@given(pair=pairs())
def test_j_and_f_equal_vos_benchmark(pair: tuple[Mask, Mask]) -> None:
    scores = METRICS.score(*pair)
    expected = oracle(*pair)
    assert pytest.approx(expected[0], abs=1e-6) == scores.J
    assert pytest.approx(expected[1], abs=1e-6) == scores.F


@pytest.mark.parametrize("size", [(640, 322), (127, 64), (256, 128)])
def test_j_and_f_equal_vos_benchmark_at_other_sizes(size: tuple[int, int]) -> None:
    grid = Equirect(*size)
    rng = np.random.default_rng(size[0])
    for _ in range(3):
        direction = rng.normal(size=3)
        truth = cap(grid, direction / np.linalg.norm(direction), rng.uniform(0.2, 0.9))
        predicted = np.roll(truth, rng.integers(-9, 9, 2), (0, 1))
        scores = MaskMetrics(grid).score(truth, predicted)
        expected = oracle(truth, predicted)
        assert pytest.approx(expected[0], abs=1e-6) == scores.J
        assert pytest.approx(expected[1], abs=1e-6) == scores.F
        assert 0.1 < expected[0] < 0.999


def test_matching_is_exact_at_8k() -> None:
    """Squares of such distances are not exact in float32."""
    corners = Points(np.array([0, 3839]), np.array([0, 7679]))
    radius = math.ceil(0.008 * math.hypot(7680, 3840))
    for far in (0, 1):
        near = Points(corners.rows, corners.columns + np.array([radius + far, -radius - far]))
        found = near_in_pixels(corners, near, radius, 7680, wrap=False)
        assert found.tolist() == [not far, not far]


def toolkit_weights(height: int) -> NDArray[np.float64]:
    """Integrate the row weights of the 360VOS toolkit numerically over its drifting row centres."""
    centres = np.linspace(0, height - 1, height, endpoint=False) + 0.5
    latitudes = (0.5 - centres / height) * math.pi
    steps = (np.arange(200) + 0.5) / 200 - 0.5
    return np.cos(latitudes[:, None] + steps * math.pi / height).mean(1) * math.pi / height


def test_weights_of_the_360vos_toolkit() -> None:
    np.testing.assert_allclose(row_weights_of_360vos(GRID), toolkit_weights(64), rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(pair=pairs())
def test_360vos_variant_is_the_toolkits(pair: tuple[Mask, Mask]) -> None:
    truth, predicted = pair
    weights = np.repeat(toolkit_weights(64)[:, None], 128, 1)
    j = (weights * (truth & predicted)).sum() / (weights * (truth | predicted)).sum()
    scores = METRICS.score(truth, predicted)
    assert scores.J_360vos == pytest.approx(j, abs=1e-4)
    assert scores.F_360vos == pytest.approx(slow_f(pair, "360vos"), abs=1e-4)


def test_360vos_variant_drifts_at_the_poles() -> None:
    """The toolkit's measure differs from the exact one, for its rows lie up to one row too far north."""
    truth, predicted = np.zeros((2, 512, 1024), bool)
    truth[506:], predicted[509:] = True, True
    scores = MaskMetrics(Equirect(1024, 512)).score(truth, predicted)
    assert abs(scores.J_360vos - scores.J_sphere) > 0.01


def slow_f(pair: tuple[Mask, Mask], kind: str, grid: Equirect = GRID) -> float:
    """Compute F by its definition, with all pixels and all distances."""
    round_about, height, width = kind in ("wrap", "sphere"), grid.height, grid.width
    points = []
    for mask in (pair[1].tolist(), pair[0].tolist()):
        found = []
        for v, row in enumerate(mask):
            lower = mask[min(v + 1, height - 1)]
            for u, inside in enumerate(row):
                right = (u + 1) % width if round_about else min(u + 1, width - 1)
                if not inside == row[right] == lower[u] == lower[right]:
                    found.append((v, u))
        points.append(np.array(found, int).reshape(-1, 2))
    if not all(map(len, points)):
        return float(not any(map(len, points)))
    weights = {"sphere": grid.pixel_solid_angles(), "360vos": toolkit_weights(height)}.get(
        kind, np.ones(height)
    )
    shares = []
    for a, b in (points, points[::-1]):
        dv, du = np.moveaxis(np.abs(a[:, None] - b[None]), -1, 0)
        if kind == "sphere":
            x, y = (grid.pixel_to_vector(p[:, 1], p[:, 0]) for p in (a, b))
            chords = np.linalg.norm(x[:, None] - y[None], axis=-1)
            near = chords <= 2 * math.sin(SPHERE_TOLERANCE / 2)
        else:
            du = np.minimum(du, width - du) if kind == "wrap" else du
            near = du**2 + dv**2 <= math.ceil(0.008 * math.hypot(width, height)) ** 2
        shares.append(weights[a[near.any(1), 0]].sum() / weights[a[:, 0]].sum())
    precision, recall = shares
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


@settings(max_examples=40, deadline=None)
@given(pair=pairs())
def test_fast_boundaries_equal_slow_ones(pair: tuple[Mask, Mask]) -> None:
    scores = METRICS.score(*pair)
    for name, kind in (("F", "flat"), ("F_wrap", "wrap"), ("F_sphere", "sphere")):
        assert getattr(scores, name) == pytest.approx(slow_f(pair, kind), abs=1e-9), name


@settings(max_examples=60, deadline=None)
@given(pair=pairs(), columns=st.integers(1, 127))
def test_seam_is_nowhere_for_measures_of_the_sphere(pair: tuple[Mask, Mask], columns: int) -> None:
    here, there = METRICS.score(*pair), METRICS.score(*(np.roll(m, columns, 1) for m in pair))
    for name in ("J", "J_sphere", "F_sphere", "J_360vos", "F_wrap"):
        assert getattr(here, name) == pytest.approx(getattr(there, name), abs=1e-9), name


@settings(max_examples=60, deadline=None)
@given(pair=pairs())
def test_scores_are_bounded_and_symmetric(pair: tuple[Mask, Mask]) -> None:
    scores, swapped = METRICS.score(*pair).values(), METRICS.score(*pair[::-1]).values()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores, swapped, atol=1e-12)
    same = pair[0] | pair[1]
    assert (METRICS.score(same, same).values() == 1).all()
    assert METRICS.score(same, np.zeros_like(same)).J_sphere == 0


def test_official_f_depends_on_the_seam_and_ours_does_not() -> None:
    """A thin object whose edge is the seam, predicted one column wider on either side."""
    truth, predicted = np.zeros((2, 64, 128), bool)
    truth[12:52, 125:], predicted[12:52, np.arange(124, 129) % 128] = True, True
    scores = METRICS.score(truth, predicted)
    assert pytest.approx(oracle(truth, predicted)[1]) == scores.F
    assert scores.F < 0.8
    assert scores.F_wrap == scores.F_sphere == 1


@pytest.mark.parametrize("radius", [1, 2, 7])
def test_distances_go_on_across_the_seam(radius: int) -> None:
    for here, step in ((0, -1), (127, 1), (3, -1), (125, 1)):
        for far in (0, 1):
            there = (here + step * (radius + far)) % 128
            points = (Points(np.array([5]), np.array([u])) for u in (here, there))
            assert near_in_pixels(*points, radius, 128, wrap=True).item() is not bool(far)


def test_wide_objects_meet_their_own_other_end() -> None:
    """Neither mask touches the seam, but the gap between their ends is smaller than the radius."""
    truth, predicted = np.zeros((2, 320, 640), bool)
    truth[100:200, 2:638], predicted[100:200, 2:600] = True, True
    metrics = MaskMetrics(Equirect(640, 320))
    scores = metrics.score(truth, predicted)
    rolled = metrics.score(np.roll(truth, 320, 1), np.roll(predicted, 320, 1))
    assert scores.F < scores.F_wrap == pytest.approx(rolled.F, abs=1e-9)


def test_j_sphere_of_polar_caps_is_exact() -> None:
    """Areas of caps are known in closed form; rows of pixels end on circles of latitude."""
    truth, predicted = np.zeros((2, 64, 128), bool)
    truth[:7], predicted[:4] = True, True
    areas = [1 - math.cos(rows * math.pi / 64) for rows in (4, 7)]
    assert METRICS.score(truth, predicted).J_sphere == pytest.approx(areas[0] / areas[1], abs=1e-12)
    predicted[:] = True
    assert METRICS.score(truth, predicted).J_sphere == pytest.approx(areas[1] / 2, abs=1e-12)


@pytest.mark.parametrize("latitude", [0, 40, 75, 90])
def test_measures_of_the_sphere_are_the_same_everywhere(latitude: float) -> None:
    """Two caps 6 degrees apart, wherever they lie, score what two flat disks do."""
    grid, radius, apart = Equirect(512, 256), 0.3, math.radians(6)
    turn = rotation_matrix(np.array([math.radians(latitude), 0, 0]))
    truth, predicted = (
        cap(grid, turn @ rotation_matrix(np.array([0, side, 0])) @ FORWARD, radius)
        for side in (-apart / 2, apart / 2)
    )
    scores = MaskMetrics(grid).score(truth, predicted)
    x = apart / (2 * radius)
    overlap = 2 / math.pi * (math.acos(x) - x * math.sqrt(1 - x * x))
    assert scores.J_sphere == pytest.approx(overlap / (2 - overlap), abs=0.012)
    close = 2 / math.pi * math.asin(SPHERE_TOLERANCE / apart)
    assert scores.F_sphere == pytest.approx(close, abs=0.055)


def test_tolerance_on_the_sphere_is_the_angle_that_is_named() -> None:
    assert math.degrees(SPHERE_TOLERANCE) == pytest.approx(3.22, abs=0.01)
    grid = Equirect(1024, 512)
    rows = int(SPHERE_TOLERANCE / (math.pi / 512))
    for further, expected in ((0, 1.0), (1, 0.0)):
        truth, predicted = np.zeros((2, 512, 1024), bool)
        truth[:100], predicted[: 100 + rows + further] = True, True
        assert MaskMetrics(grid).score(truth, predicted).F_sphere == expected


@pytest.mark.parametrize("columns", [slice(0, 1), slice(127, 128), slice(0, 128), slice(1, 127)])
def test_window_holds_the_mask_whatever_it_touches(columns: slice) -> None:
    mask = np.zeros((64, 128), bool)
    mask[:, columns] = True
    window = PixelWindow.around(mask)
    assert window is not None and window.crop(mask).sum() == mask.sum()
    assert len(set(window.columns)) == len(window.columns) == window.crop(mask).shape[1]
    edge = boundary(np.asarray(window.crop(mask), bool), window, 128, wrap=True).points
    assert edge.rows.size == (0 if mask.all() else 128)


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(64, 128\).*resize them first"):
        METRICS.score(np.zeros((64, 128), bool), np.zeros((32, 64), bool))
