"""What clicks gain: ``python -m panosam2_ros.evaluation.clicks --dataset ...``.

Every object is prompted in its first frame, and then clicked once: in the middle of the largest part that its
mask misses, or, with a click that says what does not belong to it, of the largest part that its mask has too
much. Prints JSON: the IoU of the first masks, and the gain of either click where there was such a part.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from panosam2_ros.datasets.ground_truth_prompts import PROMPT_KINDS, prompt_from_mask
from panosam2_ros.datasets.registry import DatasetSpec
from panosam2_ros.datasets.sequence import VideoSequence
from panosam2_ros.evaluation.jobs import dataset_of, load_job_model
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.connected_components import connected_components
from panosam2_ros.geometry.image_types import MaskArray
from panosam2_ros.model.build import EMBEDDED
from panosam2_ros.model.mask_decoder import BACKGROUND, FOREGROUND
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.simulation.simulated_prompts import deepest_pixel
from panosam2_ros.tracking.tracker import PanoTracker

LEAST_PART = 0.05  # of the object's pixels, that a part is worth a click
_CLICKS = {"missed": FOREGROUND, "too_much": BACKGROUND}
_SAMPLES = 2000  # of the bootstrap


def click_gains(model: PanoSAM2, sequence: VideoSequence, kind: str) -> Iterator[dict[str, float]]:
    """Yield, for every object, the IoU of its first mask and the gain of the clicks that it needs.

    ``kind``: of the first prompts, as of ``prompt_from_mask``.
    """
    for obj_id, index in sequence.first_frames.items():
        image, truth = sequence.image(index), sequence.prompt_mask(obj_id)
        first = prompt_from_mask(truth, kind)
        found = _masks(model, image, [first])[-1]
        measured = {"first": _iou(found, truth)}
        for name, wrong in (("missed", truth & ~found), ("too_much", found & ~truth)):
            part = _largest_part(wrong, sequence.grid.vertical_fov)
            if np.count_nonzero(part) >= LEAST_PART * np.count_nonzero(truth):
                click = Prompt(points=np.array([deepest_pixel(part)], float), point_labels=_label(name))
                measured[name] = _iou(_masks(model, image, [first, click])[-1], truth) - measured["first"]
        yield measured


def _masks(model: PanoSAM2, image: np.ndarray, prompts: Sequence[Prompt]) -> list[MaskArray]:
    """Return an object's masks [H, W] at the image's size after a prompt and each of its corrections.

    A refused prompt leaves the mask as it was.
    """
    tracker, masks, obj_id = PanoTracker(model), [np.zeros(image.shape[:2], bool)], 0
    tracker.step(image, 0)
    for prompt in prompts:
        (outcome,) = tracker.prompt(image, 0, [replace(prompt, obj_id=obj_id)])
        if outcome.track is not None and outcome.mask is not None:
            obj_id = outcome.track.obj_id
            size = (image.shape[1], image.shape[0])
            mask = cv2.resize(outcome.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
            masks.append(np.asarray(mask, bool))
        else:
            masks.append(masks[-1])
    return masks[1:]


def _label(name: str) -> np.ndarray:
    return np.array([_CLICKS[name]])


def _largest_part(mask: MaskArray, vertical_fov: float) -> MaskArray:
    """Return the connected part of a mask [H, W] with the largest solid angle, across the seam."""
    parts, angles = connected_components(mask, 8, vertical_fov)
    return np.asarray((parts == 1 + int(np.argmax(angles[1:]))) if len(angles) > 1 else mask)


def _iou(a: MaskArray, b: MaskArray) -> float:
    """Return the IoU of two masks [H, W]; 1 where both are empty."""
    either = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / either) if either else 1.0


def _described(values: Sequence[float]) -> dict[str, Any]:
    """Return the mean of values with a 95 % interval by bootstrap, and their number."""
    if not values:
        return {"number": 0, "mean": None, "ci95": None}
    drawn = np.random.default_rng(0).choice(values, (_SAMPLES, len(values))).mean(1)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {
        "number": len(values),
        "mean": round(float(np.mean(values)), 4),
        "ci95": [round(float(low), 4), round(float(high), 4)],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help="as of evaluate, with ground truth")
    add("--weights", default=EMBEDDED, help="name or .safetensors file (default: %(default)s)")
    add("--prompt", choices=[k for k in PROMPT_KINDS if k != "mask"], default="box", help="first prompts")
    add("--background", default="", help="as of evaluate")
    add("--sequences", type=int, default=0, help="only the first so many (default: all)")
    add("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    dataset = dataset_of(DatasetSpec(options.dataset, background=options.background))
    model, every = load_job_model(options.weights, 0), []
    for name in dataset.names[: options.sequences or None]:
        every += list(click_gains(model, dataset.open(name), options.prompt))
    found = {
        "first_mask_iou": _described([own["first"] for own in every]),
        "gain_of_click_on_missed_part": _described([own["missed"] for own in every if "missed" in own]),
        "gain_of_click_beside_object": _described([own["too_much"] for own in every if "too_much" in own]),
    }
    about = {"weights": options.weights, "dataset": dataset.name, "split": dataset.split}
    where = {"machine": machine(model.device.type, options.threads), "versions": versions()}
    print(json.dumps({**about, "prompt": options.prompt, **where, **found}, indent=1))


if __name__ == "__main__":
    main()
