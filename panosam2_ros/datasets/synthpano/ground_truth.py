"""What is known of a sequence: the contents of its ``truth.json``.

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
LOOK_ALIKES = "look_alike"  # folder
_DECIMALS = 8  # far below a pixel, and coarse enough to be the same on every machine


@dataclass(frozen=True)
class Origin:
    """Where a sequence comes from."""

    benchmark: str
    config_sha256: str
    split: str
    name: str
    seed: int  # of its Scene
    features: tuple[str, ...]  # that it was made to have
    jpeg_quality: int
    content_sha256: str  # of all frames, masks and look-alike masks, in order


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class SequenceGroundTruth:
    """One sequence of T frames."""

    origin: Origin
    width: int
    height: int
    rate: float  # Hz
    panorama: str
    shutter: float  # share of the frame time; 0 = no motion blur
    stitch_longitude: float | None  # rad, where two lenses meet, and opposite to it; None: nowhere
    camera: Floats  # [T, 3, 3] world to camera optical axes
    gains: Floats  # [T] exposure, relative to frame 0
    look_alike_areas: Floats  # [T] sr, visible, of untracked things that look like an object
    attributes: tuple[str, ...]  # measured, of the sequence or of any object
    objects: tuple[ObjectTrack, ...]  # by obj_id

    def __len__(self) -> int:
        return len(self.gains)

    @property
    def grid(self) -> Equirect:
        """The size of its frames."""
        return Equirect(self.width, self.height)

    def directions(self, index: int) -> dict[int, Floats]:
        """Object id -> true direction [3] in one frame."""
        return {track.obj_id: track.direction[index] for track in self.objects}

    @classmethod
    def of(cls, origin: Origin, scene: Scene, truths: Sequence[SceneTruth]) -> SequenceGroundTruth:
        """What a scene's frames are known to show; attributes are measured by ``attributes.py``."""
        areas = scene.grid.pixel_solid_angles()
        look_alikes = [
            0.0 if t.look_alikes is None else float((t.look_alikes > 0).sum(1) @ areas) for t in truths
        ]
        return cls(
            origin,
            scene.config.width,
            scene.config.height,
            scene.config.rate,
            scene.panorama,
            scene.config.motion_blur,
            scene.stitch_longitude,
            scene.camera,
            scene.gains,
            np.array(look_alikes),
            (),
            tuple(_track(frames) for frames in zip(*(t.objects for t in truths), strict=True)),
        )

    @classmethod
    def load(cls, folder: Path) -> SequenceGroundTruth:
        """Of the sequence in a folder."""
        data = json.loads((folder / FILE).read_text())
        objects = tuple(ObjectTrack(**_arrays(ObjectTrack, o)) for o in data.pop("objects"))
        origin = Origin(**_arrays(Origin, data.pop("origin")))
        return cls(origin=origin, objects=objects, **_arrays(cls, data))

    def save(self, folder: Path) -> None:
        """Write ``truth.json``."""
        text = json.dumps(asdict(self), default=_plain, separators=(",", ":"))
        (folder / FILE).write_text(text + "\n")


def read_look_alikes(folder: Path, index: int) -> LabelImage | None:
    """[H, W] ids of the objects that untracked things look like; None where there are none."""
    file = folder / LOOK_ALIKES / f"{index:06d}.png"
    return read_labels(file) if file.is_file() else None


def _track(frames: Sequence[ObjectTruth]) -> ObjectTrack:
    columns: dict[str, Any] = {
        field.name: np.array([getattr(frame, field.name) for frame in frames])
        for field in fields(ObjectTrack)
        if field.name not in ("obj_id", "name", "attributes")
    }
    return ObjectTrack(obj_id=frames[0].obj_id, name=frames[0].name, attributes=(), **columns)


def _arrays(cls: type, data: dict[str, Any]) -> dict[str, Any]:
    """Lists as the arrays and tuples that the fields of a dataclass are."""
    tuples = {field.name for field in fields(cls) if str(field.type).startswith("tuple")}
    return {
        key: value if not isinstance(value, list) else tuple(value) if key in tuples else np.array(value)
        for key, value in data.items()
    }


def _plain(value: Any) -> Any:
    """Arrays for JSON; rounded."""
    array = np.asarray(value)
    return (np.round(array, _DECIMALS) + 0.0 if array.dtype.kind == "f" else array).tolist()
