"""Dual fisheye images against a world whose colour is known in every direction."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fisheye_photograph import Floats, photographed, world
from panosam2_ros.geometry.dual_fisheye import CalibrationError, DualFisheye, Lens, Remap
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.package_files import package_file

CALIBRATED = DualFisheye(
    800,
    420,
    Lens((204.3, 208.1), 193.0, math.radians(195), roll=0.3, pitch=-0.1, yaw=0.05),
    Lens((597.8, 211.4), 189.0, math.radians(188), roll=-1.5, pitch=0.04, yaw=math.pi - 0.06),
)


def truth(width: int) -> Floats:
    grid = Equirect(width, width // 2)
    return world(grid.pixel_to_vector(*np.meshgrid(np.arange(width), np.arange(width // 2))))


@pytest.mark.parametrize("camera", [CALIBRATED, DualFisheye.side_by_side(800, 400)])
@pytest.mark.parametrize("width", [256, 640])
def test_remap_reproduces_the_world(camera: DualFisheye, width: int) -> None:
    found = Remap(camera, (camera.width, camera.height), width)(photographed(camera))
    assert found.shape == (width // 2, width, 3) and found.dtype == np.uint8
    assert np.abs(found - truth(width)).max() < 6  # everywhere, also where the lenses meet and at the poles
    assert np.abs(found - truth(width)).mean() < 1


@pytest.mark.parametrize(
    "change", [{"center": (206.3, 208.1)}, {"roll": 0.32}, {"pitch": -0.08}, {"yaw": 0.07}]
)
def test_every_lens_parameter_has_an_effect(change: dict[str, Any]) -> None:
    wrong = replace(CALIBRATED, front=replace(CALIBRATED.front, **change))
    found = Remap(wrong, (800, 420), 640)(photographed(CALIBRATED))
    assert np.abs(found - truth(640)).max() > 6


def test_remap_scales_the_calibration_to_larger_images() -> None:
    found = Remap(CALIBRATED, (1600, 840), 640)(photographed(CALIBRATED, 2.0))
    assert np.abs(found - truth(640)).max() < 6


def test_lenses_blend_over_the_blend_width_within_their_fields_of_view() -> None:
    image = np.zeros((400, 800, 3), np.uint8)
    image[:, :400] = 200  # the front lens sees grey, the back lens black
    for blend, share in ((0.0, 0.003), (math.radians(8), 8 / 360)):
        camera = replace(DualFisheye.side_by_side(800, 400), blend_width=blend)
        row = Remap(camera, (800, 400), 720)(image)[180, :360, 0]  # the horizon, its left half
        assert row[0] == 0 and row[-1] == 200 and (np.diff(row.astype(int)) >= 0).all()
        assert ((row > 0) & (row < 200)).mean() <= 2 * share + 0.01
        assert np.flatnonzero(row > 100)[0] == pytest.approx(180, abs=2)
    narrow = replace(camera, front=replace(camera.front, fov=math.radians(172), radius=200 * 172 / 190))
    row = Remap(narrow, (800, 400), 720)(image)[180, :360, 0]
    assert row[185] == 0 and row[197] == 200  # 87.5 and 81.5 degrees from the front lens' axis


def test_the_shipped_calibration_is_a_template() -> None:
    camera = DualFisheye.load(package_file("config", "dual_fisheye.yaml"))
    assert (camera.width, camera.height) == (1920, 960)
    assert camera.front.center == DualFisheye.side_by_side(1920, 960).front.center
    assert camera.back.yaw == pytest.approx(math.pi) and camera.blend_width == 0.07


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "no YAML file"),
        ("width: 10", "'front'.*see the example config/dual_fisheye.yaml"),
        ("just words", "see the example"),
        ("{width: 9, height: 9, front: {center: [1, 2], radius: 3, fov: 3, fow: 1}}", "'fow'.*unknown"),
        ("{width: 9, height: 9, front: {center: [1, 2], radius: -3, fov: 3}, back: {}}", "radius > 0.*-3"),
        ("{width: 9, height: 9, front: {center: [1], radius: 3, fov: 3}, back: {}}", "center: .u, v."),
        ("{width: 9, height: 9, front: {center: [1, 2], radius: .nan, fov: 3}, back: {}}", "finite"),
        ("{width: 9, height: 9, front: {center: [1, 2], radius: wide, fov: 3}, back: {}}", "see the example"),
    ],
)
def test_invalid_calibrations_name_the_error(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "camera.yaml").write_text(text)
    with pytest.raises(CalibrationError, match=rf"camera\.yaml.*{reason}"):
        DualFisheye.load(tmp_path / "camera.yaml")


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"for 800x420 images, got 800x400.*calibrate"):
        Remap(CALIBRATED, (800, 400), 640)
    for width in (0, 63, 641, 20000):
        with pytest.raises(ValueError, match=f"even and 64 to 16384, got {width}"):
            Remap(CALIBRATED, (800, 420), width)
