"""Miniature data in exactly the layouts of 360VOS and PanoVOS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from panosam2_ros.io.label_png import write_labels

WIDTH, HEIGHT = 32, 16
HEADER = (
    "Sequence (User can ignore),360VOS ID,Target,Split,Muptiple,360VOT ID,"
    "IV(illumination variation),CB(cross border),LFoV(large FoV),XY(something new)"
)
INFO = f"""{HEADER}
aaaaaaaaaaa_0-10_0-35,000,bear,train,,1,,1,,1
bbbbbbbbbbb_start_0-39,052,bird,train,,,1,,1
ccccccccccc,000,boat,test,,,1,,,
ddddddddddd,,cat,none,,7,,1,,
,,,,,,2,2,1,1
"""


def box(obj_id: int, u: int) -> NDArray[np.uint16]:
    """Return labels [H, W] with one object of 4 x 4 pixels."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint16)
    labels[6:10, u : u + 4] = obj_id
    return labels


def write_image(path: Path, value: int) -> None:
    """Write a frame that is identified by its value; it is red, so that BGR order would be noticed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = value
    Image.fromarray(image).save(path, quality=95)


def write_clip(folder: Path, frames: list[int], masks: list[int]) -> None:
    """Write a clip of 360VOS whose object 1 moves by a column per frame."""
    for number in frames:
        write_image(folder / "image" / f"{number:06d}.jpg", 50 + 10 * number)
    for number in masks:
        write_labels(folder / "mask" / f"{number:06d}.png", box(1, number))
