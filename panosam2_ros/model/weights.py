"""Weights in our own format: safetensors files whose metadata contain the architecture."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from panosam2_ros.io.package_files import sha256
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2

ADAPTERS = (
    "refinement",
    "long_short",
    "detail",
    "matching",
    "identity_check",
    "prompt_head",
)  # learned parts that the official checkpoints do not have
CONFIG_KEY = "panosam2_config"  # in the metadata of a file of weights
NETWORK_KEY = "panosam2_adapters_of"  # in the metadata of a file of ADAPTERS alone


def load_weights(path: Path) -> PanoSAM2:
    """Load the network of a file to the CPU, in float32; the errors are those of ``build_model``."""
    metadata, state = read_safetensors(path)
    if CONFIG_KEY not in metadata:
        raise ValueError(
            f"{path} does not name which model it is for (no {CONFIG_KEY!r} in its metadata); "
            "use a file written by panosam2_ros.training.train"
        )
    model = PanoSAM2(ModelConfig.of_weights(metadata[CONFIG_KEY]))
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model in its metadata: {error}") from error
    return model


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Read metadata and tensors of a file; the errors are those of ``build_model``."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            return file.metadata() or {}, {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a complete safetensors file: {error}") from error


def safetensors_names(path: Path) -> list[str]:
    """Return the names of a file's tensors; none for a damaged file."""
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except SafetensorError:
        return []


def save_weights(model: PanoSAM2, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write weights, as ``dtype``, and architecture atomically.

    Raises ValueError for weights that are too large for ``dtype``.
    """
    _save(model.state_dict(), path, {CONFIG_KEY: model.config.to_json()}, dtype)


def save_adapters(model: PanoSAM2, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write PanoSAM2's learned parts alone, as ``dtype``, atomically.

    Raises ValueError for weights that are too large for ``dtype``.
    """
    _save(adapter_state(model), path, {NETWORK_KEY: model.config.name}, dtype)


def _save(state: dict[str, torch.Tensor], path: Path, metadata: dict[str, str], dtype: torch.dtype) -> None:
    """Write tensors atomically, those of floating point as ``dtype``."""
    converted = {name: x.to(dtype) if x.is_floating_point() else x for name, x in state.items()}
    if lost := [name for name, x in state.items() if not torch.equal(x.isinf(), converted[name].isinf())]:
        raise ValueError(f"{lost} have values too large for {dtype}: save them with dtype=torch.float32")
    partial = path.with_suffix(".part")
    save_file({name: x.contiguous() for name, x in converted.items()}, partial, metadata)
    partial.rename(path)


def load_adapters(model: PanoSAM2, path: Path) -> None:
    """Load PanoSAM2's learned parts from a file of ``save_adapters``.

    The errors are those of ``build_model``.
    """
    metadata, state = read_safetensors(path)
    if (network := metadata.get(NETWORK_KEY)) != model.config.name:
        found = f"adapters of {network}" if network else "no adapters"
        raise ValueError(f"{path} holds {found}; needed are adapters of {model.config.name}")
    wanted = {name: tensor.shape for name, tensor in adapter_state(model).items()}
    if {name: tensor.shape for name, tensor in state.items()} != wanted:
        raise ValueError(
            f"{path} does not fit: it has {sorted(state)}, the network {sorted(wanted)}, or the shapes differ"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)


def adapter_state(model: PanoSAM2) -> dict[str, torch.Tensor]:
    """Return the state of PanoSAM2's learned parts."""
    state = model.state_dict()
    return {name: x.contiguous() for name, x in state.items() if name.split(".")[0] in ADAPTERS}


def check_manifest(path: Path) -> None:
    """Check a file of weights against the manifest beside it; raise ValueError where its SHA-256 differs."""
    expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
    if (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its manifest says {expected}: the file was changed or "
            "cut short; install the package again"
        )
