"""Photographs: drawings are left out, scenes show them with a shadow that nobody tracks, only where asked."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.sprites import DARKEST, turning, with_shadow
from panosam2_ros.synthetic import debian, photographs
from panosam2_ros.synthetic.debian import unpack_package
from panosam2_ros.synthetic.mesh_assets import with_models
from panosam2_ros.synthetic.photographs import PHOTO_PACKAGE, is_photograph

SIDE = 120
RED = (200, 40, 30)


def disc(*, noise: float, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Return a red disc, RGBA [H, W, 4], with noise of this deviation."""
    rgba = np.zeros((*size, 4), np.uint8)
    cv2.circle(rgba, (size[1] // 2, size[0] // 2), min(size) // 3, (*RED, 255), -1)
    noisy = rgba[..., :3] + np.random.default_rng(0).normal(0, noise, (*size, 3))
    return np.dstack([noisy.clip(0, 255), rgba[..., 3]]).astype(np.uint8)


def package(root: Path) -> None:
    """Write an unpacked package of two photographs and three other pictures."""
    pictures = {
        "animals/birds/robin.png": disc(noise=6),
        "vehicles/Car.png": disc(noise=6, size=(360, 240)),
        "animals/cartoon/bird.png": disc(noise=6),
        "food/apple.png": disc(noise=0),
        "food/opaque.png": np.dstack(
            [np.random.default_rng(1).integers(0, 255, (60, 60, 3)), np.full((60, 60), 255)]
        ),
    }
    (root / "usr/share/doc" / PHOTO_PACKAGE).mkdir(parents=True)
    for name, rgba in pictures.items():
        path = root / "usr/share/tuxpaint/stamps" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(rgba.astype(np.uint8), cv2.COLOR_RGBA2BGRA))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    package(tmp_path / "package")
    photographs.main(["--out", str(tmp_path)])
    return tmp_path


def test_photographs_are_told_from_drawings() -> None:
    assert is_photograph(disc(noise=6)) and not is_photograph(disc(noise=0))
    small = cv2.resize(disc(noise=6), (20, 20), interpolation=cv2.INTER_AREA)
    assert not is_photograph(np.asarray(small))


def test_the_photographs_of_a_package_are_written_and_listed(folder: Path) -> None:
    names = {path.stem for path in folder.glob("*.webp")}
    assert names == {"photo-animals-birds-robin", "photo-vehicles-car"}
    rows = (folder / "PHOTOGRAPHS.tsv").read_text().splitlines()
    assert rows[1] == f"photo-animals-birds-robin\t{PHOTO_PACKAGE}\tanimals/birds/robin.png"
    car = cv2.imread(str(folder / "photo-vehicles-car.webp"), cv2.IMREAD_UNCHANGED)
    assert car is not None and car.shape == (224, 149, 4)
    library = with_models(AssetLibrary.shipped(Split.VAL), folder)
    assert set(library.photos) == names and not library.models and not library.people


def test_a_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(command: list[str], **options: Any) -> None:
        asked.append(command[0])
        (tmp_path / f"{PHOTO_PACKAGE}_1_all.deb").touch()
        (tmp_path / "usr/share/doc" / PHOTO_PACKAGE).mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(debian, "subprocess", type("", (), {"run": staticmethod(run)}))
    for _ in range(2):
        assert unpack_package(PHOTO_PACKAGE, tmp_path) == tmp_path
    assert asked == ["apt-get", "dpkg-deb"] and subprocess.run is not run


@pytest.mark.parametrize("seed", range(5))
def test_a_shadow_is_dark_and_does_not_belong_to_the_object(seed: int) -> None:
    rgba = with_shadow(np.random.default_rng(seed), disc(noise=0))
    margin = (len(rgba) - SIDE) // 2
    own = np.pad(disc(noise=0)[..., 3] > 127, margin)
    found = rgba[..., 3] > 127
    assert (found & own).sum() > 0.97 * (found | own).sum()
    around = rgba[~cv2.dilate(own.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)]
    assert 0 < around[:, 3].max() <= round(255 * DARKEST) and around[:, :3].max() <= 10
    middle = rgba[len(rgba) // 2, len(rgba) // 2]
    assert np.abs(middle[:3].astype(int) - RED).max() <= 2 and middle[3] >= 254


def test_a_plane_turns_to_and_fro_and_stays_inside_its_square() -> None:
    views = turning(np.random.default_rng(4), disc(noise=0), 12)
    widths = [np.ptp(np.flatnonzero((view[..., 3] > 127).any(0))) for view in views]
    heights = [np.ptp(np.flatnonzero((view[..., 3] > 127).any(1))) for view in views]
    assert len(views) == 12 and all(view.shape == (SIDE, SIDE, 4) for view in views)
    ratios = np.array(widths) / heights
    assert ratios.max() > 0.95 and ratios.min() < 0.9
    edges = [np.concatenate([view[0], view[-1], view[:, 0], view[:, -1]])[:, 3] for view in views]
    assert not np.any(edges)


def test_scenes_show_photographs_only_where_they_ask_for_them(folder: Path) -> None:
    library = with_models(AssetLibrary.shipped(Split.VAL), folder)
    config = SceneConfig(width=256, height=128, frames=3)
    plain = Scene(config, AssetLibrary.shipped(Split.VAL), 3)
    assert np.array_equal(plain.render(1).image, Scene(config, library, 3).render(1).image)
    asked = replace(config, photos=1.0, look_alike=0.0, occlusion=0.0)
    scene = Scene(asked, library, 3)
    assert all(body.name in library.photos and len(body.views) > 1 for body in scene._spec.bodies)
    with pytest.raises(ValueError, match="photographs"):
        Scene(asked, AssetLibrary.shipped(Split.VAL), 3)
