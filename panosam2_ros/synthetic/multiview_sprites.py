"""Views of solid models, all round, as sprites that turn: strips of pictures, drawn by VTK.

A strip holds ``VIEWS`` square views side by side, RGBA. The camera goes once round the model and rises
and sinks once on the way, so that the last view is followed by the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.simulation.assets import VIEW_SIDE, VIEWS

_FINER = 2  # drawn so much larger, against jagged edges
_NEAR = 0.92  # of the distance at which the model's sphere would just fit


def draw_views(model: Path) -> ImageArray:
    """The strip [VIEW_SIDE, VIEWS * VIEW_SIDE, 4] of a Wavefront OBJ with its materials.

    Raises ValueError where there is nothing to see.
    """
    window = off_screen()
    import vtk  # only needed to make strips

    importer = vtk.vtkOBJImporter()
    importer.SetFileName(str(model))
    importer.SetFileNameMTL(str(model.with_suffix(".mtl")))
    importer.SetTexturePath(str(model.parent))
    importer.SetRenderWindow(window)
    importer.Update()
    renderer = importer.GetRenderer()
    renderer.SetBackgroundAlpha(0)
    round_it = Orbit(*_sphere(renderer))
    strip = np.concatenate([view(window, renderer, round_it, index) for index in range(VIEWS)], 1)
    if (strip[..., 3] > 127).mean() < 0.02:
        raise ValueError(f"{model} shows nothing")
    return strip


@dataclass(frozen=True)
class Orbit:
    """How a camera goes round a thing: y is up, and it begins on the side of z."""

    centre: tuple[float, ...]
    radius: float  # of the ball that is to be seen
    middle: float = 12.0  # degrees above the floor
    swing: float = 14.0  # degrees by which it rises and sinks
    angle: float = 30.0  # degrees, of the camera's view: a wide one sees from near


def off_screen() -> Any:
    """A window for views, that no screen is needed for."""
    import vtk

    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(_FINER * VIEW_SIDE, _FINER * VIEW_SIDE)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(0)
    return window


def view(window: Any, renderer: Any, orbit: Orbit, index: int) -> ImageArray:
    """RGBA [VIEW_SIDE, VIEW_SIDE, 4] of what a renderer shows from a place of the orbit."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    turn = 2 * math.pi * index / VIEWS
    height = math.radians(orbit.middle + orbit.swing * math.sin(turn))
    camera = renderer.GetActiveCamera()
    camera.SetViewAngle(orbit.angle)
    away = _NEAR * orbit.radius / math.sin(math.radians(orbit.angle / 2))
    ahead = (math.cos(height) * math.sin(turn), math.sin(height), math.cos(height) * math.cos(turn))
    camera.SetFocalPoint(*orbit.centre)
    camera.SetViewUp(0, 1, 0)
    camera.SetPosition(*(c + away * a for c, a in zip(orbit.centre, ahead, strict=True)))
    renderer.ResetCameraClippingRange()
    window.Render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.SetInputBufferTypeToRGBA()
    grab.ReadFrontBufferOff()
    grab.Update()
    pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars())
    large = pixels.reshape(_FINER * VIEW_SIDE, _FINER * VIEW_SIDE, 4)[::-1]
    return _halved(large)


def encoded(strip: ImageArray) -> bytes:
    """A strip as a file, see ``assets.read_view_strip``."""
    bgra = np.ascontiguousarray(strip[..., [2, 1, 0, 3]])
    return bytes(cv2.imencode(".webp", bgra, [cv2.IMWRITE_WEBP_QUALITY, 90])[1])


def _sphere(renderer: Any) -> tuple[tuple[float, ...], float]:
    """Centre and radius of the ball round everything that is drawn."""
    low, high = np.reshape(renderer.ComputeVisiblePropBounds(), (3, 2)).T
    return tuple((low + high) / 2), float(np.linalg.norm(high - low) / 2)


def _halved(large: ImageArray) -> ImageArray:
    """A picture [_FINER * VIEW_SIDE, ...] at VIEW_SIDE; colours of transparent pixels do not bleed in."""
    alpha = large[..., 3:].astype(np.float32) / 255
    colour = cv2.resize(large[..., :3] * alpha, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(alpha, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA)
    straight = colour / np.maximum(cover, 1e-3)[..., None]
    return np.dstack([straight, 255 * cover]).clip(0, 255).astype(np.uint8)
