"""Export of a run's averaged weights into the package's folder of models, with a manifest of their training.

``python -m panosam2_ros.training.export --run runs/nano --config config/train/nano.yaml``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from panosam2_ros.io.package_files import package_file, sha256
from panosam2_ros.model.build import reconfigured
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.weights import load_weights, save_weights
from panosam2_ros.synthetic.npm_assets import VERSIONS
from panosam2_ros.training.curriculum import read_config

PAUSE = 60.0  # s between two steps from which on the run was interrupted
CURVE_STEPS = 50  # steps that make one point of the curve


def training_hours(entries: list[dict[str, Any]]) -> float:
    """Return the time spent on steps, h, without pauses between sessions."""
    times = [entry["time"] for entry in entries]
    gaps = [b - a for a, b in pairwise(times)]
    return sum(gap for gap in gaps if gap < PAUSE) / 3600


def training_curve(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean training IoU of the first and last frames of clips, for every ``CURVE_STEPS`` steps."""
    points: dict[tuple[str, int], list[list[float]]] = {}
    for entry in entries:
        points.setdefault((entry["stage"], entry["step"] // CURVE_STEPS), []).append(entry["frame_iou"])
    return [
        {
            "stage": stage,
            "step": CURVE_STEPS * block,
            "iou_first": round(sum(iou[0] for iou in ious) / len(ious), 4),
            "iou_last": round(sum(iou[-1] for iou in ious) / len(ious), 4),
        }
        for (stage, block), ious in points.items()
    ]


def mix_weights(model: PanoSAM2, others: Sequence[tuple[PanoSAM2, float]]) -> PanoSAM2:
    """Set a model's weights to the weighted mean of its own and others', each with its share.

    Weights that others lack stay. Stages that went different ways from one start are good at different
    things, and their mean is often better at both: Wortsman et al. 2022, arXiv 2203.05482. Return the model;
    raise ValueError where the shares do not add up to 0..1.
    """
    if not 0 <= sum(share for _, share in others) <= 1:
        shares = [share for _, share in others]
        raise ValueError(f"shares of other weights must add up to 0..1, got {shares}")
    before = model.state_dict()
    state = {name: value.clone() for name, value in before.items()}
    for other, share in others:
        for name, value in other.state_dict().items():
            if name in state and value.is_floating_point():
                state[name] += share * (value - before[name])
    model.load_state_dict(state)
    return model


def with_prompt_head(model: PanoSAM2, source: PanoSAM2, zoom: float) -> PanoSAM2:
    """Return a network with a prompt head of another one's parts, for looks of ``zoom`` times the view.

    Raises ValueError for a zoom outside of 0..1, RuntimeError where the parts do not fit.
    """
    headed = reconfigured(model, {"prompt_zoom": zoom})
    if headed.prompt_head is None:
        raise ValueError(f"looks of a prompt head have a zoom below 1, got {zoom}")
    headed.prompt_head.copy_from(source)
    return headed


def add_previous_training(manifest: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with the training ``before``, of the weights that the run started from."""
    return manifest | {
        "hours": round(before["hours"] + manifest["hours"], 2),
        "steps": before["steps"] + manifest["steps"],
        "curve": [*before["curve"], *manifest["curve"]],
    }


def add_prompt_head(manifest: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest ``before``, of weights that got a prompt head, with the training of the head."""
    of_file = ("sha256", "bytes", "parameters", "date")
    head = {key: value for key, value in manifest.items() if key not in ("name", *of_file)}
    return before | {key: manifest[key] for key in of_file} | {"prompt_head": head}


def export_weights(
    run: Path,
    config: Path,
    models: Path,
    *,
    others: Mapping[Path, float] | None = None,
    after: Path | None = None,
    head_of: tuple[Path, float] | None = None,
) -> Path:
    """Write the weights of a run into ``models``, configured as ``config`` says; return the manifest's path.

    ``others``: shares of other weights to mix in, by file; ``after``: the manifest of the weights that the
    run started from; ``head_of``: the weights, in the place of the run's, that get a prompt head of the run's
    parts, and the field of view of its looks, a share of a region's.
    """
    before = None if after is None else json.loads(after.read_text())  # before it may be overwritten
    models.mkdir(parents=True, exist_ok=True)
    changes = read_config(config).model
    name = changes.get("name", ModelConfig().name)
    target = models / f"{name}.safetensors"
    shares = others or {}
    model = mix_weights(
        load_weights(run / target.name), [(load_weights(path), share) for path, share in shares.items()]
    )
    if head_of is not None:
        model = with_prompt_head(load_weights(head_of[0]), model, head_of[1])
    model = reconfigured(model, changes if head_of is None else {})
    save_weights(model, target)
    manifest = _manifest(model, target, run, config)
    manifest["shares_of_other_weights"] = {sha256(path): share for path, share in shares.items()}
    if before is not None:
        manifest = (add_previous_training if head_of is None else add_prompt_head)(manifest, before)
    path = target.with_suffix(".json")
    path.write_text(json.dumps(manifest, indent=1) + "\n")
    return path


def _manifest(model: PanoSAM2, weights: Path, run: Path, config: Path) -> dict[str, Any]:
    """Describe exported weights and the run that they come from."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    processes = max(entry["processes"] for entry in entries)
    launcher = f"torchrun --nproc-per-node {processes}" if processes > 1 else "python"
    return {
        "name": model.config.name,
        "sha256": sha256(weights),
        "bytes": weights.stat().st_size,
        "parameters": sum(p.numel() for p in model.parameters()),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "command": f"{launcher} -m panosam2_ros.training.train --config {config}",
        "shares_of_other_weights": {},
        "config": yaml.safe_load(config.read_text()),
        "sources": VERSIONS,
        "torch": torch.__version__,
        "hours": round(training_hours(entries), 2),
        "steps": len({(entry["stage"], entry["step"]) for entry in entries}),  # some twice after a kill
        "curve": training_curve(entries),
    }


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder that the training wrote")
    parser.add_argument("--config", type=Path, required=True, help="recipe of the training")
    parser.add_argument("--models", type=Path, help="default: the package's own folder of models")
    parser.add_argument("--mix", nargs=2, action="append", default=[], metavar=("WEIGHTS", "SHARE"),
                        help="mix in the weights of another stage or seed; may be repeated")  # fmt: skip
    parser.add_argument("--head-of", nargs=2, metavar=("WEIGHTS", "ZOOM"),
                        help="export these weights, with a prompt head of the run's parts for looks of ZOOM "
                        "times a region's field of view")  # fmt: skip
    parser.add_argument("--after", type=Path, help="manifest of the weights that the run started from")
    options = parser.parse_args(arguments)
    models = options.models or package_file("models")
    others = {Path(path): float(share) for path, share in options.mix}
    head_of = (Path(options.head_of[0]), float(options.head_of[1])) if options.head_of else None
    made = export_weights(
        options.run, options.config, models, others=others, after=options.after, head_of=head_of
    )
    print(made)


if __name__ == "__main__":
    main()
