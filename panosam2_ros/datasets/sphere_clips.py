"""Perspective clips with masks as 360 videos: each is laid onto the sphere at one or several placements.

Layout, of one clip or of a root of clips (DAVIS, MOSE)::

    CLIP/JPEGImages/<NNNNN>.jpg          CLIP/Annotations/<NNNNN>.png          value = object id
    ROOT/JPEGImages/<clip>/<NNNNN>.jpg   ROOT/Annotations/<clip>/<NNNNN>.png   DAVIS: .../480p/<clip>

Labels are laid by nearest neighbour, so that the ground truth is exact. Annotations of one object per
file, as SA-V has them, need to be merged first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from panosam2_ros.datasets.folder_sequence import (
    FolderFiles,
    describe_folder,
    list_folders,
    list_numbered_files,
    pair_by_number,
)
from panosam2_ros.datasets.sequence import LayoutError
from panosam2_ros.datasets.sphere_projection import (
    PictureProjection,
    Placement,
    neutral_background,
    project_picture,
    read_background,
)
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray

SPHERE_GRID = Equirect(1920, 960)
DEFAULT_PLACEMENTS = (
    Placement(0, 0),
    Placement(180, 0),
    Placement(170, 55),
)  # ahead, on the seam, near a pole
_IMAGES = (".jpg", ".jpeg", ".png")
_EXPECTED = "JPEGImages[/<clip>]/<NNNNN>.jpg and Annotations[/<clip>]/<NNNNN>.png"


class PictureSize(NamedTuple):
    """Size of a perspective picture, pixels."""

    width: int
    height: int


class SphereSequence:
    """A perspective clip on the sphere; frames and masks are read when they are requested."""

    grid = SPHERE_GRID

    def __init__(self, files: FolderFiles, placement: Placement, background: ImageArray) -> None:
        self.name = f"{files.name}@{placement.name}"
        self.attributes = frozenset({f"at {placement.name}"})
        self._files, self._placement, self._background = files, placement, background

    @cached_property
    def first_frames(self) -> Mapping[int, int]:
        """Index of the first frame in which each object has a pixel on the sphere; reads all masks."""
        found: dict[int, int] = {}
        for index in self._files.masks:
            for obj_id in np.unique(self._labels(index)).tolist():
                if obj_id:
                    found.setdefault(obj_id, index)
        if not found:
            raise LayoutError(
                f"{self.name}: {len(self._files.masks)} masks show no object on a panorama of "
                f"{self.grid.width}x{self.grid.height}: check the annotations, or give a larger field of view"
            )
        return found

    def __len__(self) -> int:
        return len(self._files)

    def image(self, index: int) -> ImageArray:
        """Read one frame and lay it onto the background, RGB."""
        image = self._files.image(index)
        if image.shape[:2] != (self._size.height, self._size.width):
            raise LayoutError(
                f"{self._files.frames[index]} is {image.shape[1]}x{image.shape[0]} but the first frame of "
                f"{self._files.name} is {self._size.width}x{self._size.height}: frames need one size"
            )
        return self._projection.project_image(image, self._background)

    def labels(self, index: int) -> LabelImage | None:
        """Read all objects' ids of one frame; None without a mask, or where masks only show new objects."""
        return self._labels(index) if index in self._files.masks and self._has_ground_truth else None

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Read the mask of an object in its first frame; raise KeyError for an unknown object."""
        if obj_id not in self.first_frames:
            raise KeyError(f"{self.name} has no object {obj_id}; it has {sorted(self.first_frames)}")
        return np.asarray(self._labels(self.first_frames[obj_id]) == obj_id)

    @property
    def _has_ground_truth(self) -> bool:
        """Whether there are masks beside those in which objects start."""
        masks, starts = len(self._files.masks), len(set(self.first_frames.values()))
        return masks == len(self) or masks > starts

    @cached_property
    def _size(self) -> PictureSize:
        """Size of the first frame, which all frames and masks need to have."""
        height, width = self._files.image(0).shape[:2]
        return PictureSize(width, height)

    @property
    def _projection(self) -> PictureProjection:
        return project_picture(*self._size, self._placement, self.grid)

    def _labels(self, index: int) -> LabelImage:
        """Read the mask of a frame and lay it onto the sphere, [H, W]."""
        return self._projection.project_labels(self._files.mask(index, self._size))


@dataclass(frozen=True, eq=False)
class SphereClips:
    """Clips of a folder, each at every placement; sequences are opened when they are requested."""

    root: Path
    placements: Sequence[Placement] = DEFAULT_PLACEMENTS
    background: Path | None = None  # photograph of the full sphere; None: a grey texture
    _clips: Mapping[str, tuple[Path, Path]] = field(init=False)  # folders of frames and of masks

    def __post_init__(self) -> None:
        names = [placement.name for placement in self.placements]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"placements are given twice: {'; '.join(twice)}: give each once")
        if self.background is not None and not self.background.is_file():
            raise ValueError(
                f"there is no background {self.background}: give a panorama, twice as wide as high"
            )
        object.__setattr__(self, "_clips", _find_clips(self.root))

    @classmethod
    def parse(cls, text: str, *, background: Path | None = None) -> SphereClips:
        """Open DIR, or DIR@YAW,PITCH[,FOV] with more placements after semicolons."""
        folder, at, placements = text.rpartition("@")
        if not at or Path(text).expanduser().is_dir():  # a folder may have an @ in its name
            return cls(Path(text).expanduser(), background=background)
        given = tuple(Placement.parse(part) for part in placements.split(";") if part.strip())
        return cls(Path(folder).expanduser(), given or DEFAULT_PLACEMENTS, background)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences, in order."""
        return tuple(f"{clip}@{placement.name}" for clip in self._clips for placement in self.placements)

    def sequence(self, name: str) -> SphereSequence:
        """Open one sequence; raise LayoutError where its files do not fit."""
        if name not in self.names:
            raise KeyError(f"{self.root} has no sequence {name!r}; it has {', '.join(self.names[:6])}")
        clip, _, place = name.rpartition("@")
        placement = next(p for p in self.placements if p.name == place)
        return SphereSequence(_files(clip, *self._clips[clip]), placement, self._panorama)

    @cached_property
    def _panorama(self) -> ImageArray:
        """Background of all frames, RGB."""
        if self.background is None:
            return neutral_background(SPHERE_GRID)
        return read_background(self.background, SPHERE_GRID)


def _find_clips(root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the folders of the frames and of the masks of all clips by name."""
    frames, masks = root / "JPEGImages", root / "Annotations"
    if not frames.is_dir() or not masks.is_dir():
        raise LayoutError(
            f"a clip for the sphere needs {_EXPECTED}; in {root} there is {describe_folder(root)}: give "
            "the folder that holds JPEGImages and Annotations"
        )
    if any(path.suffix.lower() in _IMAGES for path in frames.iterdir()):
        return {root.resolve().name: (frames, masks)}
    if (frames / "480p").is_dir():  # DAVIS, beside Full-Resolution
        frames, masks = frames / "480p", masks / "480p"
    clips = {path.name: (path, masks / path.name) for path in list_folders(frames)}
    absent = [name for name, (_, folder) in clips.items() if not folder.is_dir()]
    if not clips or absent:
        raise LayoutError(
            f"clips for the sphere need {_EXPECTED}; {frames} has {len(clips)} clips, "
            f"{len(absent)} of them have no folder in {masks}{f', first {absent[0]!r}' if absent else ''}: "
            "unpack frames and annotations of one release"
        )
    return clips


def _files(name: str, frames: Path, masks: Path) -> FolderFiles:
    """List the frames and masks of a clip."""
    images, annotations = list_numbered_files(frames, _IMAGES), list_numbered_files(masks, (".png",))
    if not images or not annotations:
        raise LayoutError(
            f"a clip for the sphere needs {_EXPECTED}; {name} has {len(images)} frames and "
            f"{len(annotations)} PNG masks, in {masks} there is {describe_folder(masks)}: unpack it again, "
            "and merge masks that have a folder for each object"
        )
    return FolderFiles(name, tuple(images.values()), pair_by_number(name, images, annotations), complete=True)
