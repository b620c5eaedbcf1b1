"""Construction of networks from the name or the path of their weights, ready for inference."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from panosam2_ros.io.package_files import package_file, sha256
from panosam2_ros.model.checkpoints import OFFICIAL, fetch_official, is_official, load_official
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.cpu_convolution import pack_convolutions
from panosam2_ros.model.image_encoder import fold_batch_norm
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.weights import ADAPTERS, adapter_state, check_manifest, load_adapters, load_weights

EMBEDDED = "panosam2_mobile"  # the default
PACKAGED = (EMBEDDED, "panosam2_nano")  # networks whose weights are part of this package


def build_model(
    name_or_path: str = EMBEDDED,
    *,
    device: str = "auto",
    precision: str = "auto",
    adapters: str = "",
    region_size: int = 0,
    compiled: bool = False,
) -> PanoSAM2:
    """Load a network, ready for inference.

    Args:
        name_or_path: ``panosam2_mobile`` or ``panosam2_nano``, which are part of this package;
            ``sam2.1_hiera_tiny``, ``_small``, ``_base_plus``, ``_large`` or ``edgetam``, downloaded when
            first used; a ``.pt`` file in SAM 2.1's or EdgeTAM's format; or a ``.safetensors`` file that the
            training wrote, or of Hugging Face's ``Sam2VideoModel`` or ``EdgeTamVideoModel``.
        device: ``auto`` (CUDA where it is available), ``cpu`` or ``cuda``.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto``: bfloat16 where the device computes it
            fast and the network is large enough to gain.
        adapters: a file of PanoSAM2's learned parts, for an official network.
        region_size: side of the search regions that the network sees, pixels, a multiple of 32, for EdgeTAM
            of 256; 0: 448 for SAM 2.1, else the size that the network was trained with (EdgeTAM: 1024).
        compiled: compile the trunk now by torch.compile; needs a C++ compiler.

    Raises:
        ValueError: for an unknown name or device, a file that holds no model, and a wrong region_size; for
            official weights it names the tensors that are missing or unknown.
        FileNotFoundError: for a file that does not exist.
        ConnectionError: for weights that cannot be downloaded.
        RuntimeError: for a network that cannot be compiled.
    """
    chosen = select_device(device)
    model = load_model(name_or_path)
    if region_size:
        model = model.for_regions(region_size)
    if adapters:
        path = Path(adapters).expanduser()
        load_adapters(model, path)
        model.weights_sha256 += f"+{sha256(path)}"
    model = model.to(chosen).eval().requires_grad_(False)
    fold_batch_norm(model.image_encoder.trunk)
    if model.is_small and chosen.type == "cpu":
        model.image_encoder.trunk.to(memory_format=torch.channels_last)  # 1.5 times as fast
        pack_convolutions(model)
    model.compute_in(select_dtype(precision, chosen, small=model.is_small))
    if compiled:
        compile_trunk(model)
    return model


@torch.inference_mode()
def compile_trunk(model: PanoSAM2) -> None:
    """Compile the trunk, whose tensors have fixed shapes, and run it once.

    With search regions the batch size is the number of objects, the only dimension that varies. Raises
    RuntimeError where the compilation fails.
    """
    trunk, dynamic = model.image_encoder.trunk, model.config.regions
    trunk.compile(dynamic=dynamic)
    if model.config.has_stem:  # with masks at stride 2 the stem is called separately
        trunk.from_stem = torch.compile(trunk.from_stem, dynamic=dynamic)
    try:
        with model.precision():
            model.encode_image(torch.zeros(1, 3, *model.input_size, device=model.device))
    except Exception as error:  # torch's compilers raise exceptions of many types
        raise RuntimeError(
            "the network could not be compiled (torch.compile needs a C++ compiler, on CUDA Triton; "
            f"set compile: false to do without): {type(error).__name__}: {error}"
        ) from error


def select_dtype(precision: str, device: torch.device, *, small: bool) -> torch.dtype:
    """Return the type that a parameter names; raise ValueError for an unknown name.

    ``small``: the network spends little of its time in matrix products (measured: panosam2_nano).
    """
    if precision == "auto":
        good = device.type == "cuda" or has_fast_bfloat16()
        precision = "bfloat16" if good and not small else "float32"
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"unknown precision {precision!r}: give auto, float32 or bfloat16")
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


def has_fast_bfloat16(*, cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU multiplies bfloat16 in hardware: AVX512-BF16, AMX, or Arm's bf16."""
    if not cpu_info.exists():
        return False
    words = set(cpu_info.read_text().split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def weights_file(name_or_path: str) -> Path:
    """Return the file of a network, downloaded where needed; the errors are those of ``build_model``."""
    if name_or_path in PACKAGED:
        path = package_file("models", f"{name_or_path}.safetensors")
        check_manifest(path)
        return path
    if name_or_path in OFFICIAL:
        return fetch_official(name_or_path)
    path = Path(name_or_path).expanduser()
    if path.suffix not in (".safetensors", ".pt"):
        raise ValueError(
            f"unknown model {name_or_path!r}: give one of {', '.join((*PACKAGED, *OFFICIAL))}, or the path "
            "of a .safetensors or .pt file"
        )
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    return path


def load_model(name_or_path: str) -> PanoSAM2:
    """Load the network of a name or path to the CPU; arguments and errors are those of ``build_model``."""
    path = weights_file(name_or_path)
    model = load_official(path) if is_official(path) else load_weights(path)
    model.weights_sha256 = sha256(path)
    return model


def select_device(device: str) -> torch.device:
    """Return the device that a parameter names; raise ValueError for one that is not available."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"unknown device {device!r}: give auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was requested, but torch sees no CUDA device; use auto or cpu")
    return chosen


def random_model(seed: int = 0, *, config: ModelConfig | None = None) -> PanoSAM2:
    """Make a network with random weights, by default of the architecture ``panosam2_nano``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PanoSAM2(config or ModelConfig())


def reconfigured(model: PanoSAM2, changes: Mapping[str, Any]) -> PanoSAM2:
    """Return the network with other values in its config; PanoSAM2's learned parts are added or removed.

    Raises ValueError for unknown fields and for values that the weights do not fit.
    """
    if not changes:
        return model
    config = ModelConfig.from_json(json.dumps({**json.loads(model.config.to_json()), **changes}))
    changed = random_model(0, config=config)
    new, old = adapter_state(changed), model.state_dict()
    kept = {name: value for name, value in old.items() if name in new or name.split(".")[0] not in ADAPTERS}
    try:
        changed.load_state_dict(new | kept)
    except RuntimeError as error:
        raise ValueError(f"the weights of {model.config.name} do not fit {dict(changes)}: {error}") from error
    return changed
