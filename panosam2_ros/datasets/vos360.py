"""360VOS (Xu et al., 360VOTS): omnidirectional video object segmentation.

CC BY-NC-SA: neither its files nor what is derived from them is part of this package. Layout::

    ROOT/360vots-info.csv                   one row per clip: split, id, target, attributes
    ROOT/<split>/<NNN>/image/<NNNNNN>.jpg   frames
    ROOT/<split>/<NNN>/mask/<NNNNNN>.png    DAVIS palette, value = object id

Written from the published description of the layout, and not tested on the data, which was not available.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from panosam2_ros.datasets.folder_sequence import (
    FolderFiles,
    FolderSequence,
    describe_folder,
    list_folders,
    list_numbered_files,
)
from panosam2_ros.datasets.sequence import LayoutError

log = logging.getLogger(__name__)

INFO = "360vots-info.csv"
# The codes of the table's columns as 360VOT (ICCV 2023) defines them.
ATTRIBUTES = {
    "IV": "illumination_variation",
    "BC": "background_clutter",
    "DEF": "deformable_target",
    "MB": "motion_blur",
    "CM": "camera_motion",
    "ROT": "rotation",
    "POC": "partial_occlusion",
    "FOC": "full_occlusion",
    "ARC": "aspect_ratio_change",
    "SV": "scale_variation",
    "FM": "fast_motion",
    "LR": "low_resolution",
    "HR": "high_resolution",
    "SA": "stitching_artifact",
    "CB": "crossing_border",
    "FMS": "fast_motion_on_sphere",
    "LFoV": "large_fov",
    "LV": "latitude_variation",
    "HL": "high_latitude",
    "LD": "large_distortion",
}
_ATTRIBUTE_COLUMN = re.compile(r"(\w+)\s*\(.+\)")  # "CB(cross border)"
_BLANK = ("", "0")
_EXPECTED = "ROOT/<split>/<NNN>/image/<NNNNNN>.jpg and .../mask/<NNNNNN>.png"


@dataclass(frozen=True)
class ClipInfo:
    """One row of the table."""

    split: str  # train, test, ...
    clip: str  # name of its folder
    target: str
    attributes: frozenset[str]


class Vos360:
    """A split of 360VOS; sequences are opened when they are requested."""

    def __init__(
        self,
        root: Path | str,
        split: str = "train",
        *,
        info: Path | str | None = None,
        late_objects: bool = False,
    ) -> None:
        """List the clips of a split and read their attributes.

        ``info``: path of the table, if it is not in ROOT or beside it; sequences without a table have no
        attributes. ``late_objects``: track objects that the first mask does not show, too; every mask is
        read to find them, which takes a while at 4K.
        """
        self.root, self.split, self._late_objects = Path(root), split, late_objects
        self._folders = {path.name: path for path in _clip_folders(self.root, split)}
        table = find_info(self.root, info=info)
        if table is None:
            log.warning("no %s in or beside %s: sequences have no attributes", INFO, self.root)
        self._attributes: dict[str, frozenset[str]] = {}
        for clip in [] if table is None else read_info(table):
            if clip.split == split:  # a clip with several targets may have several rows
                known = self._attributes.get(clip.clip, frozenset())
                self._attributes[clip.clip] = known | clip.attributes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sequences, in order."""
        return tuple(self._folders)

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[FolderSequence]:
        return (self.sequence(name) for name in self.names)

    def sequence(self, name: str) -> FolderSequence:
        """Open one sequence; its objects are those of the first mask that shows any, or of all masks."""
        if name not in self._folders:
            raise KeyError(f"360VOS {self.split} has no clip {name!r}; it has {len(self)} others")
        files = _files(self._folders[name])
        found = _first_frames(files, late_objects=self._late_objects)
        return FolderSequence(files, found, attributes=self._attributes.get(name, frozenset()))


def find_info(root: Path, *, info: Path | str | None = None) -> Path | None:
    """Find the table: at a given path, in ROOT, or beside it; None where ROOT has none."""
    if info is not None:
        if not Path(info).is_file():
            raise LayoutError(f"there is no {info}: give the path of {INFO}, or None to search it")
        return Path(info)
    return next((p for p in (root / INFO, root.parent / INFO) if p.is_file()), None)


def read_info(path: Path) -> list[ClipInfo]:
    """Read the rows of ``360vots-info.csv`` that belong to a split of 360VOS."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    header = rows[0] if rows else []
    places = {name.lower(): i for i, name in enumerate(header)}
    missing = [name for name in ("360vos id", "split") if name not in places]
    if missing:
        raise LayoutError(f"{path} needs the columns '360VOS ID' and 'Split', got {header[:8]}")
    columns = {i: m[1] for i, h in enumerate(header) if (m := _ATTRIBUTE_COLUMN.fullmatch(h))}
    # columns of other contents may have brackets in their names, too
    columns = {i: code for i, code in columns.items() if code in ATTRIBUTES or code.isupper()}
    clips = []
    for row in rows[1:]:
        row += [""] * (len(header) - len(row))
        clip, split = row[places["360vos id"]], row[places["split"]]
        if not clip.isdecimal() or not split:
            continue  # a clip of 360VOT only, or the sums at the end
        held = frozenset(
            ATTRIBUTES.get(code, code.lower()) for i, code in columns.items() if row[i] not in _BLANK
        )
        target = row[places["target"]] if "target" in places else ""
        clips.append(ClipInfo(split, clip.zfill(3), target, held))
    return clips


def _clip_folders(root: Path, split: str) -> list[Path]:
    """List the folders of a split's clips; raise LayoutError where the layout is another."""
    folder = root / split
    if not folder.is_dir():
        remedy = _remedy(root) or "Check ROOT and the split's name"
        if root.is_dir() and any((clip / "image").is_dir() for clip in (root, *list_folders(root))):
            remedy = "Give ROOT, the folder of the splits, not a split or a clip"
        raise LayoutError(
            f"360VOS needs {_EXPECTED}; there is no folder {folder}, in {root} there is "
            f"{describe_folder(root)}. {remedy}"
        )
    clips = list_folders(folder)
    odd = [c for c in clips if not (c / "image").is_dir() or not (c / "mask").is_dir()]
    if not clips or odd:
        where = odd[0] if odd else folder
        raise LayoutError(
            f"360VOS needs {_EXPECTED}; in {where} there is {describe_folder(where)}. "
            f"{_remedy(folder) or f'Unpack {where.name} again'}"
        )
    return clips


def _remedy(folder: Path) -> str:
    """Suggest what to do about a ROOT or a split of another layout; empty for an unknown layout."""
    if any(folder.glob("Annotations")) or any(folder.glob("*/JPEGImages")):
        return "That is PanoVOS: open it with PanoVos"
    if any(folder.glob("*/label.json")):
        return "That is 360VOT, which has boxes and no masks: get 360VOS"
    if any(folder.glob("*.zip")) or any(folder.glob("*/*.zip")):
        return "Unpack each archive into a folder of its name"
    return ""


def _files(folder: Path) -> FolderFiles:
    """List the frames and masks of a clip's folder."""
    frames = list_numbered_files(folder / "image", (".jpg", ".jpeg", ".png"))
    masks = list_numbered_files(folder / "mask", (".png",))
    if not frames or not masks:
        which = "image" if not frames else "mask"
        raise LayoutError(f"{folder} has {len(frames)} frames and {len(masks)} masks: unpack {which} again")
    pairs = pair_masks(list(frames), list(masks), str(folder))
    return FolderFiles(
        folder.name,
        tuple(frames.values()),
        {index: masks[number] for index, number in pairs.items()},
        complete=True,
    )


def pair_masks(frames: list[int], masks: list[int], where: str) -> dict[int, int]:
    """Return the number of each frame's mask by the frame's index, from the numbers that are their names.

    Equal numbers belong together; frames and masks without a partner (clip 052 of train) are
    left out, and such frames have no ground truth. Where no number occurs in both, equally many frames
    and masks are paired in order. Raise LayoutError where neither works.
    """
    known = set(masks)
    pairs = {index: number for index, number in enumerate(frames) if number in known}
    if len(pairs) == len(frames) == len(masks):
        return pairs
    if pairs:
        log.warning(
            "%s: names of %d frames and %d masks differ, %d pairs are used",
            where, len(frames), len(masks), len(pairs),
        )  # fmt: skip
        return pairs
    if len(frames) != len(masks):
        raise LayoutError(
            f"{where}: no mask has a frame's name, and {len(masks)} masks cannot be paired with "
            f"{len(frames)} frames in order: unpack the clip again"
        )
    log.warning("%s: no mask has a frame's name, %d masks are paired in order", where, len(masks))
    return dict(enumerate(masks))


def _first_frames(files: FolderFiles, *, late_objects: bool) -> dict[int, int]:
    """Return the index of the first mask that shows each object, of the first mask or of all."""
    grid = files.grid()
    found: dict[int, int] = {}
    for index in files.masks:
        for obj_id in np.unique(files.mask(index, grid)).tolist():
            if obj_id:
                found.setdefault(obj_id, index)
        if found and not late_objects:
            break
    return found
