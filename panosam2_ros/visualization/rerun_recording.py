"""A recording for the Rerun viewer: panorama, masks, directions on the sphere, angles and states over time.

Directions are those of the camera's optical axes: x right, y down, z forward. The sphere has radius 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.bearing import Bearing
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect, box_width
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats, lonlat_to_vector
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization import drawing, overlay, sphere

RERUN_WIDTH = 1280  # pixels of the panorama at most
_JPEG_QUALITY = 80
_SPHERE_COLUMNS = 256  # points round the horizon
_FLUSHED = 50  # frames after which all is on disk
_LONGEST_CLOCK = 10**9 * 3600 * 24 * 365  # ns: later stamps are times of day, earlier ones since the start
_PLOTS: dict[str, tuple[str, tuple[float, float] | None]] = {  # unit and range; None: that of the values
    "azimuth": ("deg, left positive", (-180.0, 180.0)),
    "elevation": ("deg", (-90.0, 90.0)),
    "score": ("0 to 1", (0.0, 1.0)),
    "angular_speed": ("deg/s", None),
}
_STATE_COLOURS = {"visible": 0x4CAF50FF, "occluded": 0xFFB300FF, "lost": 0xE53935FF}


class RerunError(ValueError):
    """A recording cannot be written; the message says why, and the remedy."""


@dataclass(frozen=True, eq=False)
class LoggedObject:
    """One object in one image."""

    obj_id: int
    label: str
    state: TrackState
    score: float
    bearing: Bearing  # optical axes
    angular_speed: float  # rad/s; NaN while unknown


def import_rerun() -> ModuleType:
    """Import rerun; raise RerunError where it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise RerunError(
            f'--rerun needs the package rerun-sdk, for Python 3.11 and later: pip install "rerun-sdk>=0.41" '
            f"({error})"
        ) from error
    return rerun


def check_rerun(path: Path) -> None:
    """Make the folder of a recording; raise RerunError where no recording can be written at ``path``."""
    import_rerun()
    if path.suffix != ".rrd" or path.is_dir():
        raise RerunError(f"--rerun needs a file whose name ends in .rrd, which the viewer opens, got {path}")
    path.parent.mkdir(parents=True, exist_ok=True)


class RerunRecording:
    """A recording that is written frame by frame; the file has its name when it is complete."""

    def __init__(
        self,
        path: Path,
        grid: Equirect,  # of the images
        labels: Mapping[int, str],  # of all objects, by id
    ) -> None:
        """Begin the file; raise RerunError where that fails."""
        check_rerun(path)
        self._rr, self._path = import_rerun(), path
        self._partial = path.with_name(f"{path.stem}.part.rrd")
        self._grid, self._labels = grid.of_width(min(grid.width, RERUN_WIDTH)), labels
        self._scale = self._grid.width / grid.width
        self._ball = sphere.sphere_points(_SPHERE_COLUMNS, grid.vertical_fov)
        self._states: dict[int, TrackState] = {}
        self._frames, self._shows_prompts = 0, False
        self._log = self._rr.RecordingStream("panosam2")
        self._log.send_recording_name(path.stem)
        self._rr.set_log_time_enabled(False, recording=self._log)  # when it is written is of no interest
        try:
            self._log.save(self._partial, default_blueprint=self._blueprint())
        except RuntimeError as error:
            raise RerunError(f"{self._partial} cannot be written: {error}") from error
        self._write_static()

    def __enter__(self) -> RerunRecording:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Complete the file; after an exception, leave what there is under its partial name."""
        if error is None:
            self._flush()
        self._log.disconnect()
        if error is None:
            self._partial.replace(self._path)

    def write(
        self,
        index: int,
        stamp: int,  # ns
        image: ImageArray,  # RGB, of the grid's size or smaller
        labels: LabelImage,
        objects: Sequence[LoggedObject],
    ) -> None:
        """Write a frame, which becomes the time of prompts that are written next."""
        self._set_time(index, stamp)
        picture, shown = overlay.fitted(image, labels, self._grid)
        self._write_panorama(picture, shown, objects)
        self._write_sphere(picture, shown, objects)
        for found in objects:
            self._write_values(found)
            self._write_state(found)
        if self._shows_prompts:
            self._send("panorama/prompts", self._rr.Clear(recursive=True))
            self._shows_prompts = False
        self._frames += 1
        if self._frames % _FLUSHED == 0:
            self._flush()

    def write_prompts(self, prompts: Iterable[Prompt]) -> None:
        """Write prompts, in pixels of the grid, for the newest frame."""
        rr, self._shows_prompts = self._rr, True
        for number, prompt in enumerate(prompts):
            place, label = f"panorama/prompts/{number}", prompt.label or "prompt"
            if prompt.box is not None:
                lows, sizes = self._box_parts(prompt.box)
                self._send(f"{place}/box", rr.Boxes2D(mins=lows, sizes=sizes, labels=[label] * len(lows)))
            if len(prompt.points):
                colours = [(90, 255, 90) if wanted else (255, 70, 70) for wanted in prompt.point_labels]
                positions = (prompt.points + 0.5) * self._scale
                self._send(f"{place}/points", rr.Points2D(positions, colors=colours, radii=-6.0))
            self._send("events", rr.TextLog(f"prompt: {label}", level="INFO"))

    def _box_parts(self, box: Sequence[float]) -> tuple[Floats, Floats]:
        """Return corners and sizes of a box in the picture: two parts where it crosses the seam."""
        u_min, v_min, u_max, v_max = ((x + 0.5) * self._scale for x in box)
        width = self._grid.width
        parts = [(u_min, box_width(u_min, u_max, width))]
        if u_min > u_max:
            parts = [(u_min, width - u_min), (0.0, u_max)]
        return np.array([(u, v_min) for u, _ in parts]), np.array([(w, v_max - v_min) for _, w in parts])

    def _write_static(self) -> None:
        """Write what holds for all frames: colours and names of the objects, axes, grid and sphere."""
        rr = self._rr
        infos = [rr.AnnotationInfo(i, self._name(i), drawing.colour(i)) for i in self._labels]
        self._send("/", rr.AnnotationContext([rr.AnnotationInfo(0, "", (0, 0, 0, 0)), *infos]), static=True)
        self._send("sphere", rr.ViewCoordinates.RDF, static=True)
        axes = np.eye(3) * 0.25
        colours = [(230, 60, 60), (60, 200, 60), (80, 120, 255)]  # of x, y and z, as is the custom
        self._send("sphere/camera", rr.Arrows3D(vectors=axes, colors=colours, radii=0.006), static=True)
        around = np.linspace(0, 2 * math.pi, 73)
        horizon, middle = lonlat_to_vector(around, 0.0), lonlat_to_vector(0.0, around)
        lines = rr.LineStrips3D([horizon, middle], colors=(200, 200, 200, 90), radii=0.003)
        self._send("sphere/grid", lines, static=True)
        spacing = 2 * math.pi / _SPHERE_COLUMNS
        points = rr.Points3D.from_fields(
            positions=self._ball.directions * 1.01, radii=0.7 * spacing, point_shading="Flat"
        )
        self._send("sphere/panorama", points, static=True)
        for obj_id in self._labels:
            line = rr.SeriesLines(names=self._name(obj_id), colors=drawing.colour(obj_id))
            for plot in _PLOTS:
                self._send(f"plots/{plot}/{obj_id}", line, static=True)
            packed = np.array(list(_STATE_COLOURS.values()), np.uint32)
            shown = rr.StateConfiguration(values=list(_STATE_COLOURS), colors=packed)
            self._send(f"states/{obj_id}", shown, static=True)

    def _write_panorama(
        self, picture: ImageArray, labels: LabelImage, objects: Sequence[LoggedObject]
    ) -> None:
        rr = self._rr
        done, jpeg = cv2.imencode(
            ".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not done:
            raise RerunError(f"OpenCV cannot encode {picture.shape[1]}x{picture.shape[0]} pixels as jpeg")
        self._send("panorama/image", rr.EncodedImage(contents=jpeg.tobytes(), media_type="image/jpeg"))
        self._send("panorama/masks", rr.SegmentationImage(labels, opacity=0.45))
        directions = np.array([found.bearing.direction for found in objects]).reshape(-1, 3)
        positions = np.stack(self._grid.vector_to_pixel(directions), -1) + 0.5
        names = [overlay.name(o.obj_id, o.label, o.state, o.score) for o in objects]
        self._send(
            "panorama/directions",
            rr.Points2D(positions, labels=names, class_ids=_ids(objects), radii=-5.0, show_labels=True),
        )

    def _write_sphere(self, picture: ImageArray, labels: LabelImage, objects: Sequence[LoggedObject]) -> None:
        rr, grid = self._rr, self._ball.grid
        small, ids = overlay.fitted(picture, labels, grid)
        drawing.fill_masks(small, resize_labels(ids, grid.width, grid.height), opacity=0.6)
        seen = small[self._ball.rows, self._ball.columns]
        self._send("sphere/panorama", rr.Points3D.from_fields(colors=seen))
        vectors = np.array([found.bearing.direction for found in objects]).reshape(-1, 3)
        names, classes = [self._name(found.obj_id) for found in objects], _ids(objects)
        radii = [0.012 if found.state == TrackState.VISIBLE else 0.004 for found in objects]
        self._send(
            "sphere/directions", rr.Arrows3D(vectors=vectors, labels=names, class_ids=classes, radii=radii)
        )
        for name, border in (("ellipses_95", sphere.covariance_border), ("extents", sphere.extent_border)):
            rings = [_closed(border(found.bearing)) for found in objects]
            self._send(
                f"sphere/{name}", rr.LineStrips3D(rings, class_ids=classes, radii=0.004, show_labels=False)
            )

    def _write_values(self, found: LoggedObject) -> None:
        azimuth, elevation = UPRIGHT.azimuth_elevation(found.bearing.direction)
        values = (math.degrees(float(azimuth)), math.degrees(float(elevation)), found.score)
        for plot, value in zip(_PLOTS, (*values, math.degrees(found.angular_speed)), strict=True):
            if not math.isnan(value):
                self._send(f"plots/{plot}/{found.obj_id}", self._rr.Scalars(value))

    def _write_state(self, found: LoggedObject) -> None:
        """Write the state of an object where it has changed."""
        before = self._states.get(found.obj_id)
        if before == found.state:
            return
        self._states[found.obj_id] = found.state
        state = found.state.name.lower()
        self._send(f"states/{found.obj_id}", self._rr.StateChange(state=state))
        level = "WARN" if found.state == TrackState.LOST else "INFO"
        self._send("events", self._rr.TextLog(f"{self._name(found.obj_id)}: {state}", level=level))

    def _name(self, obj_id: int) -> str:
        return f"#{obj_id} {overlay.short(self._labels.get(obj_id, ''))}".strip()

    def _set_time(self, index: int, stamp: int) -> None:
        self._log.set_time("frame", sequence=index)
        if stamp < _LONGEST_CLOCK:
            self._log.set_time("stamp", duration=np.timedelta64(stamp, "ns"))
        else:
            self._log.set_time("stamp", timestamp=np.datetime64(stamp, "ns"))

    def _send(self, place: str, what: Any, *, static: bool = False) -> None:
        self._log.log(place, what, static=static, strict=True)

    def _flush(self) -> None:
        """Wait until all is on disk; raise RerunError where it cannot be."""
        try:
            self._log.flush()
        except RuntimeError as error:
            raise RerunError(
                f"{self._partial} cannot be written: {error}; is the disk full? The same command with space "
                "writes it anew"
            ) from error

    def _blueprint(self) -> Any:
        """Arrange panorama and plots on the left, sphere and events on the right."""
        rrb = self._rr.blueprint
        plots = [
            rrb.TimeSeriesView(
                origin=f"plots/{name}",
                name=f"{name.replace('_', ' ')} ({unit})",
                axis_y=rrb.ScalarAxis(range=span) if span else None,
            )
            for name, (unit, span) in _PLOTS.items()
        ]
        # inside the sphere, behind the camera
        eye = rrb.EyeControls3D(
            position=(0.0, -0.3, -0.85), look_target=(0.0, 0.0, 0.3), eye_up=(0.0, -1.0, 0.0)
        )
        return rrb.Blueprint(
            rrb.Horizontal(
                rrb.Vertical(
                    rrb.Spatial2DView(origin="panorama", name="Panorama"),
                    rrb.Tabs(*plots),
                    rrb.StateTimelineView(origin="states", name="States"),
                    row_shares=[9, 5, 4],
                ),
                rrb.Vertical(
                    rrb.Spatial3DView(origin="sphere", name="Sphere", line_grid=False, eye_controls=eye),
                    rrb.TextLogView(origin="events", name="Events"),
                    row_shares=[7, 3],
                ),
                column_shares=[3, 2],
            ),
            rrb.TimePanel(timeline="frame", state="collapsed"),
            collapse_panels=True,
        )


def _ids(objects: Sequence[LoggedObject]) -> NDArray[np.uint16]:
    return np.array([found.obj_id for found in objects], np.uint16)


def _closed(border: Floats) -> Floats:
    return np.concatenate([border, border[:1]])
