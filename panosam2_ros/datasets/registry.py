"""What can be evaluated on, by name: ``acceptance``, ``vos360:DIR``, ``video:PATH`` and so on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from panosam2_ros.datasets import acceptance
from panosam2_ros.datasets.folder_sequence import FolderSequence
from panosam2_ros.datasets.ground_truth_prompts import FramePrompts, ground_truth_prompts
from panosam2_ros.datasets.panovos import PanoVos
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.datasets.synthpano.config import FROZEN, BenchmarkConfig
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth, read_look_alikes
from panosam2_ros.datasets.vos360 import Vos360
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray, LabelImage, MaskArray
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.package_files import package_file
from panosam2_ros.prompts.encoding import FOREGROUND
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.synthetic.npm_assets import library_from_npm

KINDS = "acceptance, synthpano:DIR[:SPLIT], vos360:DIR[:SPLIT], panovos:DIR[:SPLIT] or video:PATH"
Corners = tuple[float, ...]


@dataclass(frozen=True)
class DatasetSpec:
    """What the user asked for; hashable, so that every process opens it once."""

    text: str
    sources: str = ""  # folder of the npm packages, instead of the shipped material
    reserved: bool = False  # reserved material may be used
    frames: int = 0  # of a video, at most; 0: all
    boxes: tuple[Corners, ...] = ()  # u_min, v_min, u_max, v_max, in a video's first frame
    clicks: tuple[Corners, ...] = ()  # u, v, in a video's first frame

    @property
    def place(self) -> str:
        """Where it is, whatever the working directory."""
        kind, _, place = self.text.partition(":")
        return f"{kind}:{Path(place).expanduser().resolve()}" if place else kind


@dataclass(frozen=True)
class Dataset:
    """Sequences, and what identifies them in a result."""

    name: str
    split: str
    seed: int | None
    config_sha256: str
    names: tuple[str, ...]
    rate: float  # Hz, of the stamps
    has_truth: bool
    open: Callable[[str], VideoSequence]
    given: FramePrompts | None = None  # prompts where no truth gives them

    def prompts(self, sequence: VideoSequence, kind: str) -> FramePrompts:
        """How the objects of a sequence are pointed at."""
        return ground_truth_prompts(sequence, kind) if self.given is None else self.given


class VideoClip:
    """A video without truth as a sequence; frames stay in memory once they were read."""

    attributes: frozenset[str] = frozenset()

    def __init__(self, path: Path, frames: int, objects: int) -> None:
        self.name = path.stem
        source = open_frames(path)
        self.grid = Equirect(source.width, source.height)
        self.rate = source.rate or 10.0
        self.first_frames = dict.fromkeys(range(1, objects + 1), 0)
        self._source: Iterator[ImageArray] = iter(source)
        self._limit = frames
        self._frames: list[ImageArray] = []
        self._ended = False

    def __len__(self) -> int:
        while self._read():
            pass
        return len(self._frames)

    def image(self, index: int) -> ImageArray:
        while index >= len(self._frames) and self._read():
            pass
        return self._frames[index]

    def labels(self, index: int) -> LabelImage | None:
        return None

    def prompt_mask(self, obj_id: int) -> MaskArray:
        raise ValueError(f"{self.name} has no truth: point at its objects with --box and --click")

    def _read(self) -> bool:
        """Whether there was another frame."""
        full = 0 < self._limit <= len(self._frames)
        frame = None if self._ended or full else next(self._source, None)
        self._ended = frame is None
        if frame is not None:
            self._frames.append(frame)
        return frame is not None


class SynthPanoSequence(FolderSequence):
    """A sequence in the layout of 360VOS, with what its truth file knows beside the masks."""

    def __init__(self, sequence: FolderSequence, split: Path) -> None:
        self._folder = split / sequence.name
        self._truth = SequenceGroundTruth.load(self._folder)
        attributes = frozenset(self._truth.attributes)
        super().__init__(sequence.files, sequence.first_frames, attributes)

    def directions(self, index: int) -> Mapping[int, Floats]:
        """True directions [3] of all objects, optical axes."""
        return self._truth.directions(index)

    def look_alikes(self, index: int) -> LabelImage | None:
        """[H, W] untracked things that look like an object, 0 = none."""
        return read_look_alikes(self._folder, index)


def open_dataset(spec: DatasetSpec) -> Dataset:
    """The data set that a user named; ValueError says what is wrong with it."""
    kind, _, place = spec.text.partition(":")
    makers = {"acceptance": _acceptance, "synthpano": _synthpano, "vos360": _vos360,
              "panovos": _panovos, "video": _video}  # fmt: skip
    if kind not in makers or bool(place) == (kind == "acceptance"):
        raise ValueError(f"--dataset is {KINDS}, got {spec.text!r}")
    return makers[kind](spec, place)


def digest(value: object) -> str:
    """SHA-256, hex, of something as canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _acceptance(spec: DatasetSpec, place: str) -> Dataset:
    if not spec.reserved:
        raise ValueError(
            "the acceptance scenes use reserved material, which is for final acceptance only, "
            "never for training, tuning or choosing; give --reserved if that is what this is"
        )
    if spec.sources:
        library = library_from_npm(spec.sources, Split.RESERVED, reserved=True)
    else:
        library = AssetLibrary.shipped(Split.RESERVED, reserved=True)
    return Dataset(
        "acceptance", Split.RESERVED.value, acceptance.FIRST_SEED, acceptance.config_sha256(library),
        acceptance.names(), float(acceptance.SCENE["rate"]), True,
        lambda name: acceptance.open_sequence(name, library),
    )  # fmt: skip


def _folders(kind: str, split: str, opened: Vos360 | PanoVos, rate: float) -> Dataset:
    sha = digest({"dataset": kind, "split": split, "sequences": opened.names})
    return Dataset(kind, split, None, sha, opened.names, rate, True, opened.sequence)


def _vos360(spec: DatasetSpec, place: str) -> Dataset:
    root, split = _root_and_split(place, "test")
    return _folders("vos360", split, Vos360(root, split), 30.0)


def _panovos(spec: DatasetSpec, place: str) -> Dataset:
    root, split = _root_and_split(place, "val")
    return _folders("panovos", split, PanoVos(root, split), 30.0)


def _root_and_split(place: str, default: str) -> tuple[Path, str]:
    """DIR or DIR:SPLIT."""
    if not Path(place).expanduser().exists() and ":" in place:
        place, default = place.rsplit(":", 1)
    return Path(place).expanduser(), default


def _video(spec: DatasetSpec, place: str) -> Dataset:
    path = Path(place).expanduser()
    boxes = [Prompt(box=(b[0], b[1], b[2], b[3])) for b in spec.boxes]
    clicks = [Prompt(points=np.array([c]), point_labels=np.array([FOREGROUND])) for c in spec.clicks]
    prompts = dict(enumerate([*boxes, *clicks], 1))
    if not prompts:
        raise ValueError(
            "a video has no truth: point at objects in its first frame with "
            "--box U_MIN,V_MIN,U_MAX,V_MAX and --click U,V, once for each"
        )
    clip = VideoClip(path, spec.frames, len(prompts))
    identity = {"video": path.name, "bytes": path.stat().st_size, "frames": spec.frames,
                "boxes": spec.boxes, "clicks": spec.clicks}  # fmt: skip
    return Dataset(
        "video", path.stem, None, digest(identity), (clip.name,), clip.rate, False,
        lambda name: clip, {0: prompts},
    )  # fmt: skip


def _synthpano(spec: DatasetSpec, place: str) -> Dataset:
    root, split = _root_and_split(place, Split.VAL.value)
    if split == Split.RESERVED.value and not spec.reserved:
        raise ValueError("this split is for final acceptance only: give --reserved if that is what this is")
    opened = Vos360(root, split)
    shas = {SequenceGroundTruth.load(root / split / name).origin.config_sha256 for name in opened.names}
    if len(shas) != 1:
        raise ValueError(f"{root / split} mixes {len(shas)} configurations of SynthPano: write it again")
    frozen = BenchmarkConfig.load(package_file(*FROZEN))
    seed = frozen.seed if shas == {frozen.sha256} else None

    open_sequence = partial(_synthpano_sequence, opened, root / split)  # training sends it to a process
    return Dataset(
        "synthpano", split, seed, shas.pop(), opened.names, float(frozen.scene["rate"]), True, open_sequence
    )


def _synthpano_sequence(opened: Vos360, folder: Path, name: str) -> SynthPanoSequence:
    return SynthPanoSequence(opened.sequence(name), folder)
