"""Label images as PNG files with the DAVIS palette; the value of a pixel is the object's id."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panosam2_ros.geometry.image_types import LabelImage

_MAX_ID = 255  # that a palette image can hold


@lru_cache(maxsize=1)
def davis_palette() -> NDArray[np.uint8]:
    """Return the colours of ids 0..255, [256, 3] RGB.

    They are the PASCAL VOC colour map, which DAVIS uses: successive groups of three bits of the id, from
    the lowest, set the bits of red, green and blue, from the highest.
    """
    ids, colours = np.arange(256), np.zeros((256, 3), np.uint8)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        colours[:, channel] |= (((ids >> bit) & 1) << place).astype(np.uint8)
    colours.setflags(write=False)
    return colours


def write_labels(path: Path, labels: NDArray[np.integer]) -> None:
    """Write labels [H, W] of ids up to 255 as a palette PNG; make the folder where it is missing.

    Raises ValueError for larger ids.
    """
    largest = int(labels.max(initial=0))
    if largest > _MAX_ID:
        raise ValueError(
            f"{path}: a palette PNG holds ids up to {_MAX_ID}, got {largest}; renumber the objects"
        )
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(davis_palette().tobytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, format="PNG")


def write_ids(path: Path, labels: LabelImage) -> None:
    """Write labels [H, W] of ids up to 65535 as a 16-bit grey PNG."""
    Image.fromarray(np.ascontiguousarray(labels, np.uint16)).save(path, format="PNG", compress_level=1)


def read_labels(path: Path) -> LabelImage:
    """Read labels [H, W]: the values of a palette or grey PNG, the palette's ids of a colour PNG.

    Raises ValueError for another format and for colours outside the palette.
    """
    with Image.open(path) as image:
        if image.format != "PNG":
            raise ValueError(f"{path} is {image.format}, which blurs ids; masks must be PNG")
        if image.mode in ("RGB", "RGBA"):
            return _ids_of_colours(np.asarray(image.convert("RGB")), path)
        return np.asarray(image).astype(np.uint16)


def _ids_of_colours(colours: NDArray[np.uint8], path: Path) -> LabelImage:
    """Invert the palette: convert colours [H, W, 3] to ids [H, W]; raise ValueError for foreign colours."""
    ids = np.zeros(colours.shape[:2], np.uint8)
    for bit in range(8):
        channel, place = bit % 3, 7 - bit // 3
        ids |= ((colours[..., channel] >> place) & 1) << bit
    foreign = (davis_palette()[ids] != colours).any(-1)
    if foreign.any():
        v, u = (int(x[0]) for x in np.nonzero(foreign))
        raise ValueError(
            f"{path} has {int(foreign.sum())} pixels whose colour is not in the DAVIS palette, the "
            f"first at u {u}, v {v}: {colours[v, u].tolist()}; masks must be palette PNGs"
        )
    return ids.astype(np.uint16)
