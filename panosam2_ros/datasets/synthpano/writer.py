"""Writer of sequences; the folder of a sequence appears when it is complete."""

from __future__ import annotations

import hashlib
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.datasets.synthpano.attributes import measure_attributes
from panosam2_ros.datasets.synthpano.config import BenchmarkConfig, Plan
from panosam2_ros.datasets.synthpano.ground_truth import DISTRACTOR_FOLDER, FILE, Origin, SequenceGroundTruth
from panosam2_ros.datasets.synthpano.seed_search import search_seed
from panosam2_ros.io.label_png import write_labels
from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.simulation.scene import Scene, SceneFrame, SceneTruth
from panosam2_ros.synthetic.worker_process import end_with_parent

UNFINISHED = ".unfinished"  # folder beside the splits


@dataclass(frozen=True)
class Writer:
    """Writes sequences of one benchmark; picklable for worker processes."""

    config: BenchmarkConfig
    library: AssetLibrary
    root: Path

    def write(self, plan: Plan) -> Path:
        """Write a sequence unless it exists; return its folder."""
        folder = self.root / plan.split.value / plan.name
        if is_complete(folder, self.config):
            return folder
        work = self.root / UNFINISHED / f"{plan.split.value}-{plan.name}"
        shutil.rmtree(work, ignore_errors=True)
        seed = search_seed(plan, self.library)
        scene = Scene(plan.scene, self.library, seed)
        frames, digest = self._write_frames(work, scene, plan.jpeg_quality)
        origin = Origin(
            benchmark=self.config.name,
            config_sha256=self.config.sha256,
            split=plan.split.value,
            name=plan.name,
            seed=seed,
            features=plan.features,
            jpeg_quality=plan.jpeg_quality,
            content_sha256=digest,
        )
        ground_truth = SequenceGroundTruth.from_scene(origin, scene, frames)
        labels = (frame.labels for frame in frames)
        measure_attributes(ground_truth, labels, events=plan.events).save(work)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work.replace(folder)
        return folder

    def _write_frames(self, work: Path, scene: Scene, quality: int) -> tuple[list[SceneTruth], str]:
        """Render and write all frames; return their ground truth and the digest of the files."""
        frames = []
        (work / "image").mkdir(parents=True)
        for index in range(len(scene)):
            frame = scene.render(index)
            _write_frame(work, frame, quality)
            frames.append(SceneTruth(frame.labels, frame.objects, frame.look_alikes))
        return frames, content_sha256(work)


def _write_frame(work: Path, frame: SceneFrame, quality: int) -> None:
    """Write image, mask and distractor mask of a frame."""
    name = f"{frame.index:06d}"
    write_jpeg(work / "image" / f"{name}.jpg", frame.image, quality)
    write_labels(work / "mask" / f"{name}.png", frame.labels)
    if frame.look_alikes is not None:
        write_labels(work / DISTRACTOR_FOLDER / f"{name}.png", frame.look_alikes)


def write_jpeg(path: Path, image: NDArray[np.uint8], quality: int) -> None:
    """Write RGB [H, W, 3] as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    good, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not good:
        raise OSError(f"{path}: the image could not be encoded as JPEG")
    path.write_bytes(data.tobytes())


def content_sha256(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all images and masks of a sequence."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.*")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def is_complete(folder: Path, config: BenchmarkConfig) -> bool:
    """Return whether a sequence is written; raise FileExistsError where it has another configuration."""
    if not folder.exists():
        return False
    if (folder / FILE).is_file():
        origin = SequenceGroundTruth.load(folder).origin
        if origin.config_sha256 == config.sha256:
            return True
        found = f"made with {origin.benchmark} {origin.config_sha256[:12]}"
    else:
        found = f"without {FILE}"
    raise FileExistsError(
        f"{folder} holds a sequence {found}, not with {config.name} {config.sha256[:12]}: choose "
        "another folder, or remove it"
    )


def write_split(writer: Writer, plans: Sequence[Plan], processes: int) -> Iterator[Path]:
    """Write the planned sequences; yield their folders as they are finished."""
    if processes <= 1:
        yield from map(writer.write, plans)
        return
    # spawned, for torch and OpenCV do not survive a fork in every state
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _set_up_worker, (writer,)) as pool:
        for future in as_completed([pool.submit(_write, plan) for plan in plans]):
            yield future.result()


_writer: list[Writer] = []  # of this worker process, so that the material is sent once


def _set_up_worker(writer: Writer) -> None:
    """Keep the writer of a worker process, in which OpenCV uses one thread."""
    end_with_parent()
    cv2.setNumThreads(1)
    _writer[:] = [writer]


def _write(plan: Plan) -> Path:
    """Write a sequence in a worker process."""
    return _writer[0].write(plan)
