"""An overview of a sequence: eight frames with the true outlines and the predicted masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.visualization.drawing import WHITE, draw_text, fill_masks, outline_masks

MOMENTS, _COLUMNS, _WIDTH, _GAP = 8, 2, 640, 4


class ContactSheet:
    """Gathers frames while a sequence is evaluated."""

    def __init__(self, first: int, end: int) -> None:
        """Spread the chosen frames evenly over frames ``first`` to ``end`` - 1."""
        spread = np.linspace(first, max(end - 1, first), MOMENTS).round().astype(int)
        self._moments = set(spread.tolist())
        self._panels: list[ImageArray] = []

    def wants(self, index: int) -> bool:
        """Return whether frame ``index`` is one of the chosen frames."""
        return index in self._moments

    def add(
        self,
        index: int,
        image: ImageArray,
        labels: LabelImage,
        *,
        ground_truth: LabelImage | None = None,
        scores: Mapping[int, float] | None = None,  # J_sphere by object
    ) -> None:
        """Add a frame: masks tinted in their objects' colours, true masks outlined in white."""
        height = round(_WIDTH * image.shape[0] / image.shape[1])
        panel = resized_image(image, _WIDTH, height).copy()
        small = resize_labels(labels, _WIDTH, height)
        fill_masks(panel, small, opacity=0.45)
        outline_masks(panel, small, thickness=1)
        if ground_truth is not None:
            outline_masks(panel, resize_labels(ground_truth, _WIDTH, height), thickness=1, paint=WHITE)
        words = [f"frame {index}", *(f"{i}: {s:.2f}" for i, s in (scores or {}).items())]
        draw_text(panel, "  ".join(words), _WIDTH / 2, height - 8, scale=0.45)
        self._panels.append(panel)

    def write(self, path: Path) -> None:
        """Write the sheet as an image; write nothing where no frame was added."""
        if not self._panels:
            return
        height = self._panels[0].shape[0]
        rows = -(-len(self._panels) // _COLUMNS)
        size = (rows * (height + _GAP) - _GAP, _COLUMNS * (_WIDTH + _GAP) - _GAP, 3)
        sheet = np.full(size, 255, np.uint8)
        for k, panel in enumerate(self._panels):
            top, left = (k // _COLUMNS) * (height + _GAP), (k % _COLUMNS) * (_WIDTH + _GAP)
            sheet[top : top + height, left : left + _WIDTH] = panel
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
            raise OSError(f"{path}: the image could not be written")
