"""Presets of cameras: the shipped ones fit the node, and what comes before what."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.fisheye_photograph import photographed
from panosam2_ros.geometry.dual_fisheye import DualFisheye, Remap
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.package_files import package_file
from panosam2_ros.ros.camera_presets import CameraPreset, chosen_preset, node_parameters

SHIPPED = package_file("config", "cameras.yaml")
NAMES = sorted(yaml.safe_load(SHIPPED.read_text()))
GOOD = "mine: {camera: a camera, tried: false, image: image_raw, camera_frame: lens, parameters: {}}\n"


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_ones_are_parameters_that_the_node_takes(name: str) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
    from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
    from panosam2_ros.ros.parameters import Parameters

    preset = chosen_preset(name)
    PanoramaDecoder(Parameters(**preset.parameters))
    assert preset.camera in preset.notice and preset.tried != ("not tried" in preset.notice)


@pytest.mark.parametrize("name", NAMES)
def test_the_page_of_cameras_has_every_preset(name: str) -> None:
    page = (SHIPPED.parents[1] / "docs" / "cameras.md").read_text()
    assert f"`{name}`" in page


def test_without_a_name_nothing_changes() -> None:
    preset = chosen_preset("")
    assert preset == CameraPreset() and preset.notice == ""
    assert (preset.image, preset.camera_frame) == ("image", "camera_optical_frame")
    assert node_parameters(preset, "file.yaml", "file.yaml") == ["file.yaml"]


def test_what_the_user_gives_takes_precedence() -> None:
    preset = chosen_preset("cropped_120", image="/front/image", camera_frame="front")
    assert (preset.image, preset.camera_frame) == ("/front/image", "front")
    assert preset.parameters["vertical_fov"] == pytest.approx(math.radians(120))
    assert node_parameters(preset, "all.yaml", "all.yaml") == ["all.yaml", preset.parameters]
    assert node_parameters(preset, "mine.yaml", "all.yaml") == [preset.parameters, "mine.yaml"]


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(GOOD.replace("{}", "{fisheye_calibration: lenses.yaml}"))
    preset = chosen_preset(f"{file}#mine")
    assert preset.image == "image_raw"
    assert preset.parameters == {"fisheye_calibration": str(tmp_path / "lenses.yaml")}


@pytest.mark.parametrize(
    ("text", "name", "problem"),
    [
        (GOOD, "yours", "has no camera 'yours', but mine"),
        (GOOD, "", "has no camera '', but mine"),
        ("- 1", "mine", "needs presets by their names"),
        ("mine: 3", "mine", "mine needs exactly camera, tried, image, camera_frame, parameters"),
        (GOOD.replace("image:", "topic:"), "mine", "mine needs exactly"),
        (GOOD.replace("image_raw", "3"), "mine", "image must be a str, got 3"),
        (GOOD.replace("image_raw", "''"), "mine", "image must be a str, got ''"),
        (GOOD.replace("false", "perhaps"), "mine", "tried must be a bool"),
        ("mine: {", "mine", "while parsing"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(
    tmp_path: Path, text: str, name: str, problem: str
) -> None:
    file = tmp_path / "cameras.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"^camera preset: .*cameras\.yaml: ") as caught:
        chosen_preset(f"{file}#{name}")
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["insta_360", "/nowhere.yaml#mine"])
def test_a_name_that_does_not_exist_is_answered_with_those_that_do(name: str) -> None:
    with pytest.raises(ValueError, match="camera preset: ") as caught:
        chosen_preset(name)
    assert ("insta360_dual_fisheye" if "#" not in name else "/nowhere.yaml") in str(caught.value)


def test_lenses_of_an_insta360_lie_on_their_sides_with_the_front_on_the_right() -> None:
    """As that driver's own projection reads its images: tops of both circles point outwards."""
    upright = DualFisheye.side_by_side(128, 64, fov=math.pi)
    pair = photographed(upright)
    front, back = pair[:, :64], pair[:, 64:]
    raw = np.concatenate([np.rot90(back, 1), np.rot90(front, -1)], axis=1)  # back's top left, front's right
    camera = DualFisheye.load(SHIPPED.with_name("insta360_dual_fisheye.yaml"))
    panorama = Remap(camera, (128, 64), 128)(np.ascontiguousarray(raw)).astype(int)
    wanted = Remap(upright, (128, 64), 128)(pair).astype(int)
    forward = Equirect(128, 64).rotated_vectors(np.eye(3))[2]
    inside = np.abs(forward) > 0.15  # not where the lenses meet: one of the two calibrations blends there
    assert inside.mean() > 0.7 and np.abs(panorama - wanted)[inside].max() <= 3
