"""What seeing the camera's turns is worth: ``python -m panosam2_ros.evaluation.bench_motion --dataset DIR``.

Prints JSON: how far off the rotations of SynthPano's cameras are that are estimated, and what
they cost; and, with the true masks, how far off objects are expected in the next image and while they are
hidden, where the camera's turns are left out and where they are known. Run it with nothing else running.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.bearing import Bearing, mask_bearing
from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, angle_between, rotation_vector
from panosam2_ros.io.json_file import write_json
from panosam2_ros.tracking.motion_model import BearingMotionModel, TrackState

HIDDEN_SECONDS = (0.3, 1.0, 3.0)  # s unseen, up to which errors are counted together
Errors = dict[str, list[float]]


def expected_errors(
    turns: Sequence[Floats], bearings: Sequence[Bearing | None], centres: Floats, rate: float
) -> Errors:
    """Degrees between where one object is expected and where it is; ``centres`` [T, 3] also while hidden."""
    errors: Errors = defaultdict(list)
    motion, unseen = BearingMotionModel(), 0
    for t, (turn, bearing) in enumerate(zip(turns, bearings, strict=True)):
        stamp = round(t / rate * 1e9)
        motion.compensate_rotation(turn)
        ahead = motion.predict(stamp)
        if bearing is not None and ahead is not None and motion.state is TrackState.VISIBLE:
            errors["in the next image"].append(_degrees(ahead.direction, bearing.direction))
        was_seen = motion.last_seen > 0
        motion.update(stamp, bearing)
        unseen = 0 if bearing is not None else unseen + 1
        longest = next((s for s in HIDDEN_SECONDS if unseen <= s * rate + 0.5), None)
        if unseen and was_seen and longest is not None:
            errors[f"hidden, up to {longest} s"].append(_degrees(motion.bearing.direction, centres[t]))
    return errors


def sequence_errors(sequence: VideoSequence, truth: SequenceGroundTruth) -> tuple[Errors, Errors, Errors]:
    """Of the camera's turns (degrees, ms); of objects without them; and with them."""
    camera, turns = RotationEstimator(), list[Floats]()
    seen: Errors = defaultdict(list)
    bearings: dict[int, list[Bearing | None]] = defaultdict(list)
    for t in range(len(truth)):
        image = sequence.image(t)
        begun = time.perf_counter()
        turns.append(camera.turn(image))
        seen["ms"].append((time.perf_counter() - begun) * 1e3)
        if t:
            true = truth.camera[t] @ truth.camera[t - 1].T
            seen["turn"].append(_angle(true))
            seen["error"].append(_angle(turns[t] @ true.T))
        labels = sequence.labels(t)
        assert labels is not None  # SynthPano knows every mask
        for track in truth.objects:
            bearings[track.obj_id].append(_bearing(labels == track.obj_id))
    still: Errors = defaultdict(list)
    moved: Errors = defaultdict(list)
    for track in truth.objects:
        for errors, known in ((still, [np.eye(3)] * len(turns)), (moved, turns)):
            found = expected_errors(known, bearings[track.obj_id], track.centre, truth.rate)
            for key, values in found.items():
                errors[key] += values
    return seen, still, moved


def _bearing(mask: NDArray[np.bool_]) -> Bearing | None:
    return mask_bearing(mask, Equirect(mask.shape[1], mask.shape[0]), 1.0) if mask.any() else None


def _degrees(one: Floats, other: Floats) -> float:
    return float(np.degrees(angle_between(one, other)))


def _angle(rotation: Floats) -> float:
    return float(np.degrees(np.linalg.norm(rotation_vector(rotation))))


def _summary(values: Sequence[float]) -> dict[str, float]:
    median, high = np.percentile(values, [50, 95]).round(3).tolist()
    return {"median": median, "p95": high, "count": len(values)}


def main(args: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of SynthPano")
    parser.add_argument("--split", default="val")
    parser.add_argument("--sequences", type=int, help="at most so many (default: all)")
    parser.add_argument("--out", type=Path, help="write the JSON here too")
    options = parser.parse_args(args)
    cv2.setNumThreads(1)
    dataset = open_dataset(DatasetSpec(f"synthpano:{options.dataset}:{options.split}"))
    totals: list[Errors] = [defaultdict(list) for _ in range(3)]
    for name in tqdm(dataset.names[: options.sequences]):
        truth = SequenceGroundTruth.load(options.dataset / dataset.split / name)
        for total, part in zip(totals, sequence_errors(dataset.open(name), truth), strict=True):
            for key, values in part.items():
                total[key] += values
    camera, still, moved = ({key: _summary(each[key]) for key in sorted(each)} for each in totals)
    result: dict[str, Any] = {
        "machine": machine("cpu", cv2.getNumThreads()),
        "versions": versions(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "camera": camera,
        "objects without the camera's turns": still,
        "objects with them": moved,
        "ratio of medians": {key: round(moved[key]["median"] / still[key]["median"], 3) for key in still},
    }
    print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
