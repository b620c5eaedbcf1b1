"""Weights: the only file that reads them. Name or path -> a model, loaded strictly."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import fold_batch_norm
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.resources import resource, sha256

EMBEDDED = "panosam2_nano"
CONFIG_KEY = "panosam2_config"  # in the file's metadata


def build_model(name_or_path: str = EMBEDDED, device: str = "auto") -> PanoSAM2:
    """A model ready for inference.

    ``name_or_path``: ``panosam2_nano``, which ships inside this package, or a ``.safetensors``
    file that the training wrote. ``device``: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``.

    Raises ValueError for an unknown name or device and for a file that is not a model's,
    FileNotFoundError where there is no such file.
    """
    if name_or_path == EMBEDDED:
        path = resource("models", f"{EMBEDDED}.safetensors")
        _check_manifest(path)
    else:
        path = Path(name_or_path).expanduser()
        if path.suffix != ".safetensors":
            raise ValueError(
                f"unknown model {name_or_path!r}: give {EMBEDDED!r} or the path of a .safetensors file"
            )
    model = load_weights(path).to(select_device(device)).eval().requires_grad_(False)
    fold_batch_norm(model.image_encoder.trunk)
    return model


def select_device(device: str) -> torch.device:
    """The device that a parameter names; ValueError where it cannot be had."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: give auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} asked for, but torch sees no CUDA device; use auto or cpu")
    return chosen


def random_model(seed: int = 0, config: ModelConfig | None = None) -> PanoSAM2:
    """Random weights, of ``panosam2_nano`` unless another config is given; needs no file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PanoSAM2(config or ModelConfig())


def load_weights(path: Path) -> PanoSAM2:
    """The model that a file describes and fills, on the CPU; raises as ``build_model``."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error
    if CONFIG_KEY not in metadata:
        raise ValueError(
            f"{path} does not say which model it is for (no {CONFIG_KEY!r} in its metadata); "
            "use a file written by panosam2_ros.training.train"
        )
    model = PanoSAM2(ModelConfig.from_json(metadata[CONFIG_KEY]))
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model that it describes: {error}") from error
    return model


def save_weights(model: PanoSAM2, path: Path) -> None:
    """Write weights and architecture; the file appears whole or not at all."""
    partial = path.with_suffix(".part")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, partial, {CONFIG_KEY: model.config.to_json()})
    partial.rename(path)


def _check_manifest(path: Path) -> None:
    """The embedded weights are those that the manifest beside them describes."""
    expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
    if (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its manifest says {expected}: the file was changed or "
            "cut short; install the package again"
        )
