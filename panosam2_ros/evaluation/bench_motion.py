"""Gain of estimating the camera's rotation: ``python -m panosam2_ros.evaluation.bench_motion --dataset DIR``.

Prints JSON: the errors of the rotations of SynthPano's cameras that ``geometry/camera_motion.py`` estimates,
and its time; and, with the true masks, the errors of predicted directions of objects in the next image and
while they are hidden, with and without the camera's rotation. Run it with nothing else running. Keys of the
JSON keep older words, so that stored results can be compared.
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
from panosam2_ros.datasets.sequence import LayoutError, VideoSequence
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.bearing import Bearing, mask_bearing
from panosam2_ros.geometry.camera_motion import RotationEstimator
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats, angle_between, rotation_vector
from panosam2_ros.io.json_file import write_json
from panosam2_ros.tracking.motion_model import BearingMotionModel, TrackState

HIDDEN_SECONDS = (0.3, 1.0, 3.0)  # s hidden, up to which errors are counted together
Errors = dict[str, list[float]]  # by what was predicted


def prediction_errors(
    rotations: Sequence[Floats], bearings: Sequence[Bearing | None], centres: Floats, rate: float
) -> Errors:
    """Return degrees between predicted and true directions of one object.

    ``rotations``: of the camera from frame to frame; ``bearings``: of the visible object; ``centres`` [T, 3]:
    true directions, also while it is hidden.
    """
    errors: Errors = defaultdict(list)
    motion, unseen = BearingMotionModel(), 0
    for t, (rotation, bearing) in enumerate(zip(rotations, bearings, strict=True)):
        stamp = round(t / rate * 1e9)
        motion.compensate_rotation(rotation)
        predicted = motion.predict(stamp)
        if bearing is not None and predicted is not None and motion.state is TrackState.VISIBLE:
            errors["in the next image"].append(_degrees(predicted.direction, bearing.direction))
        was_seen = motion.last_seen > 0
        motion.update(stamp, bearing)
        unseen = 0 if bearing is not None else unseen + 1
        longest = next((s for s in HIDDEN_SECONDS if unseen <= s * rate + 0.5), None)
        if unseen and was_seen and longest is not None:
            errors[f"hidden, up to {longest} s"].append(_degrees(motion.bearing.direction, centres[t]))
    return errors


def sequence_errors(
    sequence: VideoSequence, ground_truth: SequenceGroundTruth
) -> tuple[Errors, Errors, Errors]:
    """Measure one sequence: the camera's rotations, and predictions without and with them.

    Of the camera: angles ("turn") and errors in degrees, and milliseconds.
    """
    camera, rotations = RotationEstimator(), list[Floats]()
    seen: Errors = defaultdict(list)
    bearings: dict[int, list[Bearing | None]] = defaultdict(list)
    for t in range(len(ground_truth)):
        image = sequence.image(t)
        begun = time.perf_counter()
        rotations.append(camera.update(image))
        seen["ms"].append((time.perf_counter() - begun) * 1e3)
        if t:
            true = ground_truth.camera[t] @ ground_truth.camera[t - 1].T
            seen["turn"].append(_rotation_degrees(true))
            seen["error"].append(_rotation_degrees(rotations[t] @ true.T))
        labels = sequence.labels(t)
        if labels is None:
            raise LayoutError(f"{sequence.name} has no mask of frame {t}: write SynthPano again")
        for track in ground_truth.objects:
            bearings[track.obj_id].append(_bearing(labels == track.obj_id))
    without_rotation: Errors = defaultdict(list)
    with_rotation: Errors = defaultdict(list)
    for track in ground_truth.objects:
        for errors, known in ((without_rotation, [np.eye(3)] * len(rotations)), (with_rotation, rotations)):
            found = prediction_errors(known, bearings[track.obj_id], track.centre, ground_truth.rate)
            for key, values in found.items():
                errors[key] += values
    return seen, without_rotation, with_rotation


def _bearing(mask: NDArray[np.bool_]) -> Bearing | None:
    """Return the bearing of a mask [H, W] of a full sphere; None for an empty mask."""
    return mask_bearing(mask, Equirect(mask.shape[1], mask.shape[0]), mask_iou=1.0) if mask.any() else None


def _degrees(one: Floats, other: Floats) -> float:
    """Return the angle between two directions, degrees."""
    return float(np.degrees(angle_between(one, other)))


def _rotation_degrees(rotation: Floats) -> float:
    """Return the angle of a rotation [3, 3], degrees."""
    return float(np.degrees(np.linalg.norm(rotation_vector(rotation))))


def _summary(values: Sequence[float]) -> dict[str, float]:
    """Return median, 95th percentile and number of values."""
    median, high = np.percentile(values, [50, 95]).round(3).tolist()
    return {"median": median, "p95": high, "count": len(values)}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="folder of SynthPano")
    parser.add_argument("--split", default="val", help="of SynthPano (default: %(default)s)")
    parser.add_argument("--sequences", type=int, help="only the first so many (default: all)")
    parser.add_argument("--out", type=Path, help="write the JSON to this file, too")
    options = parser.parse_args(args)
    cv2.setNumThreads(1)
    dataset = open_dataset(DatasetSpec(f"synthpano:{options.dataset}:{options.split}"))
    totals: list[Errors] = [defaultdict(list) for _ in range(3)]
    for name in tqdm(dataset.names[: options.sequences]):
        ground_truth = SequenceGroundTruth.load(options.dataset / dataset.split / name)
        for total, part in zip(totals, sequence_errors(dataset.open(name), ground_truth), strict=True):
            for key, values in part.items():
                total[key] += values
    camera, without_rotation, with_rotation = (
        {key: _summary(each[key]) for key in sorted(each)} for each in totals
    )
    result: dict[str, Any] = {
        "machine": machine("cpu", cv2.getNumThreads()),
        "versions": versions(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "camera": camera,
        "objects without the camera's turns": without_rotation,
        "objects with them": with_rotation,
        "ratio of medians": {
            key: round(with_rotation[key]["median"] / without_rotation[key]["median"], 3)
            for key in without_rotation
        },
    }
    print(json.dumps(result, indent=1))
    if options.out:
        write_json(options.out, result)


if __name__ == "__main__":
    main()
