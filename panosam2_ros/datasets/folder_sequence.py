"""Video sequences whose frames and masks are files, and a writer of predictions as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from panosam2_ros.datasets.sequence import LayoutError
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.io.label_png import read_labels, write_labels
from panosam2_ros.io.video import VideoError, read_image


class PixelSize(Protocol):
    """Anything with a width and a height in pixels."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


@dataclass(frozen=True)
class FolderFiles:
    """Paths of a sequence's frames and masks; files are read when they are requested."""

    name: str
    frames: tuple[Path, ...]  # in order
    masks: Mapping[int, Path]  # by index of the frame
    complete: bool  # whether masks show every object of their frame, not only those that start there

    def __len__(self) -> int:
        return len(self.frames)

    def grid(self) -> Equirect:
        """Return the pixel grid from the first frame's header; raise LayoutError where it is no panorama."""
        with PillowImage.open(self.frames[0]) as image:
            width, height = image.size
        try:
            return Equirect(width, height)
        except ValueError as error:
            raise LayoutError(f"{self.frames[0]}: {error}") from error

    def image(self, index: int) -> ImageArray:
        """Read one frame, RGB."""
        try:
            return read_image(self.frames[index])
        except VideoError as error:
            raise LayoutError(f"{error}; or unpack the data set again") from error

    def mask(self, index: int, size: PixelSize) -> LabelImage:
        """Read the ids [H, W] of a frame that has a mask."""
        labels = read_labels(self.masks[index])
        if labels.shape != (size.height, size.width):
            raise LayoutError(
                f"{self.masks[index]} is {labels.shape[1]}x{labels.shape[0]} but {self.name} is "
                f"{size.width}x{size.height}: masks need the size of the frames"
            )
        return labels


class FolderSequence:
    """A video sequence whose frames and masks are files."""

    def __init__(
        self,
        files: FolderFiles,
        first_frames: Mapping[int, int],
        *,
        attributes: frozenset[str] = frozenset(),
    ) -> None:
        self.name, self.files, self.attributes = files.name, files, attributes
        self.first_frames: Mapping[int, int] = dict(first_frames)
        self.grid = files.grid()

    def __len__(self) -> int:
        return len(self.files)

    def image(self, index: int) -> ImageArray:
        """Read one frame, RGB."""
        return self.files.image(index)

    def labels(self, index: int) -> LabelImage | None:
        """Read all objects' ids of one frame; None where there is no mask of all objects."""
        if not self.files.complete or index not in self.files.masks:
            return None
        return self.files.mask(index, self.grid)

    def prompt_mask(self, obj_id: int) -> MaskArray:
        """Read the mask of an object in its first frame; raise KeyError for an unknown object."""
        if obj_id not in self.first_frames:
            known = sorted(self.first_frames)
            raise KeyError(f"{self.name} has no object {obj_id}; it has {known}")
        first = self.first_frames[obj_id]
        if first not in self.files.masks:
            raise LayoutError(
                f"object {obj_id} of {self.name} starts in {self.files.frames[first].name}, which "
                "has no mask: unpack the annotations again"
            )
        mask = np.asarray(self.files.mask(first, self.grid) == obj_id)
        if not mask.any():
            raise LayoutError(
                f"{self.files.masks[first]} should show object {obj_id} for the first time but has "
                "no such pixel: object ids and pixel values must agree"
            )
        return mask


class SubmissionWriter:
    """Writes predictions as ``root/<sequence>/<frame>.png``, the format of evaluation servers."""

    def __init__(self, root: Path, sequence: FolderSequence) -> None:
        self._folder, self._sequence = Path(root) / sequence.name, sequence

    def write(self, index: int, labels: NDArray[np.integer]) -> Path:
        """Write one frame's ids [H, W], the data set's own; return the file's path."""
        grid = self._sequence.grid
        if labels.shape != (grid.height, grid.width):
            raise ValueError(
                f"labels have shape {labels.shape}, {self._sequence.name} needs "
                f"{(grid.height, grid.width)}: a server does not resize them"
            )
        path = self._folder / f"{self._sequence.files.frames[index].stem}.png"
        write_labels(path, labels)
        return path


def list_numbered_files(folder: Path, suffixes: Sequence[str]) -> dict[int, Path]:
    """List the files of a folder by the number that is their name, in order, without hidden files."""
    files: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        if path.suffix.lower() not in suffixes:
            continue
        if not path.stem.isdecimal():
            raise LayoutError(
                f"{path}: names must be numbers, like 000000{suffixes[0]}: move other files away"
            )
        files[int(path.stem)] = path
    return dict(sorted(files.items()))


def pair_by_number(name: str, frames: Mapping[int, Path], masks: Mapping[int, Path]) -> dict[int, Path]:
    """Return the masks of a clip by the index of their frame; raise LayoutError for one without a frame."""
    numbers = list(frames)
    index = {number: i for i, number in enumerate(numbers)}
    if stray := sorted(masks.keys() - index.keys()):
        raise LayoutError(
            f"{masks[stray[0]]} belongs to no frame of {name}, whose frames are "
            f"{numbers[0]}..{numbers[-1]}: frames and masks of one release are needed"
        )
    return {index[number]: path for number, path in masks.items()}


def list_folders(root: Path) -> list[Path]:
    """List the folders in a folder by name, without hidden ones and the remains of macOS archives."""
    skipped = (".", "__")
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(skipped))


def describe_folder(root: Path, *, limit: int = 6) -> str:
    """Name the contents of a folder, at most ``limit`` of them, for error messages."""
    if not root.is_dir():
        return "no such folder"
    names = sorted(p.name for p in root.iterdir())
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "an empty folder"
