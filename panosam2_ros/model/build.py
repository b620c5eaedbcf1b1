"""Weights: the only file that reads them. Name or path -> a model, loaded strictly."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from panosam2_ros.io.package_files import package_file, sha256
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import ConvTrunk, fold_batch_norm
from panosam2_ros.model.official import OFFICIAL, fetch_official, official_config
from panosam2_ros.model.panosam2 import PanoSAM2

EMBEDDED = "panosam2_nano"
ADAPTERS = ("refinement", "long_short", "detail")  # learned parts that the official checkpoints do not have
CONFIG_KEY = "panosam2_config"  # in the file's metadata
NETWORK_KEY = "panosam2_adapters_of"  # in that of a file that holds nothing but ADAPTERS
# What torch.load and looking into the result raise for files that are something else.
_DAMAGED = (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError)
OFFICIAL_SIZE = (448, 896)  # H, W: no window of the trunks of up to base_plus needs padding


def build_model(
    name_or_path: str = EMBEDDED,
    device: str = "auto",
    precision: str = "auto",
    adapters: str = "",
    compiled: bool = False,
) -> PanoSAM2:
    """A model ready for inference.

    ``name_or_path``: ``panosam2_nano``, which ships inside this package; ``sam2.1_hiera_tiny``,
    ``_small``, ``_base_plus`` or ``_large``, fetched when first used; a ``.safetensors`` file that
    the training wrote; or a ``.pt`` file in SAM 2.1's format. ``device``: ``auto`` (CUDA where
    there is one), ``cpu``, ``cuda``. ``precision``: ``float32``, ``bfloat16`` (autocast), or ``auto``:
    bfloat16 where the device is good at it and the network is large enough to gain. ``adapters``: a
    file of PanoSAM2's learned parts, for an official network. ``compiled``: by torch.compile, at
    once; needs a C++ compiler.

    Raises ValueError for an unknown name or device and for a file that is not a model's,
    FileNotFoundError where there is no such file, ConnectionError where one cannot be fetched,
    RuntimeError where it cannot be compiled.
    """
    chosen = select_device(device)
    model = load_model(name_or_path)
    if adapters:
        path = Path(adapters).expanduser()
        load_adapters(model, path)
        model.weights_sha256 += f"+{sha256(path)}"
    model = model.to(chosen).eval().requires_grad_(False)
    small = isinstance(model.image_encoder.trunk, ConvTrunk)
    if small:
        fold_batch_norm(model.image_encoder.trunk)
    model.compute_in(select_dtype(precision, chosen, small))
    if compiled:
        compile_trunk(model)
    return model


@torch.inference_mode()
def compile_trunk(model: PanoSAM2) -> None:
    """Compile what sees tensors of one shape only, and run it once; RuntimeError where that fails.

    Of search regions there are as many as objects, so that shapes differ in that alone.
    """
    trunk, dynamic = model.image_encoder.trunk, model.config.regions
    trunk.compile(dynamic=dynamic)
    if isinstance(trunk, ConvTrunk):  # which is entered behind its stem where masks are made at stride 2
        trunk.from_stem = torch.compile(trunk.from_stem, dynamic=dynamic)  # type: ignore[method-assign]
    try:
        with model.precision():
            model.encode_image(torch.zeros(1, 3, *model.input_size, device=model.device))
    except Exception as error:  # torch's compilers raise what they like
        raise RuntimeError(
            "the network could not be compiled (torch.compile needs a C++ compiler, on CUDA Triton; "
            f"compile: false does without): {type(error).__name__}: {error}"
        ) from error


def select_dtype(precision: str, device: torch.device, small: bool) -> torch.dtype:
    """The type that a parameter names; ValueError for another word.

    ``small``: a network that spends its time elsewhere than in matrix products (measured: panosam2_nano).
    """
    if precision == "auto":
        good = device.type == "cuda" or has_fast_bfloat16()
        precision = "bfloat16" if good and not small else "float32"
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"unknown precision {precision!r}: give auto, float32 or bfloat16")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def has_fast_bfloat16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware: AVX512-BF16, AMX, or Arm's bf16."""
    if not cpu_info.exists():
        return False
    words = set(cpu_info.read_text().split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def load_model(name_or_path: str) -> PanoSAM2:
    """The network of a name or file, on the CPU, as ``build_model`` knows them; raises as it does."""
    if name_or_path == EMBEDDED:
        path = package_file("models", f"{EMBEDDED}.safetensors")
        _check_manifest(path)
    elif name_or_path in OFFICIAL:
        path = fetch_official(name_or_path)
    else:
        path = Path(name_or_path).expanduser()
    if path.suffix not in (".safetensors", ".pt"):
        raise ValueError(
            f"unknown model {name_or_path!r}: give {EMBEDDED!r}, one of {', '.join(OFFICIAL)}, or the path "
            "of a .safetensors or .pt file"
        )
    model = load_official(path, OFFICIAL_SIZE) if path.suffix == ".pt" else load_weights(path)
    model.weights_sha256 = sha256(path)
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


def reconfigured(model: PanoSAM2, changes: Mapping[str, Any]) -> PanoSAM2:
    """The network with other values in its config: PanoSAM2's parts come new or go, all else stays.

    Raises ValueError for unknown values and for those with which the weights would not fit.
    """
    if not changes:
        return model
    config = ModelConfig.from_json(json.dumps({**json.loads(model.config.to_json()), **changes}))
    changed = random_model(0, config)
    new, old = _adapters(changed), model.state_dict()
    kept = {name: value for name, value in old.items() if name in new or name.split(".")[0] not in ADAPTERS}
    try:
        changed.load_state_dict(new | kept)
    except RuntimeError as error:
        raise ValueError(f"the weights of {model.config.name} do not fit {dict(changes)}: {error}") from error
    return changed


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


def load_official(path: Path, input_size: tuple[int, int], adapted: bool = True) -> PanoSAM2:
    """A checkpoint in SAM 2.1's format, on the CPU, for an input of (H, W); see ``official_config``."""
    state = _read_checkpoint(path)
    name = _variant(state)
    if name is None:
        raise ValueError(f"{path} holds none of the networks {', '.join(OFFICIAL)}")
    model = PanoSAM2(official_config(name, *input_size, adapted))
    try:
        model.load_state_dict(state | _adapters(model))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {name}: {error}") from error
    return model


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """The state dict of a file in SAM 2.1's format."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(content["model"])
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not a checkpoint of SAM 2.1 (a dictionary with the state under 'model'), or is "
            f"damaged: {type(error).__name__}: {error}"
        ) from error


def _variant(state: dict[str, Any]) -> str | None:
    """Which of the official networks a state dict is of: they differ in width and depth."""
    stem = "image_encoder.trunk."
    if f"{stem}pos_embed" not in state:
        return None
    width = state[f"{stem}pos_embed"].shape[1]
    blocks = {key.removeprefix(f"{stem}blocks.").split(".")[0] for key in state if f"{stem}blocks." in key}
    for name in OFFICIAL:
        config = official_config(name, *OFFICIAL_SIZE)
        if (config.trunk_channels[0], sum(config.trunk_blocks)) == (width, len(blocks)):
            return name
    return None


def save_weights(model: PanoSAM2, path: Path) -> None:
    """Write weights and architecture; the file appears whole or not at all."""
    partial = path.with_suffix(".part")
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, partial, {CONFIG_KEY: model.config.to_json()})
    partial.rename(path)


def save_adapters(model: PanoSAM2, path: Path) -> None:
    """Write PanoSAM2's learned parts alone; the file appears whole or not at all."""
    partial = path.with_suffix(".part")
    save_file(_adapters(model), partial, {NETWORK_KEY: model.config.name})
    partial.rename(path)


def load_adapters(model: PanoSAM2, path: Path) -> None:
    """Fill PanoSAM2's learned parts from what ``save_adapters`` wrote; raises as ``build_model``."""
    metadata, state = _read_safetensors(path)
    if (network := metadata.get(NETWORK_KEY)) != model.config.name:
        found = f"adapters of {network}" if network else "no adapters"
        raise ValueError(f"{path} holds {found}; needed are adapters of {model.config.name}")
    wanted = {name: tensor.shape for name, tensor in _adapters(model).items()}
    if {name: tensor.shape for name, tensor in state.items()} != wanted:
        raise ValueError(
            f"{path} does not fit: it has {sorted(state)}, the network {sorted(wanted)}, or in other shapes"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, strict=False)


def _adapters(model: PanoSAM2) -> dict[str, torch.Tensor]:
    """The state of PanoSAM2's learned parts."""
    state = model.state_dict()
    return {name: x.contiguous() for name, x in state.items() if name.split(".")[0] in ADAPTERS}


def _check_manifest(path: Path) -> None:
    """The embedded weights are those that the manifest beside them describes."""
    expected = json.loads(path.with_suffix(".json").read_text())["sha256"]
    if (found := sha256(path)) != expected:
        raise ValueError(
            f"{path} has SHA-256 {found}, its manifest says {expected}: the file was changed or "
            "cut short; install the package again"
        )
