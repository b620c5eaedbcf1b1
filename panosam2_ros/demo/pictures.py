"""Draw the demo's video and its contact picture from what the planner recorded."""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.demo.recording import Seen
from panosam2_ros.demo.report import DemoRun
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import vector_to_lonlat
from panosam2_ros.io.video import resized_image
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.visualization import drawing, overlay
from panosam2_ros.visualization.overlay import short

CONTACT_PICTURE_WIDTH = 1280  # of the video
_PANEL, _COLUMNS, _MOMENTS = 960, 2, 6
_CHART_HEIGHT = 320


class Painter:
    """Draws the frames of one run."""

    def __init__(self, run: DemoRun, width: int = CONTACT_PICTURE_WIDTH) -> None:
        self._run, self._width = run, width

    def frame(self, stamp: int) -> ImageArray | None:
        """Draw the image with masks, ids, bearings and ground truth outlines; None if it was lost."""
        encoded = self._run.recording.get("image", stamp)
        if encoded is None:
            return None
        picture = self._decoded(encoded)
        height = picture.shape[0]
        grid = Equirect(self._width, height, self._run.vertical_fov)
        truth, known = self._run.labels(stamp, "true_masks"), self._run.labels(stamp)
        if truth is not None:
            asked = [prompt["truth_id"] for prompt in self._run.prompts]
            truth = np.where(np.isin(truth, asked), truth, np.uint16(0))
            drawing.outline_masks(picture, self._scaled(truth, height), thickness=1, paint=drawing.WHITE)
        bearings = self._run.bearings(stamp)
        marks = [seen_mark(seen) for seen in bearings.objects] if bearings else []
        labels = self._scaled(known, height) if known is not None else _nothing(grid)
        overlay.draw_overlay(picture, labels, marks, grid, UPRIGHT)
        return picture

    def prompt_frame(self, stamp: int) -> ImageArray | None:
        """Draw the prompted image with the prompts on it; None if it was lost."""
        encoded = self._run.recording.get("image", stamp)
        if encoded is None:
            return None
        picture = self._decoded(encoded)
        grid = Equirect(self._width, picture.shape[0], self._run.vertical_fov)
        drawing.draw_grid(picture, grid)
        source = self._run.labels(self._run.stamps[0]) if self._run.stamps else None
        scale = self._width / (source.shape[1] if source is not None else self._width)
        for prompt in self._run.prompts:
            draw_prompt(picture, prompt, grid, scale)
        return picture

    def _decoded(self, encoded: bytes) -> ImageArray:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
        image = np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), np.uint8)
        height = 2 * round(image.shape[0] * self._width / image.shape[1] / 2)  # codecs want even
        return resized_image(image, self._width, height).copy()

    def _scaled(self, labels: NDArray[np.uint16], height: int) -> NDArray[np.uint16]:
        return resize_labels(labels, self._width, height)


def seen_mark(seen: Seen) -> drawing.Mark:
    """Make the mark of an object as in the node's overlay, in the camera's own axes."""
    direction = np.asarray(seen.direction)
    return overlay.object_mark(seen.obj_id, seen.label, seen.state, seen.score, direction, camera=UPRIGHT)


def draw_prompt(picture: ImageArray, prompt: dict[str, Any], grid: Equirect, scale: float) -> None:
    """Draw a box, a click or a direction as it was given; ``scale``: picture pixels per image pixel."""
    paint = drawing.colour(prompt["obj_id"])
    if prompt["kind"] == "box":
        u_min, v_min, u_max, v_max = (x * scale for x in prompt["box"])
        drawing.draw_box(picture, (u_min, v_min, u_max, v_max), paint=paint)
        width = u_max - u_min if u_min <= u_max else u_max - u_min + grid.width
        u, v = u_min + width / 2, v_max
    elif prompt["kind"] == "click":
        u, v = (x * scale for x in prompt["click"])
    else:
        u, v = (float(x) for x in grid.vector_to_pixel(prompt["direction"]))
    if prompt["kind"] != "box":
        at = grid.pixel_to_vector(u, v)
        drawing.draw_marks(picture, [drawing.Mark(prompt["obj_id"], at, "")], grid)
    words = f"{prompt['kind']}: {short(prompt['label'])}"
    below = min(v + 0.05 * grid.height, grid.height - 6)
    drawing.draw_text(picture, words, u, below, paint=paint, scale=grid.width / 2000)


def write_video(run: DemoRun, path: Path, progress: Callable[[], Any]) -> int:
    """Write every processed frame at the rate at which they came; return how many were written."""
    writer: Any = None
    painter, written = Painter(run), 0
    for number, stamp in enumerate(run.stamps):
        progress()
        picture = painter.frame(stamp)
        if picture is None:
            continue
        text = f"frame {number + 1}/{len(run.stamps)}   {(stamp - run.stamps[0]) * 1e-9:.1f} s"
        caption(picture, text)
        if writer is None:
            size = picture.shape[1], picture.shape[0]
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), run.rate, size)
            if not writer.isOpened():
                raise OSError(f"OpenCV cannot write {path}: is the folder writable?")
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        written += 1
    if writer is not None:
        writer.release()
        make_playable(path)
    return written


def make_playable(path: Path) -> None:
    """Encode a video as H.264, which browsers play, where ffmpeg is installed; else leave it as it is."""
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        return
    better = path.with_suffix(".h264.mp4")
    codec = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "24", "-movflags", "+faststart"]
    command = [ffmpeg, "-y", "-loglevel", "error", "-i", str(path), *codec, str(better)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0:
        better.replace(path)
    else:
        better.unlink(missing_ok=True)


def contact_picture(run: DemoRun, title: Sequence[str]) -> ImageArray:
    """Draw the prompts, several moments, and azimuths over time."""
    painter = Painter(run, _PANEL)
    prompted = run.prompts[0]["stamp"] if run.prompts else 0
    after = [stamp for stamp in run.stamps if stamp > prompted] or run.stamps
    chosen = [after[i] for i in np.linspace(0, len(after) - 1, _MOMENTS - 1).astype(int)]
    panels = [painter.prompt_frame(prompted), *(painter.frame(stamp) for stamp in chosen)]
    texts = ["the prompts", *(f"{(s - prompted) * 1e-9:.1f} s later" for s in chosen)]
    height = next((p.shape[0] for p in panels if p is not None), _PANEL // 2)
    drawn = [_panel(p, text, height) for p, text in zip(panels, texts, strict=True)]
    rows = [np.hstack(drawn[i : i + _COLUMNS]) for i in range(0, len(drawn), _COLUMNS)]
    width = _PANEL * _COLUMNS
    return np.vstack([_title(title, width), *rows, azimuth_chart(run, width)])


def azimuth_chart(run: DemoRun, width: int) -> ImageArray:
    """Draw the azimuth of every prompted object over time: ground truth in grey, the node's in colour."""
    chart = np.full((_CHART_HEIGHT, width, 3), 24, np.uint8)
    start, span = (run.stamps[0], max(run.stamps[-1] - run.stamps[0], 1)) if run.stamps else (0, 1)
    left, right, top, bottom = 70, width - 20, 34, _CHART_HEIGHT - 14

    def at(stamp: int, direction: Sequence[float]) -> tuple[int, int]:
        azimuth = -math.degrees(float(vector_to_lonlat(direction)[0]))
        across = left + (right - left) * (stamp - start) / span
        return round(across), round(bottom - (bottom - top) * (azimuth + 180) / 360)

    for degrees in (-180, -90, 0, 90, 180):
        y = round(bottom - (bottom - top) * (degrees + 180) / 360)
        cv2.line(chart, (left, y), (right, y), (70, 70, 70), 1)
        drawing.draw_text(chart, f"{degrees:+d}", 36, y + 5, paint=drawing.GREY, scale=0.5)
    words = "azimuth in degrees over time (left positive, seam at 180): ground truth grey, node coloured"
    drawing.draw_text(chart, words, width / 2, 22, scale=0.6)
    for stamp in run.stamps:
        truth, known = run.bearings(stamp, "true_bearings"), run.bearings(stamp)
        for prompt in run.prompts:
            there = truth.find(prompt["truth_id"]) if truth else None
            if there and there.visible:
                cv2.circle(chart, at(stamp, there.direction), 5, (130, 130, 130), -1, cv2.LINE_AA)
        for seen in known.objects if known else ():
            filled = -1 if seen.visible else 1
            place = at(stamp, seen.direction)
            cv2.circle(chart, place, 3, drawing.colour(seen.obj_id), filled, cv2.LINE_AA)
    return chart


def caption(picture: ImageArray, text: str) -> None:
    """Write text at the lower left."""
    scale = picture.shape[1] / 2200
    half = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] / 2
    drawing.draw_text(picture, text, half + 10, picture.shape[0] - 10, scale=scale)


def ruled(image: ImageArray) -> ImageArray:
    """Draw an image with pixel coordinates along its edges, to choose a box or a click by."""
    height, width = image.shape[:2]
    zoom = max(1, math.ceil(CONTACT_PICTURE_WIDTH / width))
    picture = resized_image(image, zoom * width, zoom * height).copy()
    for step in range(1, 16):
        u, v = step * width // 16, step * height // 8
        cv2.line(picture, (zoom * u, 0), (zoom * u, zoom * height), drawing.GREY, 1)
        drawing.draw_text(picture, str(u), zoom * u, 18)
        if v < height:
            cv2.line(picture, (0, zoom * v), (zoom * width, zoom * v), drawing.GREY, 1)
            drawing.draw_text(picture, str(v), 24, zoom * v + 5)
    return picture


def _panel(picture: ImageArray | None, text: str, height: int) -> ImageArray:
    panel = np.zeros((height, _PANEL, 3), np.uint8) if picture is None else picture
    caption(panel, text if picture is not None else f"{text}: this image did not reach the planner")
    cv2.rectangle(panel, (0, 0), (_PANEL - 1, height - 1), drawing.BLACK, 2)
    return panel


def _title(lines: Sequence[str], width: int) -> ImageArray:
    banner = np.full((30 * len(lines) + 14, width, 3), 24, np.uint8)
    for i, line in enumerate(lines):
        drawing.draw_text(banner, line, width / 2, 28 + 30 * i, scale=0.72)
    return banner


def _nothing(grid: Equirect) -> NDArray[np.uint16]:
    return np.zeros((grid.height, grid.width), np.uint16)
