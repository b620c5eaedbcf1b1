"""Runs of one method on one sequence: in which process, and which stored results are used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import torch
from tqdm import tqdm

from panosam2_ros.datasets.folder_sequence import FolderSequence, SubmissionWriter
from panosam2_ros.datasets.ground_truth_prompts import FramePrompts
from panosam2_ros.datasets.registry import Dataset, DatasetSpec, digest, open_dataset
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.baselines import Ceiling, FlowPropagator, KeepFirst
from panosam2_ros.evaluation.contact_sheet import ContactSheet
from panosam2_ros.evaluation.equivariance import cycle_sequence, roll_sequence, rolls
from panosam2_ros.evaluation.method import MAX_OBJECTS, Method, Prediction, TrackerMethod, with_prompted_masks
from panosam2_ros.evaluation.metrics import MaskScores
from panosam2_ros.evaluation.region_baselines import FollowedViews, MemoryAlone, NearestPixels
from panosam2_ros.evaluation.report import machine
from panosam2_ros.evaluation.runner import EveryFrame, PlayedFrame, RealTime, score_sequence
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.package_files import PACKAGE, sha256
from panosam2_ros.model.build import build_model, weights_file
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.config import TrackerConfig

METHODS = ("tracker", "crops", "nearest", "keep-first", "flow", "ceiling")
_OF_VIEWS = {"crops": MemoryAlone, "nearest": NearestPixels}
_WITH_WEIGHTS = ("tracker", *_OF_VIEWS)
MODES = ("accuracy", "real-time", "roll", "cycle")
_NO_PART = ("ros", "training", "msg", "srv")  # folders of the package that do not affect results
Json = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A method on a data set; every sequence is a run of its own."""

    dataset: DatasetSpec
    method: str
    prompt: str
    mode: str
    weights: str
    rate: float  # Hz, of real-time mode; 0: stamps as the data set has them
    threads: int
    out: Path
    view: str = "auto"  # what the network sees, as ``TrackerConfig.view``
    region_size: int = 0  # as of ``build_model``
    submission: Path | None = None  # folder for the label PNGs of an accuracy run

    @property
    def label(self) -> str:
        """Name of its folder."""
        rate = f"-{self.rate:g}hz" if self.mode == "real-time" else ""
        return f"{self.method}-{self.prompt}-{self.mode}{rate}"

    @property
    def weights_sha256(self) -> str | None:
        """Digest of the weights; None for methods without weights."""
        return sha256(weights_file(self.weights)) if self.method in _WITH_WEIGHTS else None

    @property
    def device(self) -> str:
        """Type of the device that computes."""
        return self.model().device.type if self.method in _WITH_WEIGHTS else "cpu"

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Input of the network, (H, W) pixels; None for methods without one."""
        needs = self.method in (*_WITH_WEIGHTS, "ceiling") or self.mode == "roll"
        return self.model().input_size if needs else None

    def model(self) -> PanoSAM2:
        """Return the network with the input that most objects are seen in."""
        model = load_job_model(self.weights, self.region_size)
        return model.for_panoramas() if self.view == "panorama" else model

    def has_submission(self, name: str) -> bool:
        """Return whether a sequence needs no label PNGs, or has them already."""
        return self.submission is None or (self.submission / name).is_dir()

    def key(self) -> Json:
        """Return everything in which a stored run must agree to be used again."""
        return {
            "method": self.method,
            "prompt": self.prompt,
            "mode": self.mode,
            "rate": self.rate,
            "machine": machine(self.device, self.threads),
            "dataset": self.dataset.location,
            "config_sha256": dataset_of(self.dataset).config_sha256,
            "weights_sha256": self.weights_sha256,
            "input_size": None if self.input_size is None else list(self.input_size),
            "code_sha256": code_sha256(),
            "view": self.view,
            "submission": str(self.submission or ""),
        }


@lru_cache(maxsize=1)
def load_job_model(name_or_path: str, region_size: int) -> PanoSAM2:
    """Build a network, once per process."""
    return build_model(name_or_path, region_size=region_size)


@lru_cache(maxsize=1)
def dataset_of(spec: DatasetSpec) -> Dataset:
    """Open a data set, once per process."""
    return open_dataset(spec)


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Return the digest of the package's code, so that results are not used again after a change."""
    files = sorted(PACKAGE.rglob("*.py"))
    parts = [(f.relative_to(PACKAGE).as_posix(), f.read_bytes()) for f in files]
    return digest({n: hashlib.sha256(b).hexdigest() for n, b in parts if n.split("/")[0] not in _NO_PART})


def run_all(job: Job, names: list[str], processes: int) -> Iterator[Json]:
    """Yield the results of the sequences, in order, from stored files where these agree with the job."""
    key, folder = job.key(), job.out / job.label
    found = {n: _load_result(folder / f"{n}.json", key) if job.has_submission(n) else None for n in names}
    todo = [name for name in names if found[name] is None]
    with tqdm(total=len(names), initial=len(names) - len(todo), desc=job.label, unit="seq") as bar:
        for name, data in _run(job, todo, processes):
            write_json(folder / f"{name}.json", {"key": key, **data})
            found[name] = data
            bar.update()
    yield from (data for data in found.values() if data is not None)


def _run(job: Job, names: list[str], processes: int) -> Iterator[tuple[str, Json]]:
    """Run sequences, in several processes if wanted; yield names and results as they are finished."""
    if processes <= 1 or len(names) <= 1:
        set_threads(job.threads)
        for name in names:
            yield name, run_sequence(job, name, progress=True)
        return
    context = get_context("spawn")  # threads of torch do not survive a fork
    with ProcessPoolExecutor(processes, context, set_threads, (job.threads,)) as pool:
        futures = {pool.submit(run_sequence, job, name): name for name in names}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def set_threads(threads: int) -> None:
    """Set the number of threads of torch and of OpenCV in this process."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def run_sequence(job: Job, name: str, *, progress: bool = False) -> Json:
    """Run one sequence and return its result; write its contact sheet beside the result."""
    dataset = dataset_of(job.dataset)
    sequence = dataset.open(name)
    prompts = dataset.prompts(sequence, job.prompt)
    first = min(prompts)
    sheet = ContactSheet(first, len(sequence))
    passes = 2 if job.mode == "cycle" else 1
    total = passes * (len(sequence) - first)
    with tqdm(total=total, desc=name, unit="frame", leave=False, disable=not progress) as bar:
        run = {"roll": _roll, "cycle": _cycle}.get(job.mode, _score)
        data = run(job, sequence, prompts, sheet, bar.update)
    sheet.write(job.out / job.label / f"{name}.png")
    return data


def _score(
    job: Job, sequence: VideoSequence, prompts: FramePrompts, sheet: ContactSheet,
    tick: Callable[[], Any],
) -> Json:  # fmt: skip
    """Score a sequence, with every frame or in real time."""
    writer = _submission(job, sequence)

    def on_frame(frame: PlayedFrame, scores: Mapping[int, MaskScores]) -> None:
        tick()
        index, labels = frame.index, frame.prediction.labels
        if writer is not None:
            writer.write(index, with_prompted_masks(labels, prompts.get(index, {})))
        if sheet.wants(index):
            image = sequence.image(index) if frame.image is None else frame.image
            spheres = {i: score.J_sphere for i, score in scores.items()}
            sheet.add(index, image, labels, ground_truth=sequence.labels(index), scores=spheres)

    schedule = RealTime(job.rate) if job.mode == "real-time" else EveryFrame()
    run = score_sequence(sequence, _method(job, sequence), prompts, schedule, on_frame=on_frame)
    return {"score": run.to_json()}


def _roll(
    job: Job, sequence: VideoSequence, prompts: FramePrompts, sheet: ContactSheet,
    tick: Callable[[], Any],
) -> Json:  # fmt: skip
    """Measure the roll equivariance of a sequence."""
    columns = rolls(sequence.grid.width, job.model().input_size[1])
    on_frame = partial(_add_to_sheet, sequence, sheet, tick)
    run = roll_sequence(sequence, lambda: _method(job, sequence), prompts, columns, on_frame=on_frame)
    return {"roll": run.to_json()}


def _cycle(
    job: Job, sequence: VideoSequence, prompts: FramePrompts, sheet: ContactSheet,
    tick: Callable[[], Any],
) -> Json:  # fmt: skip
    """Measure the cycle consistency of a sequence."""
    on_frame = partial(_add_to_sheet, sequence, sheet, tick)
    run = cycle_sequence(sequence, _method(job, sequence), prompts, on_frame=on_frame)
    return {"cycle": run.to_json()}


def _add_to_sheet(
    sequence: VideoSequence,
    sheet: ContactSheet,
    tick: Callable[[], Any],
    index: int,
    prediction: Prediction,
) -> None:
    """Count a frame, and add it to the contact sheet if it is one of the chosen frames."""
    tick()
    if sheet.wants(index):
        sheet.add(index, sequence.image(index), prediction.labels, ground_truth=sequence.labels(index))


def _method(job: Job, sequence: VideoSequence) -> Method:
    """Make the job's method for one sequence."""
    if job.method == "tracker":
        rate = job.rate or dataset_of(job.dataset).rate
        return TrackerMethod(job.model(), rate, TrackerConfig(max_objects=MAX_OBJECTS, view=job.view))
    if job.method in _OF_VIEWS:
        model = job.model()
        if not model.config.regions:
            raise ValueError(f"the method {job.method} looks at views: give a network of search regions")
        return FollowedViews(model, sequence.grid, _OF_VIEWS[job.method])
    if job.method == "ceiling":
        model = job.model()
        stride, regions = model.config.mask_stride, model.config.regions
        return Ceiling(sequence, model.input_size, stride, regions=regions)
    return KeepFirst() if job.method == "keep-first" else FlowPropagator()


def _submission(job: Job, sequence: VideoSequence) -> SubmissionWriter | None:
    """Make the writer of label PNGs; None where the job wants none. Raise ValueError for other data sets."""
    if job.submission is None:
        return None
    if not isinstance(sequence, FolderSequence):
        raise ValueError("label PNGs are written for data sets in folders only: leave out --submission")
    return SubmissionWriter(job.submission, sequence)


def _load_result(path: Path, key: Json) -> Json | None:
    """Read a stored result; None where there is none with the same key."""
    try:
        data: Json = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return data if data.get("key") == key else None
