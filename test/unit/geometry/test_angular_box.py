"""Boxes on the sphere: what they hold and what they share, against closed forms and many points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from helpers.fuzzing import examples
from panosam2_ros.geometry.angular_box import AngularBoxes, box_ious, shared_solid_angles
from panosam2_ros.geometry.sphere import Floats, angle_between, lonlat_to_vector, normalised, tangent_basis

angles = st.floats(-math.pi, math.pi)
widths, heights = st.floats(0.02, 2 * math.pi), st.floats(0.02, math.pi)
boxes = st.tuples(angles, st.floats(-1.5, 1.5), widths, heights)


def of(*rows: tuple[float, float, float, float]) -> AngularBoxes:
    """Return boxes of longitude, latitude, width and height."""
    table = np.array(rows).reshape(-1, 4)
    return AngularBoxes(lonlat_to_vector(table[:, 0], table[:, 1]), table[:, 2:])


def everywhere(count: int = 50_000) -> Floats:
    """Return directions [count, 3] that are uniform on the sphere."""
    return normalised(np.random.default_rng(0).normal(size=(count, 3)))


def holds(box: AngularBoxes, points: Floats) -> Floats:
    """Tell by the definition which points [P, 3] lie in a single box."""
    east, north = (axis[0] for axis in tangent_basis(box.directions))
    along = np.arctan2(points @ east, points @ box.directions[0])
    up = np.arcsin(np.clip(points @ north, -1, 1))
    return (np.abs(along) <= box.extents[0, 0] / 2) & (np.abs(up) <= box.extents[0, 1] / 2)


@pytest.mark.parametrize("lon", [0.0, math.pi, -2.9])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25, 0.6])
def test_boxes_beside_each_other_on_the_horizon_share_what_rectangles_share(lon: float, shift: float) -> None:
    wide, high = 0.5, 0.3
    (found,) = shared_solid_angles(of((lon, 0, wide, high)), of((lon + shift, 0, wide, high)))[0]
    assert found == pytest.approx(max(wide - shift, 0) * 2 * math.sin(high / 2), abs=wide * high / 30)


@examples(30)
@given(boxes, boxes)
def test_shares_of_any_two_boxes_are_those_of_many_points(
    first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    one, other, points = of(first), of(second), everywhere()  # type: ignore[arg-type]
    inside, both = holds(one, points), holds(one, points) & holds(other, points)
    smaller = min(one.solid_angles[0], other.solid_angles[0])
    assert one.solid_angles[0] == pytest.approx(inside.mean() * 4 * math.pi, abs=0.05)
    found = shared_solid_angles(one, other)[0, 0]
    assert found == pytest.approx(both.mean() * 4 * math.pi, abs=0.02 + 0.15 * smaller)
    assert found <= smaller + 1e-9
    assert found == pytest.approx(shared_solid_angles(other, one)[0, 0], abs=0.15 * smaller)


@examples(30)
@given(boxes)
def test_a_box_is_itself_and_holds_its_samples(box: tuple[float, ...]) -> None:
    one = of(box)  # type: ignore[arg-type]
    assert box_ious(one, one)[0, 0] == pytest.approx(1)
    samples = one.samples()[0]
    assert np.linalg.norm(samples, axis=1) == pytest.approx(1)
    assert holds(one, samples).all()
    assert angle_between(samples, one.directions).max() <= one.radii[0] + 1e-9


def test_overlap_does_not_depend_on_where_on_the_horizon_the_boxes_are() -> None:
    found = [
        box_ious(of((lon, 0.1, 0.4, 0.6)), of((lon + 0.1, 0.2, 0.5, 0.4)))[0, 0]
        for lon in np.linspace(-math.pi, math.pi, 24)
    ]
    assert np.ptp(found) < 1e-6 and 0.3 < found[0] < 0.7


def test_the_smallest_box_around_points_has_them_on_its_sides() -> None:
    centre = lonlat_to_vector(3.1, 0.4)
    points = Rotation.random(5, random_state=1).apply(centre) * 0.1 + centre
    box = AngularBoxes.around(centre[None], normalised(points)[None])
    assert holds(AngularBoxes(box.directions, box.extents + 1e-9), normalised(points)).all()
    assert not holds(AngularBoxes(box.directions, box.extents - 1e-6), normalised(points)).all()


def test_no_boxes_share_nothing() -> None:
    none, one = of(), of((0, 0, 1, 1))
    assert box_ious(none, one).shape == (0, 1) and box_ious(one, none).shape == (1, 0)
