"""Pictures of objects that are tracked in a panoramic video, for the documentation.

python -m tools.real_footage --video VIDEO --box=U0,V0,U1,V1 --sheet sheet.jpg --movie movie.webp

The sheet has a row for every object and a column for every so many seconds. Each cell looks at the object,
with its mask outlined; where it is not seen, at the place where it is expected.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.search_region import SearchRegion, TargetExtent
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.masks.label_image import resize_labels
from panosam2_ros.model.build import EMBEDDED, build_model
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.track import Track, TrackedFrame
from panosam2_ros.tracking.tracker import PanoTracker
from panosam2_ros.visualization import drawing

CELL, CAPTION = 168, 16  # pixels: the side of a cell, and the height of the line above it
LARGEST_MOVIE = 3_000_000  # bytes
_WIDEST = math.radians(80)  # of what a cell shows of an object
_STATES = {TrackState.VISIBLE: "", TrackState.OCCLUDED: " occluded", TrackState.LOST: " lost"}


def tracked(
    tracker: PanoTracker, video: Path, boxes: Sequence[tuple[float, ...]], frames: int
) -> Iterator[tuple[int, ImageArray, TrackedFrame]]:
    """Yield stamp (ns), image and tracks of the frames after the first one, in which boxes are prompted.

    Raises ValueError for a box in which nothing is found.
    """
    source = open_frames(video)
    rate = source.rate or 10.0
    for index, image in enumerate(source):
        if index == frames:
            return
        stamp = round(index / rate * 1e9)
        frame = tracker.step(image, stamp)
        if index == 0:
            for box in boxes:
                (outcome,) = tracker.prompt(image, 0, [Prompt(box=(box[0], box[1], box[2], box[3]))])
                if outcome.track is None:
                    raise ValueError(f"nothing is tracked in box {box}: {outcome.message}")
        else:
            yield stamp, image, frame


def cell(image: ImageArray, labels: LabelImage, track: Track, seconds: float, size: float) -> ImageArray:
    """Look at an object: RGB [CELL + CAPTION, CELL, 3]; ``size``: rad, of what was last seen of it."""
    grid = Equirect(labels.shape[1], labels.shape[0])
    seen = track.state is TrackState.VISIBLE
    region = SearchRegion.around(TargetExtent(track.bearing.direction, size, size))
    picture = region.pixels(ImagePyramid(image), CELL).copy()
    if seen:
        mask = region.mask(labels == track.obj_id, CELL, vertical_fov=grid.vertical_fov)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, drawing.colour(track.obj_id), 1, cv2.LINE_AA)
    framed = cv2.copyMakeBorder(picture, CAPTION, 0, 0, 0, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    text = f"{seconds:.1f} s{_STATES[track.state]}"
    drawing.draw_text(np.asarray(framed), text, CELL / 2, CAPTION - 4, scale=0.42)
    return np.asarray(framed, np.uint8)


def sheet_and_movie(options: argparse.Namespace) -> tuple[ImageArray, list[ImageArray]]:
    """Track the boxes; return the sheet, RGB, and the pictures of the movie."""
    tracker = PanoTracker(build_model(options.weights), TrackerConfig(max_objects=len(options.box)))
    columns: list[list[ImageArray]] = []
    movie: list[ImageArray] = []
    sizes: dict[int, float] = {}
    frames = tracked(tracker, options.video, options.box, options.frames)
    for index, (stamp, image, frame) in enumerate(frames):
        for track in frame.tracks:
            if track.state is TrackState.VISIBLE or track.obj_id not in sizes:
                extent = max(track.bearing.extent_horizontal, track.bearing.extent_vertical)
                sizes[track.obj_id] = float(np.clip(extent, 0.02, _WIDEST))
        if index % options.every == 0:
            labels = resize_labels(frame.labels, image.shape[1], image.shape[0])
            rows = [cell(image, labels, track, stamp / 1e9, sizes[track.obj_id]) for track in frame.tracks]
            columns.append(rows)
        if options.movie and index % options.movie_every == 0:
            movie.append(_panorama(image, frame, options.movie_width))
    return np.hstack([np.vstack(rows) for rows in columns]), movie


def _panorama(image: ImageArray, frame: TrackedFrame, width: int) -> ImageArray:
    """Return a panorama with all masks, RGB, ``width`` pixels wide."""
    height = round(image.shape[0] * width / image.shape[1])
    picture = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    labels = resize_labels(frame.labels, width, height)
    drawing.fill_masks(picture, labels)
    drawing.outline_masks(picture, labels)
    return picture


def write_movie(path: Path, pictures: Sequence[ImageArray], milliseconds: int) -> int:
    """Write an animated WebP or GIF, in the best quality that fits; return its bytes.

    Raises ValueError where none fits into ``LARGEST_MOVIE``.
    """
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) for picture in pictures]
    animation.durations = np.full(len(pictures), milliseconds)
    for quality in (70, 55, 40, 28, 18, 10):
        cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if path.stat().st_size <= LARGEST_MOVIE:
            return path.stat().st_size
    raise ValueError(
        f"{path} has {path.stat().st_size} bytes, more than {LARGEST_MOVIE}: give a smaller --movie-width or "
        "a larger --movie-every"
    )


def _corners(text: str) -> tuple[float, ...]:
    """Parse four numbers with commas between them."""
    found = tuple(float(part) for part in text.split(","))
    if len(found) != 4:
        raise argparse.ArgumentTypeError(f"a box is U_MIN,V_MIN,U_MAX,V_MAX, got {text!r}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--video", type=Path, required=True)
    add("--box", type=_corners, action="append", required=True, help="U_MIN,V_MIN,U_MAX,V_MAX in frame 0")
    add("--weights", default=EMBEDDED, help="default: %(default)s")
    add("--frames", type=int, default=10**9, help="at most (default: all)")
    add("--every", type=int, default=30, help="frames between two columns (default: %(default)s)")
    add("--sheet", type=Path, default=Path("sheet.jpg"), help="default: %(default)s")
    add("--movie", type=Path, help="animated .webp or .gif of the panorama")
    add("--movie-width", type=int, default=640, help="pixels (default: %(default)s)")
    add("--movie-every", type=int, default=3, help="frames between two pictures (default: %(default)s)")
    options = parser.parse_args(arguments)
    sheet, movie = sheet_and_movie(options)
    cv2.imwrite(str(options.sheet), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    if options.movie:
        rate = open_frames(options.video).rate or 10.0
        print(write_movie(options.movie, movie, round(1000 * options.movie_every / rate)), "bytes")


if __name__ == "__main__":
    main()
