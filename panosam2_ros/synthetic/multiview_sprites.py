"""Views of solid models from all sides, rendered by VTK into strips for sprites that turn.

A strip holds ``VIEWS`` square views side by side, RGBA. The camera goes once round the model and rises
and sinks once on the way, so that the strip is periodic: the first view follows the last.
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

_FINER = 2  # rendered so much larger, against aliasing
_NEAR = 0.92  # of the distance at which the model's sphere would just fit


def draw_views(model: Path) -> ImageArray:
    """Render the strip [VIEW_SIDE, VIEWS * VIEW_SIDE, 4] of a Wavefront OBJ with its materials.

    Raise ValueError where less than 2 % of the pixels are covered.
    """
    window = offscreen_window()
    import vtk  # only needed to make strips

    importer = vtk.vtkOBJImporter()
    importer.SetFileName(str(model))
    importer.SetFileNameMTL(str(model.with_suffix(".mtl")))
    importer.SetTexturePath(str(model.parent))
    importer.SetRenderWindow(window)
    importer.Update()
    renderer = importer.GetRenderer()
    renderer.SetBackgroundAlpha(0)
    orbit = Orbit(*_sphere(renderer))
    strip = np.concatenate([render_view(window, renderer, orbit, index) for index in range(VIEWS)], 1)
    if (strip[..., 3] > 127).mean() < 0.02:
        raise ValueError(f"{model} shows nothing")
    return strip


@dataclass(frozen=True)
class Orbit:
    """Path of a camera round a model: y is up, and the path begins on the side of z."""

    centre: tuple[float, ...]
    radius: float  # of the ball that the views show
    middle: float = 12.0  # degrees above the floor
    swing: float = 14.0  # degrees by which it rises and sinks
    angle: float = 30.0  # degrees, of the camera's field of view: a wide one sees from near


def offscreen_window() -> Any:
    """Return a VTK window for views that needs no display."""
    import vtk

    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(_FINER * VIEW_SIDE, _FINER * VIEW_SIDE)
    window.SetAlphaBitPlanes(1)
    window.SetMultiSamples(0)
    return window


def render_view(window: Any, renderer: Any, orbit: Orbit, index: int) -> ImageArray:
    """Render RGBA [VIEW_SIDE, VIEW_SIDE, 4] from the camera's place at view ``index`` of the orbit."""
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


def encode_strip(strip: ImageArray) -> bytes:
    """Encode a strip as a webp file, which ``assets.read_view_strip`` reads."""
    bgra = np.ascontiguousarray(strip[..., [2, 1, 0, 3]])
    return bytes(cv2.imencode(".webp", bgra, [cv2.IMWRITE_WEBP_QUALITY, 90])[1])


def _sphere(renderer: Any) -> tuple[tuple[float, ...], float]:
    """Return centre and radius of the ball round everything that is rendered."""
    low, high = np.reshape(renderer.ComputeVisiblePropBounds(), (3, 2)).T
    return tuple((low + high) / 2), float(np.linalg.norm(high - low) / 2)


def _halved(large: ImageArray) -> ImageArray:
    """Downsample an image [_FINER * VIEW_SIDE, ...] to VIEW_SIDE.

    Colours are weighted by alpha, so that those of transparent pixels do not bleed in.
    """
    alpha = large[..., 3:].astype(np.float32) / 255
    colour = cv2.resize(large[..., :3] * alpha, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA)
    cover = cv2.resize(alpha, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA)
    straight = colour / np.maximum(cover, 1e-3)[..., None]
    return np.dstack([straight, 255 * cover]).clip(0, 255).astype(np.uint8)
