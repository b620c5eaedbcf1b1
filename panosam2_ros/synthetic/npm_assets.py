"""Panoramas and sprites of two npm packages: the material of training scenes and of the benchmarks.

``@pmndrs/assets`` 1.7.0 (CC0: 512x256 HDR panoramas, base64 EXR) and ``@lobehub/fluent-emoji-3d`` 1.1.0
(MIT: shaded objects with alpha, 256x256 webp).
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.simulation.assets import (
    BRIGHTEST,
    AssetLibrary,
    Split,
    SpriteSplit,
    refuse_reserved,
    split_of_sprite,
)

PANORAMA_PACKAGE, SPRITE_PACKAGE = "@pmndrs/assets", "@lobehub/fluent-emoji-3d"
SPRITE_FOLDER = "assets"
VERSIONS = {PANORAMA_PACKAGE: "1.7.0", SPRITE_PACKAGE: "1.1.0"}
_LONGEST_REASON = 200  # characters
_LAMP = 4.0  # times the key: what is brighter is a lamp or the sun


def library_from_npm(
    root: Path | str, split: Split, *, reserved: bool = False, sprite_split: SpriteSplit = "name"
) -> AssetLibrary:
    """Read all material of a split from the two unpacked npm packages under ``root``.

    ``reserved=True`` is needed for Split.RESERVED. ``sprite_split``: see split_of_sprite. ``fetch_npm`` fills
    such a folder.
    """
    refuse_reserved(split, reserved=reserved)
    packages = _find_packages(Path(root))
    panoramas = {
        path.name.removesuffix(".exr.js"): path
        for path in sorted((packages[PANORAMA_PACKAGE] / "hdri").glob("*.exr.js"))
    }
    sprites = sprite_files(root)
    return AssetLibrary(
        {k: read_exr_js(p) for k, p in panoramas.items() if Split.of_panorama(k) is split},
        {path.name: path for path in sprites if split_of_sprite(path.name, sprite_split) is split},
        sprite_split=sprite_split,
    )


def sprite_files(root: Path | str) -> list[Path]:
    """List the files of all sprites of all splits, by name, of the unpacked npm package under ``root``."""
    return sorted((_find_packages(Path(root))[SPRITE_PACKAGE] / SPRITE_FOLDER).glob("*.webp"))


def clean_hdr(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return scene-linear RGB [H, W, 3] without inf, nan or negatives, scaled to key 1.

    The key is the geometric mean of the median and the 90th percentile, so that neither a dark room with
    lamps nor a bright sky over shade ends up all black or all white.
    """
    rgb = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=1e4, neginf=0.0)
    median, bright = np.percentile(np.clip(rgb, 0, None), (50, 90))
    rgb /= np.float32(max(float(np.sqrt(median * bright)), 1e-6))
    # lamps and the sun are ringed by black, and the sun has black channels: the resampling of the
    # sources overshot there; such pixels get their glare
    glare = cv2.dilate(rgb.max(-1), np.ones((7, 7), np.uint8))
    ringing = (glare > _LAMP) & (rgb.min(-1) <= 1e-3)
    rgb[ringing] = glare[ringing][:, None]
    return np.asarray(np.clip(rgb, 0, BRIGHTEST), np.float32)


def read_exr_js(path: Path) -> NDArray[np.float32]:
    """Read one HDR panorama [H, W, 3] of the npm package: a base64 EXR inside a JavaScript module."""
    import OpenEXR  # only needed for the packages, not for what ships

    payload = re.search(r"base64,([A-Za-z0-9+/=]+)", path.read_text())
    if payload is None:
        raise ValueError(f"{path} holds no base64 data: an .exr.js file of {PANORAMA_PACKAGE} is needed")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "panorama.exr"
        file.write_bytes(base64.b64decode(payload[1]))
        channels = OpenEXR.File(str(file)).channels()
        pixels = np.array((channels.get("RGB") or channels["RGBA"]).pixels)[..., :3]
    return clean_hdr(pixels)


def _find_packages(root: Path) -> dict[str, Path]:
    """Return the folder of each package by name; raise FileNotFoundError where one is missing."""
    found: dict[str, Path] = {}
    for pattern in ("*/package.json", "*/*/package.json"):
        for manifest in sorted(root.glob(pattern)):
            found.setdefault(json.loads(manifest.read_text()).get("name"), manifest.parent)
    missing = [name for name in VERSIONS if name not in found]
    if missing:
        commands = "; ".join(f"npm pack {name}@{VERSIONS[name]}" for name in missing)
        raise FileNotFoundError(
            f"{root} holds no unpacked {' and no '.join(missing)}; fetch with `{commands}` and "
            "unpack each archive into a folder of its own there, or call fetch_npm(root)"
        )
    return found


def fetch_npm(root: Path | str) -> None:
    """Fetch both packages with ``npm pack`` and unpack them under ``root``: both, or nothing.

    Raise FileNotFoundError where npm is not installed and ConnectionError where it cannot fetch them.
    """
    if shutil.which("npm") is None:
        raise FileNotFoundError(
            "npm is needed to fetch the panoramas and sprites of synthetic scenes, and is not installed: "
            "install Node.js (Debian: apt install npm)"
        )
    root = Path(root)
    root.parent.mkdir(parents=True, exist_ok=True)
    # an empty or half filled folder would be taken for fetched packages
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f"{root.name}.") as temporary:
        folders = [_fetch_package(name, Path(temporary)) for name in VERSIONS]
        root.mkdir(exist_ok=True)
        for folder in folders:
            shutil.rmtree(root / folder.name, ignore_errors=True)
            shutil.move(folder, root / folder.name)


def _fetch_package(name: str, folder: Path) -> Path:
    """Fetch and unpack a package in a folder and return its own; raise ConnectionError where that fails."""
    package = f"{name}@{VERSIONS[name]}"
    # without the level npm lists thousands of files
    command = ["npm", "pack", package, "--pack-destination", str(folder), "--loglevel", "error"]
    try:
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except subprocess.CalledProcessError as error:
        raise ConnectionError(
            f"npm could not fetch {package}, material of synthetic scenes: {_npm_reason(error)}. Check the "
            f"network and `npm config get registry`, or run `npm pack {package}` elsewhere and give a folder "
            "that contains the unpacked archives"
        ) from error
    archive = folder / f"{name.removeprefix('@').replace('/', '-')}-{VERSIONS[name]}.tgz"
    with tarfile.open(archive) as tar:
        tar.extractall(folder / archive.stem, filter="data")
    return folder / archive.stem


def _npm_reason(error: subprocess.CalledProcessError) -> str:
    """Return the line of npm's many that names the reason."""
    lines = [re.sub(r"^npm (error|ERR!) *", "", line) for line in (error.stderr or "").splitlines()]
    named = [line for line in lines if " " in line and not line.startswith(("code ", "syscall ", "errno "))]
    return next(iter(named), f"it ended with status {error.returncode}")[:_LONGEST_REASON]
