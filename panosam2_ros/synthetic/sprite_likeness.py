"""Families of sprites that look like a family of a stricter split, found by the pictures.

``python -m panosam2_ros.synthetic.sprite_likeness --sources runs/sources`` writes the list that
``simulation.sprite_families`` reads. Pictures are cropped to their opaque pixels, as scenes show them. Two
sprites look alike where the perceptual hashes of their grey pictures differ in at most PICTURE_BITS of 63
bits, or where the overlap of their silhouettes (IoU) is at least SILHOUETTE_IOU. Reserved pictures are hashed
here and never shown to a network.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.simulation.assets import Split, read_rgba
from panosam2_ros.simulation.sprite_families import LOOK_ALIKES, family_name
from panosam2_ros.simulation.sprites import Sprite
from panosam2_ros.synthetic.npm_assets import fetch_npm, sprite_files

# Both chosen by looking at pairs of train and val: up to 10 bits and from 0.95 on they are the same thing or
# outline (flags, discs, tiles); at 12 bits and at 0.92 the first pairs have nothing to do with each other.
PICTURE_BITS, SILHOUETTE_IOU = 10, 0.95
_SIDE, _FREQUENCIES = 32, 8  # pixels of a thumbnail's side; lowest frequencies that are hashed, each way
_GREY = 127.5  # level behind transparent pixels
_STRICTNESS = {Split.TRAIN: 0, Split.VAL: 1, Split.RESERVED: 2}
_HEADING = """# Families of sprites that are in no split, because they look like a family of a stricter split.
# Written by python -m panosam2_ros.synthetic.sprite_likeness from @lobehub/fluent-emoji-3d 1.1.0.
"""


@dataclass(frozen=True, eq=False)
class Likeness:
    """Thumbnails of N sprites: what they are compared by."""

    hashes: NDArray[np.bool_]  # [N, 63] perceptual hashes of the grey pictures
    silhouettes: NDArray[np.bool_]  # [N, 1024] opaque pixels of the thumbnails

    @classmethod
    def of(cls, sprites: Iterable[ImageArray]) -> Likeness:
        """Measure sprites, RGBA uint8 [H, W, 4] each."""
        pairs = [_thumbnails(rgba) for rgba in sprites]
        frequencies = dctn(np.stack([grey for grey, _ in pairs]), axes=(1, 2), norm="ortho")
        lowest = frequencies[:, :_FREQUENCIES, :_FREQUENCIES].reshape(len(pairs), -1)[:, 1:]
        silhouettes = np.stack([alpha > 0.5 for _, alpha in pairs]).reshape(len(pairs), -1)
        return cls(lowest > np.median(lowest, 1, keepdims=True), silhouettes)

    def alike(self) -> NDArray[np.bool_]:
        """Return which sprites look alike, [N, N]."""
        signs = np.where(self.hashes, 1.0, -1.0).astype(np.float32)
        different = (signs.shape[1] - signs @ signs.T) / 2
        opaque = self.silhouettes.astype(np.float32)
        both, areas = opaque @ opaque.T, opaque.sum(1)
        either = areas[:, None] + areas[None] - both
        return np.asarray((different <= PICTURE_BITS) | (both >= SILHOUETTE_IOU * either))


def _thumbnails(rgba: ImageArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return grey levels before grey, and alpha from 0 to 1, of a sprite's square, [_SIDE, _SIDE] each."""
    square = Sprite(rgba).rgba
    alpha = square[..., 3].astype(np.float32) / 255
    levels = cv2.cvtColor(square[..., :3].astype(np.float32), cv2.COLOR_RGB2GRAY)
    grey = levels * alpha + _GREY * (1 - alpha)
    size = (_SIDE, _SIDE)
    small = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (grey, alpha))
    first, second = (np.asarray(image, np.float32) for image in small)
    return first, second


def find_look_alikes(files: Sequence[Path]) -> list[str]:
    """Return the families that look like a family of a stricter split, sorted.

    One pair of sprites is enough: tones of skin change the hash more than what a person holds does.
    """
    families = [family_name(file.name) for file in files]
    strictness = np.array([_STRICTNESS[Split.of_sprite(name)] for name in families])
    alike = Likeness.of(read_rgba(file) for file in files).alike()
    found = np.flatnonzero((alike & (strictness[:, None] < strictness[None])).any(1))
    return sorted({families[index] for index in found})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="sprite_likeness", description=__doc__)
    parser.add_argument("--sources", type=Path, default=Path("runs/sources"),
                        help="folder of the unpacked npm packages, which are fetched where it is missing "
                             "(default: %(default)s)")  # fmt: skip
    parser.add_argument("--out", type=Path, default=LOOK_ALIKES, help="list to write (default: %(default)s)")
    options = parser.parse_args(arguments)
    if not options.sources.exists():
        try:
            fetch_npm(options.sources)
        except OSError as error:  # no network, or no npm
            raise SystemExit(f"sprite_likeness: {error}") from error
    found = find_look_alikes(sprite_files(options.sources))
    options.out.write_text(_HEADING + "\n".join(found) + "\n", encoding="utf-8")
    print(f"{len(found)} families look like one of a stricter split: {options.out}")


if __name__ == "__main__":
    main()
