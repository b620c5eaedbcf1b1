"""The ruler: agreement with the field's tools, exactness on the sphere, honest bookkeeping."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from vos_benchmark.evaluator import Evaluator

from helpers.scored_sequences import HERE, SMALL, THERE, labels, sequence
from panosam2_ros.evaluation.boundaries import (
    PixelWindow,
    Points,
    boundary,
    near_in_pixels,
    row_weights_of_360vos,
)
from panosam2_ros.evaluation.metrics import QUALITIES, SPHERE_TOLERANCE, MaskMetrics, PairScores
from panosam2_ros.evaluation.results import EVERY, SequenceResult
from panosam2_ros.evaluation.sequence_score import Report, ScoredFrame, SequenceScore, relabelled
from panosam2_ros.evaluation.summary import compare, summarise_results
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import rotation_matrix

Mask = NDArray[np.bool_]
GRID = Equirect(128, 64)  # DAVIS's radius is 2 pixels
METRICS = MaskMetrics(GRID)
FORWARD = np.array([0.0, 0.0, 1.0])


def oracle(truth: Mask, predicted: Mask) -> tuple[float, float]:
    """J and F of vos-benchmark."""
    evaluator = Evaluator()
    evaluator.feed_frame(predicted.astype(np.uint8), truth.astype(np.uint8))
    return evaluator.object_iou[1][0], evaluator.boundary_f[1][0]


def cap(grid: Equirect, direction: NDArray[np.float64], radius: float) -> Mask:
    """All pixels within ``radius`` rad of a direction."""
    v, u = np.mgrid[: grid.height, : grid.width]
    return np.asarray(grid.pixel_to_vector(u, v) @ direction >= math.cos(radius))


@st.composite
def masks(draw: st.DrawFn, grid: Equirect = GRID) -> Mask:
    """Unions of rectangles that may cross the seam and touch the borders, with loose pixels."""
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
    """Two masks, half of the time the same one moved a little; not both empty."""
    truth, other = draw(masks(grid)), draw(masks(grid))
    if draw(st.booleans()):
        shift = draw(st.integers(-4, 4)), draw(st.integers(-4, 4))
        other = np.roll(truth, shift, (0, 1))
    truth[0, 0] |= not (truth.any() or other.any())
    return truth, other


# --- the field's tools ---------------------------------------------------------------------------


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


def test_sequence_means_equal_vos_benchmark() -> None:
    """Means per object, absent frames included, without the first and the last frame."""
    rng = np.random.default_rng(3)
    evaluator, score = Evaluator(), SequenceScore("s", SMALL, {1: 0, 2: 0})
    for index in range(12):
        truth, predicted = np.zeros((2, 16, 32), np.uint16)
        for image in (truth, predicted):
            for obj_id in (1, 2):
                v, u = rng.integers(0, 10, 2)
                if rng.random() < 0.7 and (obj_id == 1 or index > 3):
                    image[v : v + 6, u : u + 9] = obj_id
        score.add(index, ScoredFrame(truth, predicted))
        if 0 < index < 11:
            evaluator.feed_frame(predicted.astype(np.uint8), truth.astype(np.uint8))
    iou, boundary_f = evaluator.conclude()
    summary = summarise_results([score.result()])
    assert summary.J_davis == pytest.approx(np.mean(list(iou.values())) / 100, abs=1e-9)
    assert summary.F_davis == pytest.approx(np.mean(list(boundary_f.values())) / 100, abs=1e-9)


def toolkit_weights(height: int) -> NDArray[np.float64]:
    """Row weights of the 360VOS toolkit by numerical integration over its drifting row centres."""
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
    """Why it stands beside the exact one: its rows lie up to one row too far north."""
    truth, predicted = np.zeros((2, 512, 1024), bool)
    truth[506:], predicted[509:] = True, True
    scores = MaskMetrics(Equirect(1024, 512)).score(truth, predicted)
    assert abs(scores.J_360vos - scores.J_sphere) > 0.01


# --- the sphere ----------------------------------------------------------------------------------


def slow_f(pair: tuple[Mask, Mask], kind: str, grid: Equirect = GRID) -> float:
    """F by definition: every pixel, every distance, no window, no shortcut."""
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
def test_scores_are_fair(pair: tuple[Mask, Mask]) -> None:
    scores, swapped = METRICS.score(*pair).values(), METRICS.score(*pair[::-1]).values()
    assert ((scores >= 0) & (scores <= 1)).all()
    np.testing.assert_allclose(scores, swapped, atol=1e-12)
    same = pair[0] | pair[1]
    assert (METRICS.score(same, same).values() == 1).all()
    assert METRICS.score(same, np.zeros_like(same)).J_sphere == 0


def test_official_f_pays_for_the_seam_and_ours_does_not() -> None:
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
    with pytest.raises(ValueError, match=r"\(64, 128\).*bring them to one size"):
        METRICS.score(np.zeros((64, 128), bool), np.zeros((32, 64), bool))


# --- sequences -----------------------------------------------------------------------------------


NOTHING = labels()


def one_object(*frames: ScoredFrame, **options: object) -> SequenceResult:
    """A sequence in which object 1 is prompted in the first of its frames."""
    score = SequenceScore("s", SMALL, {1: 0}, **options)
    for index, frame in enumerate(frames):
        score.add(index, frame)
    return score.result()


def test_prompted_frame_is_left_out_and_missing_masks_count_zero() -> None:
    score = SequenceScore("s", SMALL, {1: 0, 2: 1})
    both = labels(o1=(6, 4), o2=(6, 20))
    assert score.add(0, ScoredFrame(both, NOTHING)) == {}
    assert score.add(1, ScoredFrame(both, both))[1] == PairScores(*[1.0] * len(QUALITIES))
    assert set(score.add(2, ScoredFrame(both, None))) == {1, 2}
    first, second = score.result().objects
    assert (first.visible_pairs, second.visible_pairs) == (2, 1)
    assert first.tallies[EVERY].sums == (1.0,) * len(QUALITIES)
    assert second.tallies[EVERY].sums == (0.0,) * len(QUALITIES)
    assert (first.missed, second.missed) == (1, 1)


def test_false_positives_are_a_number_of_their_own() -> None:
    absent = [ScoredFrame(NOTHING, HERE), ScoredFrame(NOTHING, NOTHING), ScoredFrame(NOTHING, None)]
    result = one_object(ScoredFrame(HERE, HERE), ScoredFrame(HERE, HERE), *absent)
    summary = summarise_results([result])
    assert summary.every.scores["J"] == 1
    assert summary.false_positive_rate == pytest.approx(1 / 3)
    assert summary.reported_while_absent == 1
    assert summary.visible_but_wrong_rate == 1 / 2
    assert result.objects[0].absent == 3


def test_frames_keep_their_order() -> None:
    score = SequenceScore("s", SMALL, {1: 0})
    score.add(3, ScoredFrame(HERE, HERE))
    with pytest.raises(ValueError, match="frame 3 of s came after 3"):
        score.add(3, ScoredFrame(HERE, HERE))


def test_bearing_error_is_the_angle_between_report_and_truth() -> None:
    turned = rotation_matrix(np.array([0, math.radians(10), 0])) @ FORWARD
    truth = {1: FORWARD}
    wide = math.radians(10) ** 2 * np.eye(2)  # 10 degrees are one standard deviation
    frames = [
        ScoredFrame(HERE, HERE, truth, {1: Report(True, turned)}),  # prompted
        ScoredFrame(HERE, HERE, truth, {1: Report(True, turned, wide)}),  # 10 degrees
        ScoredFrame(HERE, THERE, truth, {1: Report(True, -FORWARD, wide)}),  # visible, but elsewhere
        ScoredFrame(HERE, HERE, truth, {1: Report(False, FORWARD)}),  # not reported
        ScoredFrame(HERE, HERE, truth, {}),  # not known
        ScoredFrame(NOTHING, NOTHING, {}, {1: Report(True, FORWARD)}),  # absent
    ]
    result = one_object(*frames)
    found = result.objects[0]
    assert found.bearing_errors_deg == pytest.approx((10, 180))
    assert found.bearing_errors_on_target_deg == pytest.approx((10,))
    assert found.reported_visible == 3
    assert (found.reported_elsewhere, found.reported_while_absent) == (1, 1)
    summary = summarise_results([result])
    assert summary.visible_but_wrong_rate == pytest.approx(2 / 3)
    assert summary.bearing_error_deg_median == pytest.approx(95)
    assert summary.bearing_error_on_target_deg_p95 == pytest.approx(10)
    assert (summary.covered_rate, summary.covered_on_target_rate) == (1 / 2, 1)


def test_bearings_come_from_masks_where_nothing_else_is_given() -> None:
    result = one_object(
        ScoredFrame(HERE, HERE), ScoredFrame(HERE, np.roll(HERE, 2, 1)), ScoredFrame(HERE, HERE)
    )
    moved, same = result.objects[0].bearing_errors_deg
    assert moved == pytest.approx(2 * 360 / 32, rel=0.02)
    assert same == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"object 1 .* no true direction"):
        one_object(ScoredFrame(HERE, HERE), ScoredFrame(HERE, HERE, directions={}))


def test_id_switches_are_moves_onto_another_object_or_look_alike() -> None:
    truth = labels(o1=(6, 4), o2=(6, 20))
    twin = labels(o9=(0, 12))
    own, other, look_alike = truth, labels(o1=(6, 20)), labels(o1=(0, 12))
    large = other.copy()
    large[10:14] = 1  # on the other, but most of it on nothing: no switch
    both = labels()
    both[6:10, [4, 5, 20, 21]] = 1  # as much on its own object as on the other: no switch
    answers = [own, own, other, other, own, look_alike, large, both, other]
    score = SequenceScore("s", SMALL, {1: 0, 2: 0})
    for index, answer in enumerate(answers):
        score.add(index, ScoredFrame(truth, answer, look_alikes=twin))
    first, second = score.result().objects
    assert (first.id_switches, first.frames_on_another) == (3, 4)
    assert (second.id_switches, second.frames_on_another) == (0, 0)
    # without look-alikes only the tracked object counts, also while the own one is hidden
    hidden = ScoredFrame(labels(o2=(6, 20)), other)
    assert one_object(ScoredFrame(truth, own), hidden).objects[0].id_switches == 1
    assert one_object(ScoredFrame(truth, own), ScoredFrame(truth, look_alike)).objects[0].id_switches == 0


@pytest.mark.parametrize(("hidden", "expected"), [(9, 0), (10, 20), (13, 20)])
def test_reappearance_is_the_20_frames_after_10_hidden_ones(hidden: int, expected: int) -> None:
    seen, gone = ScoredFrame(HERE, HERE), ScoredFrame(NOTHING, NOTHING)
    result = one_object(*[seen] * 5, *[gone] * hidden, *[seen] * 30)
    assert result.tally("reappearance").pairs == expected
    assert result.tally().pairs == 34


def test_reappearance_scores_only_frames_in_which_it_is_seen() -> None:
    seen, gone, missed = ScoredFrame(HERE, HERE), ScoredFrame(NOTHING, NOTHING), ScoredFrame(HERE, NOTHING)
    result = one_object(seen, *[gone] * 10, *[missed] * 5, *[gone] * 3, *[seen] * 40)
    found = result.tally("reappearance")
    assert found.pairs == 17
    assert found.sums[0] == 12


def test_conditions_are_those_of_the_frame() -> None:
    seam, pole = labels(o1=(6, 28)), NOTHING.copy()
    pole[:2] = 1
    result = one_object(
        ScoredFrame(HERE, HERE), ScoredFrame(HERE, HERE),
        ScoredFrame(seam, seam), ScoredFrame(np.roll(seam, 2, 1), seam),
        ScoredFrame(pole, NOTHING), ScoredFrame(pole[::-1], NOTHING),
    )  # fmt: skip
    assert result.tally("on_seam").pairs == 3  # one object, two polar caps
    assert result.tally("near_pole").pairs == 2
    assert result.tally("near_pole").sums[0] == 0


def test_relabelled_maps_ids_and_drops_strangers() -> None:
    image = np.array([[0, 1, 2, 300]], np.uint16)
    assert relabelled(image, {300: 1, 2: 7}).tolist() == [[0, 0, 7, 1]]
    assert relabelled(image, {}).tolist() == [[0, 0, 0, 0]]


# --- tables --------------------------------------------------------------------------------------


def test_scores_are_means_over_all_pairs() -> None:
    """Not means of sequences' means: a long sequence counts for as much as it has pairs."""
    results = [sequence("a", [0, 0, 0], ("crossing_border",)), sequence("b", [8])]
    summary = summarise_results(results)
    assert summary.every.scores["J"] == pytest.approx(3 / 4)
    assert summary.every.pairs == 4
    assert summary.frames == 6
    assert summary.by_attribute["crossing_border"].scores["JF_sphere"] == 1
    data = summary.to_json()
    assert data["JF_sphere_crossing_border"] == 1
    assert data["JF_sphere_reappearance"] is None
    assert data["JF_sphere"] == pytest.approx((data["J_sphere"] + data["F_sphere"]) / 2)
    json.dumps(data, allow_nan=False)


def test_results_survive_json() -> None:
    result = sequence("a", [0, 1, 8], ("x",))
    assert SequenceResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_bootstrap_is_seeded_and_honest() -> None:
    rng = np.random.default_rng(0)
    results = [sequence(f"s{i}", rng.integers(0, 5, 3).tolist()) for i in range(12)]
    group = summarise_results(results).every
    assert group == summarise_results(results).every
    assert group.ci95 != summarise_results(results, seed=1).every.ci95
    means = np.array([r.tally().sums[0] / r.tally().pairs for r in results])
    low, high = group.ci95["J"]
    assert low < group.scores["J"] < high
    # of a mean: 1.96 standard errors on either side, give or take
    assert high - low == pytest.approx(2 * 1.96 * means.std(ddof=1) / math.sqrt(12), rel=0.2)
    assert summarise_results(results[:1]).every.ci95 == {}
    assert summarise_results([]).every.scores == {}


def test_difference_is_paired() -> None:
    """A small but constant difference shows, although sequences differ much more."""
    easy_and_hard = [[0, 0], [1, 1], [2, 2], [3, 3], [0, 3]]
    a = [sequence(f"s{i}", shifts) for i, shifts in enumerate(easy_and_hard)]
    b = [sequence(f"s{i}", [s + 1 for s in shifts]) for i, shifts in enumerate(easy_and_hard)]
    found = compare(a, b, "J_sphere")
    assert 0 < found.ci95[0] < found.difference < found.ci95[1]
    assert found.better == 1
    expected = summarise_results(a).every.scores["J_sphere"] - summarise_results(b).every.scores["J_sphere"]
    assert found.difference == pytest.approx(expected)
    assert summarise_results(b).every.ci95["J_sphere"][1] > summarise_results(a).every.ci95["J_sphere"][0]
    same = compare(a, a[::-1])
    assert (same.difference, same.ci95, same.better) == (0, (0, 0), 0)


def test_differences_of_unlike_sets_are_refused() -> None:
    a = [sequence("a", [0]), sequence("b", [1])]
    with pytest.raises(ValueError, match=r"same sequences; only one set has \['b'\]"):
        compare(a, a[:1])
    with pytest.raises(ValueError, match="different truths"):
        compare(a, [sequence("a", [0]), sequence("b", [1, 1])])
    with pytest.raises(ValueError, match="no score 'IoU'"):
        compare(a, a, "IoU")
    with pytest.raises(ValueError, match=r"there twice: \['a'\]"):
        summarise_results([a[0], a[0]])
