"""Data sets by name: ``acceptance``, ``vos360:DIR``, ``video:PATH`` and so on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from panosam2_ros.datasets import acceptance
from panosam2_ros.datasets.disturbed import Disturbance, DisturbedSequence
from panosam2_ros.datasets.folder_sequence import FolderSequence
from panosam2_ros.datasets.ground_truth_prompts import FramePrompts, ground_truth_prompts
from panosam2_ros.datasets.panovos import PanoVos
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.datasets.sphere_clips import SPHERE_GRID, SphereClips
from panosam2_ros.datasets.staged_scenes import STAGED_KINDS, open_staged, staged_names
from panosam2_ros.datasets.synthpano.config import BenchmarkConfig
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth, read_distractors
from panosam2_ros.datasets.video_clip import VideoClip
from panosam2_ros.datasets.vos360 import Vos360
from panosam2_ros.geometry.image_types import LabelImage
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.package_files import sha256
from panosam2_ros.model.mask_decoder import FOREGROUND
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.synthetic.npm_assets import library_from_npm

KINDS = (
    f"acceptance, staged[:{'|'.join(STAGED_KINDS)}], synthpano:DIR[:SPLIT], vos360:DIR[:SPLIT], "
    "panovos:DIR[:SPLIT], sphere:DIR[@YAW,PITCH[,FOV][;...]] or video:PATH"
)
Corners = tuple[float, ...]


@dataclass(frozen=True)
class DatasetSpec:
    """A data set as a user names it; hashable, so that every process opens it once."""

    text: str  # one of ``KINDS``
    sources: str = ""  # folder of the npm packages; empty: the shipped material
    reserved: bool = False  # whether reserved material may be used
    frames: int = 0  # of a video, at most; 0: all
    boxes: tuple[Corners, ...] = ()  # u_min, v_min, u_max, v_max, in a video's first frame
    clicks: tuple[Corners, ...] = ()  # u, v, in a video's first frame
    background: str = ""  # panorama behind the clips of ``sphere``; empty: a grey texture
    disturbance: str = ""  # as ``Disturbance.parse`` reads it; empty: none

    @property
    def location(self) -> str:
        """The kind, and the absolute path."""
        kind, _, place = self.text.partition(":")
        return f"{kind}:{Path(place).expanduser().resolve()}" if place else kind


@dataclass(frozen=True, eq=False)
class Dataset:
    """Sequences, and what identifies them in results."""

    name: str
    split: str
    seed: int | None
    config_sha256: str
    names: tuple[str, ...]
    rate: float  # Hz, of the frames' stamps
    has_ground_truth: bool
    open: Callable[[str], VideoSequence]
    fixed_prompts: FramePrompts | None = None  # None: prompts follow from the ground truth

    def prompts(self, sequence: VideoSequence, kind: str) -> FramePrompts:
        """Return the prompts of a sequence's objects; ``kind``: of those made from the ground truth."""
        return ground_truth_prompts(sequence, kind) if self.fixed_prompts is None else self.fixed_prompts


class SynthPanoSequence(FolderSequence):
    """A sequence in the layout of 360VOS, with the ground truth that SynthPano stores beside the masks."""

    def __init__(self, sequence: FolderSequence, split: Path) -> None:
        self._folder = split / sequence.name
        self._ground_truth = SequenceGroundTruth.load(self._folder)
        attributes = frozenset(self._ground_truth.attributes)
        super().__init__(sequence.files, sequence.first_frames, attributes=attributes)

    def directions(self, index: int) -> Mapping[int, Floats]:
        """Return the true directions [3] of all objects in optical axes, by id."""
        return self._ground_truth.directions(index)

    def distractors(self, index: int) -> LabelImage | None:
        """Read ids of the objects that untracked things look like, [H, W], 0 = none; None: no such things."""
        return read_distractors(self._folder, index)


def open_dataset(spec: DatasetSpec) -> Dataset:
    """Open the data set that a user named; raise ValueError where name or files are wrong."""
    kind, _, path = spec.text.partition(":")
    openers = {"acceptance": _acceptance, "synthpano": _synthpano, "vos360": _vos360,
               "panovos": _panovos, "sphere": _sphere, "staged": _staged, "video": _video}  # fmt: skip
    if kind not in openers or (kind != "staged" and bool(path) == (kind == "acceptance")):
        raise ValueError(f"--dataset is one of {KINDS}, got {spec.text!r}")
    if spec.background and kind != "sphere":
        raise ValueError(f"--background is of --dataset sphere:DIR, got {spec.text!r}: leave it out")
    opened = openers[kind](spec, path)
    return _disturbed(opened, Disturbance.parse(spec.disturbance)) if spec.disturbance else opened


def _disturbed(dataset: Dataset, disturbance: Disturbance) -> Dataset:
    """Return a data set whose sequences are disturbed; raise ValueError for a rate that prompts forbid."""
    if dataset.fixed_prompts is not None and disturbance.step > 1:
        raise ValueError(f"every:N is of data sets with ground truth, which {dataset.name} has not")
    return replace(
        dataset,
        config_sha256=digest([dataset.config_sha256, disturbance.kind, disturbance.amount]),
        rate=dataset.rate / disturbance.step,
        open=lambda name: DisturbedSequence(dataset.open(name), disturbance),
    )


def digest(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _acceptance(spec: DatasetSpec, path: str) -> Dataset:
    """Open the acceptance scenes; raise ValueError unless reserved material is allowed."""
    if not spec.reserved:
        raise ValueError(
            "the acceptance scenes use reserved material, which is for final acceptance only, "
            "never for training, tuning or choosing: give --reserved for a final acceptance"
        )
    if spec.sources:
        library = library_from_npm(spec.sources, Split.RESERVED, reserved=True)
    else:
        library = AssetLibrary.shipped(Split.RESERVED, reserved=True)
    return Dataset(
        name="acceptance",
        split=Split.RESERVED.value,
        seed=acceptance.FIRST_SEED,
        config_sha256=acceptance.config_sha256(library),
        names=acceptance.names(),
        rate=float(acceptance.SCENE["rate"]),
        has_ground_truth=True,
        open=lambda name: acceptance.open_sequence(name, library),
    )


def _staged(spec: DatasetSpec, path: str) -> Dataset:
    """Open the staged scenes, or those of one kind; raise ValueError for a kind that there is not."""
    if path not in ("", *STAGED_KINDS):
        raise ValueError(f"staged scenes are of the kinds {', '.join(STAGED_KINDS)}, got {path!r}")
    library = AssetLibrary.shipped(Split.TRAIN)
    names = tuple(name for name in staged_names() if name.startswith(path))
    material = {"panoramas": sorted(library.panoramas), "sprites": sorted(library.sprites)}
    return Dataset(
        name="staged",
        split=path or "every",
        seed=None,
        config_sha256=digest({"dataset": "staged", "names": names, **material}),
        names=names,
        rate=10.0,
        has_ground_truth=True,
        open=lambda name: open_staged(name, library),
    )


def _folder_dataset(kind: str, split: str, opened: Vos360 | PanoVos) -> Dataset:
    """Describe an opened split of 360VOS or PanoVOS, with stamps at 30 Hz."""
    return Dataset(
        name=kind,
        split=split,
        seed=None,
        config_sha256=digest({"dataset": kind, "split": split, "sequences": opened.names}),
        names=opened.names,
        rate=30.0,
        has_ground_truth=True,
        open=opened.sequence,
    )


def _vos360(spec: DatasetSpec, path: str) -> Dataset:
    """Open a split of 360VOS."""
    root, split = _root_and_split(path, "test")
    return _folder_dataset("vos360", split, Vos360(root, split))


def _panovos(spec: DatasetSpec, path: str) -> Dataset:
    """Open a split of PanoVOS."""
    root, split = _root_and_split(path, "val")
    return _folder_dataset("panovos", split, PanoVos(root, split))


def _sphere(spec: DatasetSpec, path: str) -> Dataset:
    """Open perspective clips that are laid onto the sphere, with stamps at the 24 Hz of DAVIS and SA-V."""
    background = Path(spec.background).expanduser() if spec.background else None
    opened = SphereClips.parse(path, background=background)
    identity = {
        "dataset": "sphere",
        "names": opened.names,
        "placements": [[p.yaw, p.pitch, p.fov] for p in opened.placements],
        "size": [SPHERE_GRID.width, SPHERE_GRID.height],
        "background": sha256(background) if background else "",
    }
    return Dataset(
        name="sphere",
        split=opened.root.resolve().name,
        seed=None,
        config_sha256=digest(identity),
        names=opened.names,
        rate=24.0,
        has_ground_truth=True,
        open=opened.sequence,
    )


def _root_and_split(path: str, default: str) -> tuple[Path, str]:
    """Parse DIR or DIR:SPLIT; ``default``: the split of the former."""
    if not Path(path).expanduser().exists() and ":" in path:
        path, default = path.rsplit(":", 1)
    return Path(path).expanduser(), default


def _video(spec: DatasetSpec, path: str) -> Dataset:
    """Open a video as a data set of one sequence; raise ValueError where nothing in it is prompted."""
    file = Path(path).expanduser()
    boxes = [Prompt(box=(b[0], b[1], b[2], b[3])) for b in spec.boxes]
    clicks = [Prompt(points=np.array([c]), point_labels=np.array([FOREGROUND])) for c in spec.clicks]
    prompts = dict(enumerate([*boxes, *clicks], 1))
    if not prompts:
        raise ValueError(
            "a video has no ground truth: prompt objects in its first frame with "
            "--box U_MIN,V_MIN,U_MAX,V_MAX and --click U,V, once for each"
        )
    clip = VideoClip(file, spec.frames, len(prompts))
    identity = {"video": file.name, "bytes": file.stat().st_size, "frames": spec.frames,
                "boxes": spec.boxes, "clicks": spec.clicks}  # fmt: skip
    return Dataset(
        name="video",
        split=file.stem,
        seed=None,
        config_sha256=digest(identity),
        names=(clip.name,),
        rate=clip.rate,
        has_ground_truth=False,
        open=lambda name: clip,
        fixed_prompts={0: prompts},
    )


def _synthpano(spec: DatasetSpec, path: str) -> Dataset:
    """Open a split of SynthPano; raise ValueError for reserved material and mixed configurations."""
    root, split = _root_and_split(path, Split.VAL.value)
    if split == Split.RESERVED.value and not spec.reserved:
        raise ValueError("this split is for final acceptance only: give --reserved for a final acceptance")
    opened = Vos360(root, split)
    shas = {SequenceGroundTruth.load(root / split / name).origin.config_sha256 for name in opened.names}
    if len(shas) != 1:
        raise ValueError(
            f"{root / split} mixes {len(shas)} configurations of SynthPano: write the split again"
        )
    frozen = {config.sha256: config for config in BenchmarkConfig.frozen().values() if config.sha256 in shas}
    seeds = [config.seed for config in frozen.values()]
    first = SequenceGroundTruth.load(root / split / opened.names[0])
    return Dataset(
        name="synthpano_v2" if first.origin.benchmark == "synthpano_v2" else "synthpano",  # v1 keeps its name
        split=split,
        seed=seeds[0] if seeds else None,
        config_sha256=shas.pop(),
        names=opened.names,
        rate=first.rate,
        has_ground_truth=True,
        open=partial(_synthpano_sequence, opened, root / split),  # picklable, for workers of training
    )


def _synthpano_sequence(opened: Vos360, folder: Path, name: str) -> SynthPanoSequence:
    """Open one sequence of a split of SynthPano in its folder."""
    return SynthPanoSequence(opened.sequence(name), folder)
