"""Ground truth of a sequence: the contents of its ``truth.json``.

Directions are unit vectors in camera optical axes (x right, y down, z forward), angles radians.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.label_png import read_labels
from panosam2_ros.simulation.scene import ObjectTruth, Scene, SceneTruth

FILE = "truth.json"
DISTRACTOR_FOLDER = "look_alike"
_DECIMALS = 8  # far below a pixel, and few enough to be the same on every machine


@dataclass(frozen=True)
class Origin:
    """Settings and seed that a sequence was made from."""

    benchmark: str
    config_sha256: str
    split: str
    name: str
    seed: int  # of its Scene
    features: tuple[str, ...]  # of its plan
    jpeg_quality: int
    content_sha256: str  # of all frames, masks and distractor masks, in order


@dataclass(frozen=True, eq=False)
class ObjectTrack:
    """One tracked object in all T frames."""

    obj_id: int
    name: str
    attributes: tuple[str, ...]  # measured
    visible: NDArray[np.bool_]  # [T] at least one pixel bears its label
    visible_fraction: Floats  # [T] of its own solid angle, 0..1
    solid_angle: Floats  # [T] sr, visible
    direction: Floats  # [T, 3] centroid of the visible solid angle; centre while not visible
    centre: Floats  # [T, 3] of its sprite, visible or not
    angular_diameter: Floats  # [T] rad, of its sprite's square


@dataclass(frozen=True, eq=False)
class SequenceGroundTruth:
    """Ground truth of one sequence of T frames."""

    origin: Origin
    width: int
    height: int
    rate: float  # Hz
    panorama: str
    shutter: float  # share of the frame time; 0 = no motion blur
    stitch_longitude: float | None  # rad, where two lenses meet, and opposite to it; None: nowhere
    camera: Floats  # [T, 3, 3] world to camera optical axes
    gains: Floats  # [T] exposure, relative to frame 0
    look_alike_areas: Floats  # [T] sr, visible, of distractors
    attributes: tuple[str, ...]  # measured, of the sequence or of any object
    objects: tuple[ObjectTrack, ...]  # by obj_id

    def __len__(self) -> int:
        return len(self.gains)

    @property
    def grid(self) -> Equirect:
        """Pixel grid of its frames."""
        return Equirect(self.width, self.height)

    def directions(self, index: int) -> dict[int, Floats]:
        """Return the true directions [3] of all objects in one frame, by id."""
        return {track.obj_id: track.direction[index] for track in self.objects}

    @classmethod
    def from_scene(cls, origin: Origin, scene: Scene, frames: Sequence[SceneTruth]) -> SequenceGroundTruth:
        """Gather the ground truth of a scene's frames; attributes are measured by ``attributes.py``."""
        areas = scene.grid.pixel_solid_angles()
        distractors = [
            0.0 if f.look_alikes is None else float((f.look_alikes > 0).sum(1) @ areas) for f in frames
        ]
        return cls(
            origin=origin,
            width=scene.config.width,
            height=scene.config.height,
            rate=scene.config.rate,
            panorama=scene.panorama,
            shutter=scene.config.motion_blur,
            stitch_longitude=scene.stitch_longitude,
            camera=scene.camera,
            gains=scene.gains,
            look_alike_areas=np.array(distractors),
            attributes=(),
            objects=tuple(_track(each) for each in zip(*(f.objects for f in frames), strict=True)),
        )

    @classmethod
    def load(cls, folder: Path) -> SequenceGroundTruth:
        """Read ``truth.json`` of the sequence in a folder."""
        data = json.loads((folder / FILE).read_text())
        objects = tuple(ObjectTrack(**_arrays(ObjectTrack, o)) for o in data.pop("objects"))
        origin = Origin(**_arrays(Origin, data.pop("origin")))
        return cls(origin=origin, objects=objects, **_arrays(cls, data))

    def save(self, folder: Path) -> None:
        """Write ``truth.json`` into a folder."""
        text = json.dumps(asdict(self), default=_to_json_value, separators=(",", ":"))
        (folder / FILE).write_text(text + "\n")


def read_distractors(folder: Path, index: int) -> LabelImage | None:
    """Read ids [H, W] of the objects that distractors look like; None where the sequence has none."""
    file = folder / DISTRACTOR_FOLDER / f"{index:06d}.png"
    return read_labels(file) if file.is_file() else None


def _track(frames: Sequence[ObjectTruth]) -> ObjectTrack:
    """Join the ground truth of one object in all frames."""
    columns: dict[str, Any] = {
        field.name: np.array([getattr(frame, field.name) for frame in frames])
        for field in fields(ObjectTrack)
        if field.name not in ("obj_id", "name", "attributes")
    }
    return ObjectTrack(obj_id=frames[0].obj_id, name=frames[0].name, attributes=(), **columns)


def _arrays(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """Convert lists to the arrays and tuples that the fields of a dataclass hold."""
    tuples = {field.name for field in fields(cls) if str(field.type).startswith("tuple")}
    return {
        key: value if not isinstance(value, list) else tuple(value) if key in tuples else np.array(value)
        for key, value in data.items()
    }


def _to_json_value(value: Any) -> Any:
    """Convert an array for JSON, rounded."""
    array = np.asarray(value)
    return (np.round(array, _DECIMALS) + 0.0 if array.dtype.kind == "f" else array).tolist()
