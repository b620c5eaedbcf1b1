"""Photographs of things, cut out along their outlines; only training uses them.

``python -m panosam2_ros.synthetic.photographs --out runs/models`` fetches Debian's package
``tuxpaint-stamps-default`` 2022.06.04-1 (GPL-2; its changelog names authors and licences of single pictures)
with apt-get, and adds its photographs of animals, food, plants, tools, vehicles and signs to the strips of
the solid models. ``PHOTOGRAPHS.tsv`` names each one's file. The benchmarks do not use these pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.simulation.assets import read_rgba
from panosam2_ros.synthetic.debian import unpack_package

PHOTO_PACKAGE = "tuxpaint-stamps-default"
PHOTO_PREFIX = "photo-"  # of the names of their files
_PICTURES = "usr/share/tuxpaint/stamps"
_SYMBOLS = ("symbols", "cartoon", "dinosaur", "flags", "faces")  # folders of drawings
_FLATTEST = 0.1  # share of inner pixels that equal two neighbours, from which a picture is a drawing
_SMALLEST = 400  # px, inside the outline
_LONGEST = 224  # px, of the files' longer side: search regions show no more, and scenes bend every pixel
_QUALITY = 95  # of the files, of 100


def is_photograph(rgba: ImageArray) -> bool:
    """Tell whether RGBA [H, W, 4] shows a photograph of something with an outline.

    The pixels of photographs are noisy; drawings have areas of one colour. 374 of the 734 pictures of the
    package that are large enough pass.
    """
    inside = cv2.erode((rgba[..., 3] > 127).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if inside.all() or np.count_nonzero(inside) < _SMALLEST:
        return False
    colours = rgba[..., :3].astype(np.int16)
    steps = [np.abs(colours - np.roll(colours, 1, axis)).max(2) for axis in (0, 1)]
    return bool((np.maximum(*steps)[inside] == 0).mean() < _FLATTEST)


def photographs(folder: Path) -> Iterator[tuple[str, Path, ImageArray]]:
    """Yield name, file and RGBA [H, W, 4] of the photographs of an unpacked package."""
    root = folder / _PICTURES
    for path in sorted(root.rglob("*.png")):
        place = path.relative_to(root)
        if any(part in _SYMBOLS for part in place.parts):
            continue
        rgba = read_rgba(path)
        if is_photograph(rgba):
            yield PHOTO_PREFIX + "-".join(place.with_suffix("").parts).lower(), place, _shrunk(rgba)


def _shrunk(rgba: ImageArray) -> ImageArray:
    """Return RGBA [H, W, 4] with a longer side of at most ``_LONGEST`` pixels."""
    factor = _LONGEST / max(rgba.shape[:2])
    if factor >= 1:
        return rgba
    return np.asarray(cv2.resize(rgba, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.synthetic.photographs", description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("runs/models"), help="folder of the pictures (default: %(default)s)"
    )
    out = parser.parse_args(arguments).out
    rows = ["name\tpackage\tfile"]
    for name, path, rgba in photographs(unpack_package(PHOTO_PACKAGE, out / "package")):
        bgra = cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA)
        encoded = cv2.imencode(".webp", bgra, [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
        (out / f"{name}.webp").write_bytes(encoded.tobytes())
        rows.append(f"{name}\t{PHOTO_PACKAGE}\t{path}")
    (out / "PHOTOGRAPHS.tsv").write_text("\n".join(rows) + "\n")
    print(f"{len(rows) - 1} photographs in {out}")


if __name__ == "__main__":
    main()
