"""What each geometric switch does to an official network: ``python -m panosam2_ros.evaluation.switches``.

An object of a real panorama is prompted with a box and tracked; no truth and no training is needed.
How far a switch moves the logits of upstream's own network says how much of what its weights have
learned it puts at risk; how little a rolled panorama changes the result says what it is good for.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from panosam2_ros.evaluation.bench_upstream import upstream_predictor
from panosam2_ros.evaluation.report import machine, versions
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.json_file import write_json
from panosam2_ros.io.video import resized_image
from panosam2_ros.model.checkpoints import OFFICIAL, fetch_official, load_official
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.encoding import LOW_RES_STRIDE, PromptEncoder
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.propagation import empty_bank, propagate, segment_prompts

RANDOM = "random"
INPUT = (448, 896)  # H, W
FRAMES, STEP = 3, 5  # frames that are tracked, and of how many of the video
BOX = (0.45, 0.45, 0.55, 0.6)  # shares of width and height
# Columns: whole windows of the encoder; whole strides of 32, but no whole window; neither.
ROLLS = (224, 288, 100)
SWITCHES: dict[str, dict[str, Any]] = {
    "none (upstream)": {},
    "wrap": {"wrap": True},
    "wrap_margin 64": {"wrap_margin": 64},
    "canonical_yaw": {"canonical_yaw": True},
    "rotary rounded": {"rotary": "rounded"},
    "rotary whole_turns": {"rotary": "whole_turns"},
    "position_code latitude": {"position_code": "latitude"},
    "ours (wrap, canonical_yaw)": {"wrap": True, "canonical_yaw": True},
    "all, rounded": {
        "wrap": True, "wrap_margin": 64, "canonical_yaw": True,
        "rotary": "rounded", "position_code": "latitude",
    },
}  # fmt: skip

Image = NDArray[np.uint8]


def switched(base: PanoSAM2, changes: dict[str, Any]) -> PanoSAM2:
    """The same weights in a network with these options."""
    model = PanoSAM2(replace(base.config, **changes))
    model.load_state_dict(base.state_dict())
    model.set_input_size(*base.input_size)
    return model.eval().requires_grad_(False)


@torch.inference_mode()
def track(model: PanoSAM2, frames: Iterable[Image], roll: int = 0) -> Tensor:
    """Logits [T, h, w] of the object in frames that are rolled right by so many columns, rolled back."""
    height, width = model.input_size
    encoding = PromptEncoder(Equirect(width, height), model.input_size, model.config)
    columns = [(share * width + roll) % width - 0.5 for share in (BOX[0], BOX[2])]
    prompt = Prompt(box=(columns[0], BOX[1] * height, columns[1], BOX[3] * height))
    bank, found = empty_bank(model, 1), []
    for t, frame in enumerate(frames):
        pixels = torch.from_numpy(np.roll(resized_image(frame, width, height), roll, 1)).permute(2, 0, 1)
        features = model.encode_image(pixels[None])
        step = (
            propagate(model, bank, features)
            if t
            else segment_prompts(model, bank, features, encoding.encode([prompt]), False)
        )
        bank = step.bank
        found.append(step.mask_logits[0, 0].roll(-roll // LOW_RES_STRIDE, -1))
    return torch.stack(found)


def difference(found: Tensor, expected: Tensor) -> dict[str, float]:
    """Mean and largest change of logits in units of their standard deviation, and the masks' IoU."""
    change = (found - expected).abs() / expected.std()
    a, b = found > 0, expected > 0
    iou = float((a & b).sum() / (a | b).sum().clamp(min=1))
    return {"mean": float(change.mean()), "largest": float(change.max()), "iou": iou}


def measure(base: PanoSAM2, frames: Sequence[Image]) -> dict[str, Any]:
    """Of every switch: how far it moves the logits, and what rolls change with it."""
    rows: dict[str, Any] = {}
    plain: Tensor | None = None
    for name, changes in tqdm(SWITCHES.items()):
        model = switched(base, changes)
        still = track(model, frames)
        plain = still if plain is None else plain
        rolls = {str(roll): difference(track(model, frames, roll), still) for roll in ROLLS}
        rows[name] = {"against_upstream": difference(still, plain), "under_rolls": rolls}
    return rows


def load_base(weights: str) -> PanoSAM2:
    """Upstream's network, with official weights or with random ones in which every part matters."""
    if weights != RANDOM:
        path = fetch_official(weights) if weights in OFFICIAL else Path(weights)
        return load_official(path, INPUT, adapted=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.pt"
        torch.save({"model": upstream_predictor(256).state_dict()}, path)
        return load_official(path, INPUT, adapted=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser("panosam2_ros.evaluation.switches", description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="360 video, folder of images, or image")
    parser.add_argument("--weights", default=RANDOM,
                        help=f"{RANDOM} (tiny), one of {', '.join(OFFICIAL)}, or a .pt file")  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path("out/switches.json"))
    options = parser.parse_args(arguments)
    frames = list(islice(open_frames(options.video), 0, FRAMES * STEP, STEP))
    rows = measure(load_base(options.weights), frames)
    result = {
        "machine": machine("cpu", torch.get_num_threads()),
        "versions": versions(),
        "video": options.video.name,
        "weights": options.weights,
        "input": f"{INPUT[1]}x{INPUT[0]}",
        "frames": len(frames),
        "switches": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, result)
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
