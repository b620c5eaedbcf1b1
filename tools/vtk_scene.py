"""Render messages of `~/mask_cloud` and `~/markers` as RViz does, without a display; needs `pip install vtk`.

Supported is what the node publishes: points with rgb, arrows, lists of triangles, lines and text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.ros.publishing.visualization_messages import CLOUD_POINT

_BACKGROUND = 48 / 255
_TEXT_PIXELS = 550  # height of text of 1 m that is 1 m away


@dataclass(frozen=True, eq=False)
class Eye:
    """A virtual camera in the axes of the messages' frame, m."""

    position: Floats  # [3]
    target: Floats  # [3]
    up: Floats  # [3]
    angle: float = 75.0  # degrees, vertical field of view
    size: tuple[int, int] = (960, 600)  # pixels
    dot: float = 5.0  # pixels, of the points


def render_scene(cloud: PointCloud2 | None, markers: MarkerArray, eye: Eye) -> ImageArray:
    """Render RGB [H, W, 3] of points and markers."""
    import vtk  # only needed to make pictures

    renderer = vtk.vtkRenderer()
    renderer.SetBackground(_BACKGROUND, _BACKGROUND, _BACKGROUND)
    camera = renderer.GetActiveCamera()
    camera.SetPosition(*eye.position)
    camera.SetFocalPoint(*eye.target)
    camera.SetViewUp(*eye.up)
    camera.SetViewAngle(eye.angle)
    if cloud is not None:
        renderer.AddActor(_points(cloud, eye.dot))
    for marker in markers.markers:
        if marker.action == Marker.ADD:
            renderer.AddActor(_ACTORS[marker.type](marker, camera))
    renderer.ResetCameraClippingRange()
    window = vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*eye.size)
    window.SetMultiSamples(0)
    window.AddRenderer(renderer)
    window.Render()
    return _grabbed(window)


def _grabbed(window: Any) -> ImageArray:
    """Read the pixels of a window, RGB [H, W, 3]."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    image = grab.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)
    return np.ascontiguousarray(pixels[::-1])


def _points(cloud: PointCloud2, size: float) -> Any:
    """Return the actor of a point cloud; ``size``: of its points, pixels."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    values = np.frombuffer(cloud.data, CLOUD_POINT)
    rgb = np.stack([values["rgb"] >> shift & 255 for shift in (16, 8, 0)], -1).astype(np.uint8)
    data = _poly_data(np.stack([values["x"], values["y"], values["z"]], -1))
    data.GetPointData().SetScalars(numpy_to_vtk(rgb, deep=True))
    dots = vtk.vtkVertexGlyphFilter()
    dots.SetInputData(data)
    actor = _actor(dots)
    actor.GetProperty().SetPointSize(size)
    actor.GetProperty().LightingOff()
    return actor


def _arrow(marker: Marker, _: Any) -> Any:
    """Return the actor of an arrow."""
    import vtk

    start, end = _array(marker.points)
    length = float(np.linalg.norm(end - start))
    arrow = vtk.vtkArrowSource()
    arrow.SetShaftRadius(marker.scale.x / 2 / length)
    arrow.SetTipRadius(marker.scale.y / 2 / length)
    arrow.SetTipLength(marker.scale.z / length)
    arrow.SetShaftResolution(16)
    arrow.SetTipResolution(24)
    forward = (end - start) / length
    side = np.cross(forward, np.eye(3)[np.abs(forward).argmin()])
    side /= np.linalg.norm(side)
    pose = np.eye(4)
    pose[:3] = np.stack([forward * length, side * length, np.cross(forward, side) * length, start], 1)
    transform = vtk.vtkTransform()
    transform.SetMatrix(pose.ravel())
    turned = vtk.vtkTransformPolyDataFilter()
    turned.SetTransform(transform)
    turned.SetInputConnection(arrow.GetOutputPort())
    return _painted(_actor(turned), marker)


def _triangles(marker: Marker, _: Any) -> Any:
    """Return the actor of a list of triangles."""
    points = _array(marker.points)
    data = _poly_data(points)
    data.SetPolys(_cells(np.arange(len(points)).reshape(-1, 3)))
    actor = _painted(_actor_of(data), marker)
    actor.GetProperty().LightingOff()
    return actor


def _line(marker: Marker, _: Any) -> Any:
    """Return the actor of a line strip."""
    points = _array(marker.points)
    data = _poly_data(points)
    data.SetLines(_cells(np.arange(len(points))[None]))
    actor = _painted(_actor_of(data), marker)
    actor.GetProperty().SetLineWidth(3)
    return actor


def _text(marker: Marker, camera: Any) -> Any:
    """Return the actor of text that faces the camera."""
    import vtk

    words = vtk.vtkBillboardTextActor3D()
    words.SetInput(marker.text)
    at, paint = marker.pose.position, marker.color
    words.SetPosition(at.x, at.y, at.z)
    away = np.linalg.norm(np.array([at.x, at.y, at.z]) - camera.GetPosition())
    font = words.GetTextProperty()
    font.SetFontSize(round(_TEXT_PIXELS * marker.scale.z / float(away)))
    font.SetColor(paint.r, paint.g, paint.b)
    font.SetJustificationToCentered()
    font.ShadowOn()
    return words


_ACTORS = {
    Marker.ARROW: _arrow,
    Marker.TRIANGLE_LIST: _triangles,
    Marker.LINE_STRIP: _line,
    Marker.TEXT_VIEW_FACING: _text,
}


def _array(points: list[Point]) -> Floats:
    """Return points as an array [N, 3]."""
    return np.array([[p.x, p.y, p.z] for p in points])


def _poly_data(points: NDArray[np.floating[Any]]) -> Any:
    """Return VTK's data of points [N, 3]."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    places = vtk.vtkPoints()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    data = vtk.vtkPolyData()
    data.SetPoints(places)
    return data


def _cells(indices: NDArray[np.int_]) -> Any:
    """Return VTK's cells of indices [cells, corners]."""
    import vtk

    cells = vtk.vtkCellArray()
    for corners in indices:
        cells.InsertNextCell(len(corners))
        for corner in corners:
            cells.InsertCellPoint(int(corner))
    return cells


def _actor_of(data: Any) -> Any:
    """Return an actor of data."""
    import vtk

    mapper = vtk.vtkPolyDataMapper()
    mapper.SetInputData(data)
    actor = vtk.vtkActor()
    actor.SetMapper(mapper)
    return actor


def _actor(source: Any) -> Any:
    """Return an actor of the output of a source."""
    source.Update()
    return _actor_of(source.GetOutput())


def _painted(actor: Any, marker: Marker) -> Any:
    """Set an actor's colour to a marker's; return the actor."""
    paint = marker.color
    actor.GetProperty().SetColor(paint.r, paint.g, paint.b)
    actor.GetProperty().SetOpacity(paint.a)
    return actor
