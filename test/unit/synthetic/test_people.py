"""People of training scenes: garments from shells, periodic motion, shown only where a scene asks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from panosam2_ros.simulation.assets import VIEW_SIDE, VIEWS, AssetLibrary, Split, read_view_strip
from panosam2_ros.simulation.scene import Scene
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.synthetic import people
from panosam2_ros.synthetic.clothing import Layer, Mesh, dress
from panosam2_ros.synthetic.mesh_assets import with_models
from panosam2_ros.synthetic.multiview_sprites import encode_strip
from panosam2_ros.synthetic.people import PREFIX, draw_person, sample_pose, sample_shape


def tube(radius: float, low: float, high: float, x: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and faces of an upright tube, 24 round, 40 high."""
    angle, height = np.meshgrid(2 * math.pi * np.arange(24) / 24, np.linspace(low, high, 40))
    places = np.stack([x + radius * np.sin(angle), -radius * np.cos(angle), height], -1).reshape(-1, 3)
    row, column = np.meshgrid(np.arange(39), np.arange(24), indexing="ij")
    after = (column + 1) % 24
    corners = [row * 24 + column, row * 24 + after, (row + 1) * 24 + after, (row + 1) * 24 + column]
    return places, np.stack(corners, -1).reshape(-1, 4)


def arm_tube() -> tuple[np.ndarray, np.ndarray]:
    """Return positions and faces of an arm from the shoulder outwards and down, to below the waist."""
    places, faces = tube(0.05, 0.16, 0.45)
    along = places[:, 2]
    return np.stack([along, places[:, 1], places[:, 0] + 0.8 - 2 * along], -1), faces


@pytest.fixture
def mesh() -> Mesh:
    """Tubes for body, tights, one sleeve, skirt and hair."""
    tubes = [tube(0.15, -0.85, 0.7), tube(0.16, -0.85, 0.6), arm_tube(),
             tube(0.2, -0.74, 0.12), tube(0.12, 0.2, 0.78)]  # fmt: skip
    starts = np.cumsum([0, *(len(places) for places, _ in tubes)])
    body, tights, sleeve, skirt, hair = (f + start for (_, f), start in zip(tubes, starts[:-1], strict=True))
    positions = np.concatenate([places for places, _ in tubes])
    arm = (np.arange(len(positions)) >= starts[2]) & (np.arange(len(positions)) < starts[3])
    return Mesh(positions, arm, body, body[:2], np.concatenate([tights, sleeve]), skirt, hair)


def outfits(mesh: Mesh, *, skirts: bool) -> list[dict[str, Layer]]:
    """Draw the layers of sixty people, by name."""
    each = [dress(np.random.default_rng(seed), mesh, skirts=skirts) for seed in range(60)]
    assert all(len({layer.name for layer in layers}) == len(layers) for layers in each)
    return [{layer.name: layer for layer in layers} for layers in each]


def test_everybody_is_covered_and_in_colours_of_their_own(mesh: Mesh) -> None:
    people = outfits(mesh, skirts=True)
    for outfit in people:
        assert all(layer.colours.shape == mesh.positions.shape for layer in outfit.values())
        assert all(0 <= layer.offset < 0.05 for layer in outfit.values())
        lower = [outfit[name] for name in ("skirt", "trousers") if name in outfit]
        highest = max(mesh.positions[layer.faces].mean(1)[:, 2].max() for layer in lower)
        assert mesh.positions[outfit["top"].faces].mean(1)[:, 2].min() < highest + 0.04  # no bare waist
    assert len({outfit["top"].colours.tobytes() for outfit in people}) == 60
    assert 5 < sum("skirt" in outfit for outfit in people) < 30
    assert not any("skirt" in outfit for outfit in outfits(mesh, skirts=False))


def test_sleeves_are_short_or_long_and_trousers_have_none(mesh: Mesh) -> None:
    arm = mesh.tights[mesh.arm[mesh.tights].all(1)]
    sleeves = [np.isin(arm, outfit["top"].faces).all(1).mean() for outfit in outfits(mesh, skirts=False)]
    assert 10 < sum(sleeve < 0.5 for sleeve in sleeves) < 50 and max(sleeves) > 0.9
    for outfit in outfits(mesh, skirts=False):
        assert not mesh.arm[outfit["trousers"].faces].any()
        assert mesh.positions[outfit["trousers"].faces].mean(1)[:, 2].max() < 0.15


def test_a_round_is_closed_and_the_legs_go_opposite_ways() -> None:
    walking = [turns for turns in map(sample_pose, map(np.random.default_rng, range(40)))
               if np.ptp(turns["upperleg01.L"][:, 0]) > 0.4]  # fmt: skip
    assert 10 < len(walking) < 40
    for turns in walking:
        left, right = turns["upperleg01.L"][:, 0], turns["upperleg01.R"][:, 0]
        assert all(values.shape == (VIEWS, 3) for values in turns.values())
        assert np.corrcoef(left, right)[0, 1] < -0.99
        for values in turns.values():  # from the last view to the first it is no farther than elsewhere
            steps = np.linalg.norm(np.diff(values, axis=0, append=values[:1]), axis=1)
            assert steps[-1] <= steps.max() and steps[-1] < 0.75
        assert (turns["lowerleg01.L"][:, 0] >= 0).all()  # knees bend one way


def test_a_third_are_children_and_all_parameters_are_shares() -> None:
    labels = ["gender", "age", "muscle", "weight", "height", "proportions"]
    shapes = [sample_shape(np.random.default_rng(seed), labels) for seed in range(300)]
    assert all(0 <= value <= 1 for values in shapes for value in values.values())
    assert 0.2 < np.mean([values["age"] < 0.5 for values in shapes]) < 0.45


@pytest.fixture
def library(tmp_path: Path) -> AssetLibrary:
    strip = np.zeros((VIEW_SIDE, VIEWS * VIEW_SIDE, 4), np.uint8)
    strip[8:104, :, :3] = (40, 160, 60)
    strip.reshape(VIEW_SIDE, VIEWS, VIEW_SIDE, 4)[8:104, :, 48:64, 3] = 255  # slim, as people are
    for name in (f"{PREFIX}0001", "chair"):
        (tmp_path / f"{name}.webp").write_bytes(encode_strip(strip))
    return with_models(AssetLibrary.shipped(Split.VAL), tmp_path)


def test_people_are_shown_where_a_scene_asks_for_them(library: AssetLibrary) -> None:
    assert list(library.people) == [f"{PREFIX}0001"] and list(library.models) == ["chair"]
    config = SceneConfig(width=128, height=64, frames=3, people=1.0, look_alike=0, occlusion=0)
    scene = Scene(config, library, 1)
    assert {body.name for body in scene._spec.bodies} == {f"{PREFIX}0001"}
    assert all(len(body.views) == VIEWS for body in scene._spec.bodies)
    with pytest.raises(ValueError, match=r"needs people, the library has none: see synthetic/people\.py"):
        Scene(config, replace(library, people={}), 1)
    nobody = Scene(replace(config, people=0.0), library, 1)
    without = Scene(replace(config, people=0.0), replace(library, people={}), 1)
    assert np.array_equal(nobody.render(1).image, without.render(1).image)


def test_a_person_has_arms_and_legs_that_move(tmp_path: Path) -> None:
    pytest.importorskip("vtk")
    pytest.importorskip("anny")
    people._make(3, tmp_path)
    views = read_view_strip(tmp_path / f"{PREFIX}0003.webp")
    solid = np.array([view[..., 3] > 127 for view in views])
    shares = solid.mean((1, 2))
    assert shares.min() > 0.05 and shares.max() < 0.5
    heights = [int(np.ptp(np.flatnonzero(s.any(1)))) for s in solid]
    assert min(heights) > VIEW_SIDE / 3
    pieces = [cv2.connectedComponentsWithStats(s.astype(np.uint8))[2] for s in solid]
    largest = [stats[1:, cv2.CC_STAT_AREA].max() for stats in pieces]
    assert (np.array(largest) > 0.9 * solid.sum((1, 2))).all()  # one piece
    again = draw_person(np.random.default_rng([3, 17]))
    assert abs(again[..., 3].astype(int) - np.concatenate(views, 1)[..., 3]).mean() < 2
