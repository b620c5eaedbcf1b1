"""PanoVOS (Yan et al., ECCV 2024): panoramic video object segmentation.

CC BY-NC-SA: neither its files nor what is derived from them is part of this package. Layout::

    ROOT/<train|val|test>/JPEGImages/<video>/<NNNNN>.jpg    need not start at 0
    ROOT/<train|val|test>/Annotations/<video>/<NNNNN>.png   pixel value = object id
    ROOT/<train|val|test>/<split>_meta.json
        {"videos": {video: {"objects": {id: {"frame_range": {"start", "end", "frame_nums"}}}}}}

Of val and test, only the masks in which objects start are public: each object is prompted in its
own first frame, and predictions go to the data set's server (``SubmissionWriter``).
Written from the published description of the layout, and not tested on the data, which was not available.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from panosam2_ros.datasets.folder_sequence import (
    FolderFiles,
    FolderSequence,
    describe_folder,
    list_numbered_files,
    pair_by_number,
)
from panosam2_ros.datasets.sequence import LayoutError

_EXPECTED = "ROOT/<split>/JPEGImages/<video>, .../Annotations/<video> and ..._meta.json"


class PanoVos:
    """A split of PanoVOS; sequences are opened when they are requested."""

    def __init__(self, root: Path | str, split: str = "val") -> None:
        self.folder = Path(root) / split
        self._videos = _read_meta(_meta_file(Path(root), split))
        absent = [n for n in self._videos if not (self.folder / "JPEGImages" / n).is_dir()]
        if absent:
            raise LayoutError(
                f"the meta file of {self.folder} names {len(self._videos)} videos, {len(absent)} "
                f"of them have no folder in JPEGImages, first {absent[0]!r}: unpack the split again"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences, in order."""
        return tuple(sorted(self._videos))

    def __len__(self) -> int:
        return len(self._videos)

    def __iter__(self) -> Iterator[FolderSequence]:
        return (self.sequence(name) for name in self.names)

    def sequence(self, name: str) -> FolderSequence:
        """Open one sequence; its labels are None where not every frame has a mask."""
        if name not in self._videos:
            raise KeyError(f"{self.folder} has no video {name!r}; it has {len(self)} others")
        files, numbers = self._files(name)
        first = {i: self._index(name, i, n, numbers) for i, n in self._videos[name].items()}
        return FolderSequence(files, dict(sorted(first.items())))

    def _files(self, name: str) -> tuple[FolderFiles, list[int]]:
        """Return a video's files and the numbers of its frames, in order."""
        frames = list_numbered_files(self.folder / "JPEGImages" / name, (".jpg", ".jpeg", ".png"))
        annotations = self.folder / "Annotations" / name
        masks = list_numbered_files(annotations, (".png",)) if annotations.is_dir() else {}
        if not frames or not masks:
            raise LayoutError(
                f"PanoVOS needs {_EXPECTED}; {name} has {len(frames)} frames and {len(masks)} "
                f"PNG masks, in {annotations} there is {describe_folder(annotations)}: unpack it again"
            )
        paired = pair_by_number(name, frames, masks)
        complete = len(paired) == len(frames)
        return FolderFiles(name, tuple(frames.values()), paired, complete), list(frames)

    def _index(self, name: str, obj_id: int, number: int, numbers: list[int]) -> int:
        """Return the index of the frame of a number; raise LayoutError where there is none."""
        if number not in numbers:
            raise LayoutError(
                f"object {obj_id} of {name} starts in frame {number}, but the frames are "
                f"{numbers[0]}..{numbers[-1]}: meta file and frames of one release are needed"
            )
        return numbers.index(number)


def _meta_file(root: Path, split: str) -> Path:
    """Find the meta file of a split; raise LayoutError where the layout is another."""
    folder = root / split
    if not (folder / "JPEGImages").is_dir():
        raise LayoutError(
            f"PanoVOS needs {_EXPECTED}; in {folder} there is {describe_folder(folder)}. {_remedy(root)}"
        )
    found = sorted(folder.glob("*_meta.json"))
    if len(found) != 1:
        raise LayoutError(
            f"PanoVOS needs one {split}_meta.json in {folder}, which says when objects start, "
            f"got {[p.name for p in found]}: unpack the split again"
        )
    return found[0]


def _remedy(root: Path) -> str:
    """Suggest what to do about a ROOT without the layout of PanoVOS."""
    if any(root.glob("*/*/mask")):
        return "That is 360VOS: open it with Vos360"
    if (root / "JPEGImages").is_dir():
        return "Give ROOT, the folder of the splits, not a split"
    return "Check ROOT and the split's name: train, val or test"


def _read_meta(path: Path) -> dict[str, dict[int, int]]:
    """Read the number of the frame in which each object of each video starts: video -> object -> number."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): _starts(video) for name, video in data["videos"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LayoutError(
            f"{path} needs videos -> objects -> frame_range -> start, but reading it failed with {error!r}: "
            "use the file of the release"
        ) from error


def _starts(video: dict[str, Any]) -> dict[int, int]:
    """Return the number of the frame in which each object of a video starts."""
    return {int(i): int(o["frame_range"]["start"]) for i, o in video["objects"].items()}
