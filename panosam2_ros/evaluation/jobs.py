"""One sequence, one method, one file: what is run, by which process, and what need not run again."""

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
from panosam2_ros.evaluation.method import Answer, Method, TrackerMethod, with_given
from panosam2_ros.evaluation.metrics import PairScores
from panosam2_ros.evaluation.report import machine
from panosam2_ros.evaluation.runner import EveryFrame, RealTime, Shown, score_sequence
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.package_files import PACKAGE, package_file, sha256
from panosam2_ros.model.build import EMBEDDED, build_model
from panosam2_ros.model.panosam2 import PanoSAM2

METHODS = ("tracker", "keep-first", "flow", "ceiling")
MODES = ("accuracy", "real-time", "roll", "cycle")
_NO_PART = ("ros", "training", "msg", "srv")  # of the package, in what decides numbers
Json = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A method on a data set; every sequence of it is a run of its own."""

    dataset: DatasetSpec
    method: str
    prompt: str
    mode: str
    weights: str
    rate: float  # Hz, of real-time mode; 0: stamps as the data set has them
    threads: int
    out: Path
    submission: Path | None = None  # where the label PNGs of an accuracy run go

    @property
    def label(self) -> str:
        """Names its folder."""
        rate = f"-{self.rate:g}hz" if self.mode == "real-time" else ""
        return f"{self.method}-{self.prompt}-{self.mode}{rate}"

    @property
    def weights_sha256(self) -> str | None:
        """None for methods without weights."""
        return sha256(weights_path(self.weights)) if self.method == "tracker" else None

    @property
    def device(self) -> str:
        """What computes."""
        return load_job_model(self.weights).device.type if self.method == "tracker" else "cpu"

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(H, W) of the network; None for methods without one."""
        needs = self.method in ("tracker", "ceiling") or self.mode == "roll"
        return load_job_model(self.weights).input_size if needs else None

    def submitted(self, name: str) -> bool:
        """Whether nothing is to be written for a server, or a sequence's folder is there."""
        return self.submission is None or (self.submission / name).is_dir()

    def key(self) -> Json:
        """What a stored run must agree in to be used again."""
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
            "submission": str(self.submission or ""),
        }


def weights_path(name_or_path: str) -> Path:
    """The file that ``build_model`` reads."""
    if name_or_path == EMBEDDED:
        return package_file("models", f"{EMBEDDED}.safetensors")
    path = Path(name_or_path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: give {EMBEDDED} or a .safetensors file")
    return path


@lru_cache(maxsize=1)
def load_job_model(name_or_path: str) -> PanoSAM2:
    """Once per process."""
    return build_model(name_or_path)


@lru_cache(maxsize=1)
def dataset_of(spec: DatasetSpec) -> Dataset:
    """Once per process."""
    return open_dataset(spec)


@lru_cache(maxsize=1)
def code_sha256() -> str:
    """Of the package's code, so that no result outlives what it was computed with."""
    files = sorted(PACKAGE.rglob("*.py"))
    parts = [(f.relative_to(PACKAGE).as_posix(), f.read_bytes()) for f in files]
    return digest({n: hashlib.sha256(b).hexdigest() for n, b in parts if n.split("/")[0] not in _NO_PART})


def run_all(job: Job, names: list[str], processes: int) -> Iterator[Json]:
    """Results of the sequences, in order, from files where those agree with the job."""
    key, folder = job.key(), job.out / job.label
    found = {n: _stored(folder / f"{n}.json", key) if job.submitted(n) else None for n in names}
    todo = [name for name in names if found[name] is None]
    with tqdm(total=len(names), initial=len(names) - len(todo), desc=job.label, unit="seq") as bar:
        for name, data in _run(job, todo, processes):
            write_json(folder / f"{name}.json", {"key": key, **data})
            found[name] = data
            bar.update()
    yield from (data for data in found.values() if data is not None)


def _run(job: Job, names: list[str], processes: int) -> Iterator[tuple[str, Json]]:
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
    """Of this process, for numbers and for pictures."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def run_sequence(job: Job, name: str, progress: bool = False) -> Json:
    """One sequence; its contact sheet is written beside the result."""
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
    """Accuracy, every frame or in real time."""
    writer = _submission(job, sequence)

    def watch(shown: Shown, scores: Mapping[int, PairScores]) -> None:
        tick()
        index, labels = shown.index, shown.answer.labels
        if writer is not None:
            writer.write(index, with_given(labels, prompts.get(index, {})))
        if sheet.wants(index):
            image = sequence.image(index) if shown.image is None else shown.image
            spheres = {i: pair.J_sphere for i, pair in scores.items()}
            sheet.add(index, image, labels, sequence.labels(index), spheres)

    pace = RealTime(job.rate) if job.mode == "real-time" else EveryFrame()
    run = score_sequence(sequence, _method(job, sequence), prompts, pace, watch)
    return {"score": run.to_json()}


def _roll(
    job: Job, sequence: VideoSequence, prompts: FramePrompts, sheet: ContactSheet,
    tick: Callable[[], Any],
) -> Json:  # fmt: skip
    size = job.input_size
    assert size is not None
    columns = rolls(sequence.grid.width, size[1])
    watch = partial(_look, sequence, sheet, tick)
    run = roll_sequence(sequence, lambda: _method(job, sequence), prompts, columns, watch)
    return {"roll": run.to_json()}


def _cycle(
    job: Job, sequence: VideoSequence, prompts: FramePrompts, sheet: ContactSheet,
    tick: Callable[[], Any],
) -> Json:  # fmt: skip
    watch = partial(_look, sequence, sheet, tick)
    return {"cycle": cycle_sequence(sequence, _method(job, sequence), prompts, watch).to_json()}


def _look(
    sequence: VideoSequence,
    sheet: ContactSheet,
    tick: Callable[[], Any],
    index: int,
    answer: Answer,
) -> None:
    tick()
    if sheet.wants(index):
        sheet.add(index, sequence.image(index), answer.labels, sequence.labels(index))


def _method(job: Job, sequence: VideoSequence) -> Method:
    if job.method == "tracker":
        return TrackerMethod(load_job_model(job.weights), job.rate or dataset_of(job.dataset).rate)
    if job.method == "ceiling":
        assert job.input_size is not None
        config = load_job_model(job.weights).config
        return Ceiling(sequence, job.input_size, config.mask_stride, config.regions)
    return KeepFirst() if job.method == "keep-first" else FlowPropagator()


def _submission(job: Job, sequence: VideoSequence) -> SubmissionWriter | None:
    if job.submission is None:
        return None
    if not isinstance(sequence, FolderSequence):
        raise ValueError("label PNGs are written for data sets in folders only: drop --submission")
    return SubmissionWriter(job.submission, sequence)


def _stored(path: Path, key: Json) -> Json | None:
    """A result of the very same job; None where there is none."""
    try:
        data: Json = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return data if data.get("key") == key else None
