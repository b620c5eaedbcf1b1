"""Presets of cameras for the launch file: topic, frame and parameters, by name. Imports no ROS.

The shipped ones stand in config/cameras.yaml, whose head explains the format.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from panosam2_ros.io.package_files import package_file

CALIBRATION = "fisheye_calibration"


@dataclass(frozen=True)
class CameraPreset:
    """What the launch file needs to know of a camera."""

    camera: str = ""  # what it is for; empty: no preset was chosen
    tried: bool = False
    image: str = "image"  # topic
    camera_frame: str = "camera_optical_frame"
    parameters: dict[str, Any] = field(default_factory=dict)  # of the node

    @property
    def notice(self) -> str:
        """What to log at the start; empty: nothing."""
        if not self.camera:
            return ""
        untried = "" if self.tried else "; not tried with that camera: check ~/overlay, and docs/cameras.md"
        return f"camera preset: {self.camera}{untried}"


def chosen_preset(camera: str, *, image: str = "", camera_frame: str = "") -> CameraPreset:
    """Return the preset of a name, or what holds without one; what is not empty replaces its values.

    ``camera``: empty, a name in config/cameras.yaml, or ``PATH#NAME`` of another such file. Raises ValueError
    with the names there are, or with what is wrong with the file.
    """
    preset = load_preset(camera) if camera else CameraPreset()
    return replace(preset, image=image or preset.image, camera_frame=camera_frame or preset.camera_frame)


def node_parameters(preset: CameraPreset, params_file: str, shipped: str) -> list[str | dict[str, Any]]:
    """Return what to start the node with; later ones take precedence.

    The ``shipped`` file has every default, which the preset must replace; a user's own file comes last.
    """
    if not preset.parameters:
        return [params_file]
    return [params_file, preset.parameters] if params_file == shipped else [preset.parameters, params_file]


def load_preset(name: str) -> CameraPreset:
    """Read a preset, with the path of its calibration made absolute; see ``chosen_preset``."""
    path, _, name = name.rpartition("#")
    file = Path(path).expanduser() if path else package_file("config", "cameras.yaml")
    try:
        presets = yaml.safe_load(file.read_text())
        if not isinstance(presets, dict):
            raise ValueError("needs presets by their names")
        if name not in presets:
            raise ValueError(f"has no camera {name!r}, but {', '.join(sorted(map(str, presets)))}")
        return _preset(name, presets[name], file.parent)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        raise ValueError(f"camera preset: {file}: {error}") from error


def _preset(name: str, values: Any, folder: Path) -> CameraPreset:
    """Check one preset as YAML has it; raise ValueError."""
    kinds = {f.name: type(getattr(CameraPreset(), f.name)) for f in fields(CameraPreset)}
    if not isinstance(values, dict) or set(values) != set(kinds):
        raise ValueError(f"{name} needs exactly {', '.join(kinds)}, got {values!r}")
    for key, kind in kinds.items():
        if not isinstance(values[key], kind) or values[key] == "":
            raise ValueError(f"{name}: {key} must be a {kind.__name__}, got {values[key]!r}")
    parameters = dict(values["parameters"])
    if calibration := parameters.get(CALIBRATION):
        parameters[CALIBRATION] = str(folder / Path(calibration).expanduser())
    return CameraPreset(**{**values, "parameters": parameters})
