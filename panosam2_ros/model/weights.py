"""Weights of our own format: safetensors files that say in their metadata what they are of."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from panosam2_ros.io.package_files import sha256
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2

ADAPTERS = ("refinement", "long_short", "detail")  # learned parts that the official checkpoints do not have
CONFIG_KEY = "panosam2_config"  # in the file's metadata
NETWORK_KEY = "panosam2_adapters_of"  # in that of a file that holds nothing but ADAPTERS


def load_weights(path: Path) -> PanoSAM2:
    """The model that a file describes and fills, on the CPU; raises as ``build_model``."""
    metadata, state = _read_safetensors(path)
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


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def save_weights(model: PanoSAM2, path: Path) -> None:
    """Write weights and architecture; the file appears whole or not at all."""
    partial = path.with_suffix(".part")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, partial, {CONFIG_KEY: model.config.to_json()})
    partial.rename(path)


def save_adapters(model: PanoSAM2, path: Path) -> None:
    """Write PanoSAM2's learned parts alone; the file appears whole or not at all."""
    partial = path.with_suffix(".part")
    save_file(adapter_state(model), partial, {NETWORK_KEY: model.config.name})
    partial.rename(path)


def load_adapters(model: PanoSAM2, path: Path) -> None:
    """Fill PanoSAM2's learned parts from what ``save_adapters`` wrote; raises as ``build_model``."""
    metadata, state = _read_safetensors(path)
    if (network := metadata.get(NETWORK_KEY)) != model.config.name:
        found = f"adapters of {network}" if network else "no adapters"
        raise ValueError(f"{path} holds {found}; needed are adapters of {model.config.name}")
    wanted = {name: tensor.shape for name, tensor in adapter_state(model).items()}
    if {name: tensor.shape for name, tensor in state.items()} != wanted:
        raise ValueError(
            f"{path} does not fit: it has {sorted(state)}, the network {sorted(wanted)}, or in other shapes"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)


def adapter_state(model: PanoSAM2) -> dict[str, torch.Tensor]:
    """The state of PanoSAM2's learned parts."""
    state = model.state_dict()
    return {name: x.contiguous() for name, x in state.items() if name.split(".")[0] in ADAPTERS}


def check_manifest(path: Path) -> None:
    """The embedded weights are those that the manifest beside them describes."""
    expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
    if (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its manifest says {expected}: the file was changed or "
            "cut short; install the package again"
        )
