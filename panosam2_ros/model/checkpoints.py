"""Official checkpoints of SAM 2.1 and EdgeTAM: their architectures, download, cache and strict loading."""

from __future__ import annotations

import os
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from panosam2_ros.io.download import download
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.transformers_names import from_transformers, has_transformers_names
from panosam2_ros.model.weights import adapter_state, read_safetensors, safetensors_names

OFFICIAL_SIZE = (448, 448)  # H, W of search regions: no window of the trunks of up to base_plus needs padding
_PANORAMA_HEIGHT = 448  # of the input for whole panoramas
EDGETAM, EDGETAM_SIZE = "edgetam", (1024, 1024)  # the size that it was trained with
SOURCE = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
# Meta's repository of EdgeTAM on Hugging Face, at the revision whose file the SHA-256 below is of
_EDGETAM_SOURCE = "https://huggingface.co/facebook/EdgeTAM/resolve/f3a09791b2343c0733d456d08d73771d9363b69a/"
SOURCE_VARIABLE, CACHE_VARIABLE = "PANOSAM2_WEIGHTS_URL", "PANOSAM2_CACHE"

_SHOWN_NAMES = 5  # of tensors, in a message
# What torch.load and reading its result raise for files of another kind.
_DAMAGED = (RuntimeError, OSError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True)
class OfficialWeights:
    """A published file."""

    file_name: str
    sha256: str
    bytes: int | None  # None: unknown
    source: str = SOURCE  # the address of its folder


OFFICIAL = {
    "sam2.1_hiera_tiny": OfficialWeights(
        "sam2.1_hiera_tiny.pt",
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        156_008_466,
    ),
    "sam2.1_hiera_small": OfficialWeights(
        "sam2.1_hiera_small.pt",
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        None,
    ),
    "sam2.1_hiera_base_plus": OfficialWeights(
        "sam2.1_hiera_base_plus.pt",
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        None,
    ),
    "sam2.1_hiera_large": OfficialWeights(
        "sam2.1_hiera_large.pt",
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        None,
    ),
    # size and SHA-256 as several public projects state them that pinned this file and had downloaded it
    EDGETAM: OfficialWeights(
        "edgetam.pt",
        "ed2d4850b8792c239689b043c47046ec239b6e808a3d9b6ae676c803fd8780df",
        56_116_523,
        _EDGETAM_SOURCE,
    ),
}
# What all official networks have in common: upstream's SAM2 without its trunk and input size.
_SAM2 = ModelConfig(
    trunk="hiera",
    hidden_dim=256,
    memory_dim=64,
    attention_layers=4,
    attention_downsample=1,
    attention_mlp=2048,
    fuser_layers=2,
    fuser_scale=1e-6,
    decoder_mlp=2048,
    decoder_heads=8,
    slots=7,
    memory_mask_stride=16,
    memory_dtype="bfloat16",
    previous_mask_prompt=False,
    draw_prompts=False,
    prompt_logit=32.0,
    sam2_masks=True,
    wrap=False,
    canonical_yaw=False,
    rotary="axial",
    position_code="sine",
    remember_absent=True,
    remember_settled=False,
    align_memory=False,
)


_EDGETAM = replace(
    _SAM2,
    name=EDGETAM,
    input_height=EDGETAM_SIZE[0],
    input_width=EDGETAM_SIZE[1],
    regions=True,  # its memory needs a square input
    trunk="repvit",
    trunk_channels=(48, 96, 192, 384),
    trunk_blocks=(2, 2, 14, 2),
    attention_layers=2,
    memory_tokens="latents",
    absent_code=False,
    pointer_times=False,
)


@dataclass(frozen=True)
class _Trunk:
    """The dimensions of a Hiera trunk."""

    channels: int  # of the first stage
    heads: int  # of the first stage
    blocks: tuple[int, ...]  # of each stage
    global_blocks: tuple[int, ...]  # with global attention
    windows: tuple[int, ...] = (8, 4, 14, 7)  # tokens, of each stage
    background: tuple[int, int] = (7, 7)  # size of the learned position map


_TRUNKS = {
    "tiny": _Trunk(96, 1, (1, 2, 7, 2), (5, 7, 9)),
    "small": _Trunk(96, 1, (1, 2, 11, 2), (7, 10, 13)),
    "base_plus": _Trunk(112, 2, (2, 3, 16, 3), (12, 16, 20), background=(14, 14)),
    "large": _Trunk(144, 2, (2, 6, 36, 4), (23, 33, 43), windows=(8, 4, 16, 8)),
}


def official_config(name: str, height: int, width: int, *, adapted: bool = True) -> ModelConfig:
    """Return the architecture of an official checkpoint at an input size.

    ``adapted``: with what is ours: a square input is a search region, any other one a panorama, with wrapped
    convolutions and resizing and in canonical yaw; learned parts, which change nothing before they are
    trained. Lost objects are searched for on the whole sphere. The rules of memory are upstream's. Without,
    it is upstream's SAM2. EdgeTAM sees nothing but search regions. Raises KeyError for a name that is not in
    ``OFFICIAL``, and ValueError for a size that the network cannot take.
    """
    if name == EDGETAM:
        config = replace(_EDGETAM, input_height=height, input_width=width)
        return _searching(config) if adapted else config
    trunk = _TRUNKS[name.removeprefix("sam2.1_hiera_")]
    config = replace(
        _SAM2,
        name=name,
        input_height=height,
        input_width=width,
        trunk_channels=tuple(trunk.channels * 2**stage for stage in range(4)),
        trunk_blocks=trunk.blocks,
        hiera_heads=trunk.heads,
        hiera_global_blocks=trunk.global_blocks,
        hiera_windows=trunk.windows,
        hiera_background=trunk.background,
    )
    return _adapted(config) if adapted else config


def _adapted(config: ModelConfig) -> ModelConfig:
    """Add what is ours to the architecture of upstream's SAM2."""
    return replace(
        _searching(config),
        regions=config.input_height == config.input_width,
        panorama_height=_PANORAMA_HEIGHT,
        wrap=True,
        canonical_yaw=True,
        refine_steps=3,
        long_pointer=True,
    )


def _searching(config: ModelConfig) -> ModelConfig:
    """Let colours propose where lost objects may be; they change no mask. Values: the small network's."""
    return replace(config, colour_search=0.7, colour_learning=0.05, colour_iou=0.7)


def cache_directory() -> Path:
    """Return the folder of downloaded checkpoints: ``PANOSAM2_CACHE``, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "panosam2_ros"


def fetch_official(name: str) -> Path:
    """Return the checked file of an official checkpoint, after downloading it if it is not in the cache.

    Raises ValueError for an unknown name, and the errors of ``download``.
    """
    if name not in OFFICIAL:
        raise ValueError(f"unknown checkpoint {name!r}: there are {', '.join(OFFICIAL)}")
    wanted = OFFICIAL[name]
    path = cache_directory() / wanted.file_name
    url = os.environ.get(SOURCE_VARIABLE, wanted.source) + wanted.file_name
    hint = f"folder: environment variable {CACHE_VARIABLE}"
    download(url, path, wanted.sha256, size=wanted.bytes, hint=hint)
    return path


def load_official(path: Path, input_size: tuple[int, int] | None = None, *, adapted: bool = True) -> PanoSAM2:
    """Load an official checkpoint to the CPU, for an input of (H, W); see ``official_config``.

    Args:
        path: a ``.pt`` file in SAM 2.1's or EdgeTAM's format, or a ``.safetensors`` file of transformers.
        input_size: None for the default of the network that the file holds.
        adapted: with what is ours.

    Raises FileNotFoundError for a file that does not exist, and ValueError for one of another kind.
    """
    state = _read_checkpoint(path)
    name = _variant(state)
    if name is None:
        raise ValueError(f"{path} holds none of the networks {', '.join(OFFICIAL)}")
    size = input_size or (EDGETAM_SIZE if name == EDGETAM else OFFICIAL_SIZE)
    model = PanoSAM2(official_config(name, *size, adapted=adapted))
    state = adapter_state(model) | state
    _check_fit(path, name, state, model.state_dict())
    model.load_state_dict(state)
    return model


def is_official(path: Path) -> bool:
    """Tell whether a file is in a format of ``load_official``; what it holds may still be another network."""
    if path.suffix != ".safetensors" or not path.is_file():
        return path.suffix == ".pt"
    return has_transformers_names(safetensors_names(path))


def _read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a file, with the names of SAM 2.1's format."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    if path.suffix == ".safetensors":
        return from_transformers(read_safetensors(path)[1])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(content["model"])
    except _DAMAGED as error:
        raise ValueError(
            f"{path} is not a checkpoint of SAM 2.1 or EdgeTAM (a dictionary with the state under 'model'), "
            f"or is damaged: {type(error).__name__}: {error}"
        ) from error


def _variant(state: Mapping[str, Tensor]) -> str | None:
    """Find the official network of a state dict by its width and depth; None for no official network."""
    stem = "image_encoder.trunk."
    if f"{stem}body.stages_3.blocks.0.token_mixer.conv.c.weight" in state:
        return EDGETAM
    if f"{stem}pos_embed" not in state:
        return None
    width = state[f"{stem}pos_embed"].shape[1]
    blocks = {key.removeprefix(f"{stem}blocks.").split(".")[0] for key in state if f"{stem}blocks." in key}
    for name in _TRUNKS:
        trunk = _TRUNKS[name]
        if (trunk.channels, sum(trunk.blocks)) == (width, len(blocks)):
            return f"sam2.1_hiera_{name}"
    return None


def _check_fit(path: Path, name: str, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError where a file has other tensors than a network, or others of the same name."""
    shapes = {
        f"{key} {tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in state.keys() & wanted.keys()
        if state[key].shape != wanted[key].shape
    }
    found = {
        "it lacks": wanted.keys() - state.keys(),
        "it has what nothing uses:": state.keys() - wanted.keys(),
        "other shapes:": shapes,
    }
    faults = [f"{what} {_some(names)}" for what, names in found.items() if names]
    if faults:
        raise ValueError(
            f"{path} does not fit {name} (tensors are named as in SAM 2's own format): {'; '.join(faults)}"
        )


def _some(names: Collection[str]) -> str:
    """Return the first names in alphabetical order, and how many there are."""
    shown = sorted(names)[:_SHOWN_NAMES]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
