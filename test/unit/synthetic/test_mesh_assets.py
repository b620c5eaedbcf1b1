"""Solid models: catalogues are read, strips are rendered and shown as they turn, only where a scene asks."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from panosam2_ros.simulation.assets import VIEW_SIDE, VIEWS, AssetLibrary, Split, read_view_strip
from panosam2_ros.simulation.scene import Scene
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.sprites import swaying
from panosam2_ros.synthetic import mesh_assets, multiview_sprites
from panosam2_ros.synthetic.mesh_assets import Model, catalogue, draw_all, with_models

CATALOGUE = """id=Test
license=CC-BY 3.0
id#1=Test#chair
model#1=/pack/chair/chair.obj
creator#1=A. Maker
id#2=Test#table
model#2=/pack/table/table.obj
license#2=CC0
"""


def strip() -> np.ndarray:
    """Return a strip whose view k is a square as grey as k says, wider in the middle of the round."""
    views = []
    for index in range(VIEWS):
        view = np.zeros((VIEW_SIDE, VIEW_SIDE, 4), np.uint8)
        half = int(VIEW_SIDE * (0.25 + 0.2 * abs(math.sin(math.pi * index / VIEWS))))
        view[VIEW_SIDE // 2 - half : VIEW_SIDE // 2 + half, VIEW_SIDE // 2 - half : VIEW_SIDE // 2 + half] = (
            60 + 4 * index, 100, 100, 255,
        )  # fmt: skip
        views.append(view)
    return np.concatenate(views, 1)


@pytest.fixture
def library(tmp_path: Path) -> AssetLibrary:
    cv2.imwrite(str(tmp_path / "box.webp"), strip(), [cv2.IMWRITE_WEBP_QUALITY, 101])
    return with_models(AssetLibrary.shipped(Split.VAL), tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "pack.sh3f"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("PluginFurnitureCatalog.properties", CATALOGUE)
        file.writestr("pack/chair/chair.obj", "v 0 0 0\n")
    return path


def test_a_catalogue_names_models_authors_and_licences(archive: Path) -> None:
    chair, table = catalogue(archive)
    assert (chair.name, chair.creator, chair.license) == ("pack-chair", "A. Maker", "CC-BY 3.0")
    assert (table.entry, table.creator, table.license) == ("pack/table/table.obj", "", "CC0")


def test_models_that_cannot_be_rendered_are_named_and_the_others_are_rendered(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(model: Path) -> np.ndarray:
        if "dark" in model.name:
            raise ValueError(f"{model.name} shows nothing")
        if "killer" in model.name:
            os._exit(1)
        return strip()

    monkeypatch.setattr(mesh_assets, "draw_views", drawn)
    models = [Model(archive, f"pack/chair/{name}.obj", "", "") for name in ("dark", "killer", "chair")]
    (tmp_path / "pack-chair.begun").touch()  # left by a run that was stopped
    for _ in range(2):
        problems = draw_all(models, tmp_path, 2)
        assert len(problems) == 2 and "dark.obj shows nothing" in problems[0] and "pack-killer" in problems[1]
        assert {p.name for p in tmp_path.glob("pack-*")} == {"pack-chair.webp", "pack-killer.fatal"}
    (view, *_) = read_view_strip(tmp_path / "pack-chair.webp")
    assert (
        view.shape == (VIEW_SIDE, VIEW_SIDE, 4)
        and abs(int(view[VIEW_SIDE // 2, VIEW_SIDE // 2, 2]) - 100) < 30
    )


def test_solid_models_turn_while_they_are_tracked(library: AssetLibrary) -> None:
    config = SceneConfig(
        width=256, height=128, frames=12, objects=(1, 1), distractors=(0, 0), size=(0.8, 0.8), occlusion=0,
        size_change=1.0, object_speed=(0, 0), camera_speed=0, models=1.0, texture_shapes=0, exposure=0,
        exposure_drift=0, noise=0, look_alike=0,
    )  # fmt: skip
    scene = Scene(config, library, 3)
    (body,) = scene._spec.bodies
    assert body.name == "box" and len(body.views) == VIEWS
    areas = [scene.truth(t).objects[0].solid_angle for t in range(12)]
    assert max(areas) > 1.1 * min(areas)  # the object neither moves nor grows: it shows another side


def test_a_swaying_sprite_bends_and_comes_back() -> None:
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[8:56, 20:44] = 255
    views = swaying(np.random.default_rng(0), rgba, 6)
    solid = [view[..., 3] > 127 for view in views]
    differ = [(a != b).mean() for a, b in zip(solid, [*solid[1:], solid[0]], strict=True)]
    assert min(differ) > 0 and max(differ) < 0.2
    assert all(0.7 < s.sum() / solid[0].sum() < 1.4 for s in solid)


def test_clutter_stands_still_behind_everything_and_is_not_tracked(library: AssetLibrary) -> None:
    config = SceneConfig(width=128, height=64, frames=5, clutter=(6, 6), models=1.0, distractors=(0, 0))
    bodies = Scene(config, library, 1)._spec.bodies
    behind = bodies[:6]
    assert all(body.obj_id == 0 for body in behind) and {b.obj_id for b in bodies} > {0, 1}
    assert all(np.allclose(body.poses[0][:, 2], body.poses[-1][:, 2]) for body in behind)


def test_scenes_without_models_do_not_change(library: AssetLibrary) -> None:
    """The benchmark's scenes must not depend on the material that training adds."""
    config = SceneConfig(width=128, height=64, frames=3)
    plain, rich = Scene(config, replace(library, models={}), 5), Scene(config, library, 5)
    assert np.array_equal(plain.render(2).image, rich.render(2).image)
    with pytest.raises(ValueError, match="the library has none"):
        Scene(replace(config, models=1.0), replace(library, models={}), 5)
    with pytest.raises(ValueError, match="holds no strips"):
        with_models(library, Path(mesh_assets.__file__).parent)


def test_a_model_is_drawn_from_all_sides(tmp_path: Path) -> None:
    pytest.importorskip("vtk")
    model = tmp_path / "slab.obj"
    corners = [(x, y, z) for x in (-2, 2) for y in (-1, 1) for z in (-0.2, 0.2)]
    lines = [f"v {x} {y} {z}" for x, y, z in corners]
    faces = ["1 2 4 3", "5 6 8 7", "1 2 6 5", "3 4 8 7", "1 3 7 5", "2 4 8 6"]
    model.write_text("\n".join([*lines, *(f"f {face}" for face in faces)]) + "\n")
    model.with_suffix(".mtl").write_text("newmtl plain\nKd 0.8 0.2 0.2\n")
    views = np.split(multiview_sprites.draw_views(model), VIEWS, 1)
    widths = [int((view[..., 3] > 127).any(0).sum()) for view in views]
    assert widths[0] > 2 * widths[VIEWS // 4] and abs(widths[0] - widths[VIEWS // 2]) < 8
