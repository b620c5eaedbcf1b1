"""`panosam2_prompt snapshot`: a picture of what the node sees, with rulers to point by."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.perspective_view import PerspectiveView
from panosam2_ros.msg import PromptResult
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.conversion.plain_values import bearing_values, image_values
from panosam2_ros.ros.panorama_snapshot import PanoramaSnapshot, take_snapshot, view_of
from panosam2_ros.ros.pointing import Picture

_SUFFIXES = (".png", ".jpg", ".jpeg")


def write_snapshot(client: Client, options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Write a picture of the newest panorama; return what it shows as values and as text."""
    path = Path(options.path)
    if path.suffix.lower() not in _SUFFIXES:
        raise ClientError(f"a snapshot is a file {', '.join(_SUFFIXES)}, got {path}", PromptResult.INVALID)
    taken = take_snapshot(client)
    view = None
    try:
        if options.look is not None:
            view = view_of(taken.camera, (*options.look, options.fov), tuple(options.size))
    except ValueError as error:
        raise ClientError(str(error), PromptResult.INVALID) from error
    picture = taken.picture(most_columns=options.width, view=view)
    _write(path, taken.draw(picture, rulers=not options.plain, in_image_pixels=True))
    values = {"path": str(path), **_values(taken, picture, options)}
    return values, _text(values)


def _values(taken: PanoramaSnapshot, picture: Picture, options: argparse.Namespace) -> dict[str, Any]:
    known = taken.objects
    view = None
    if isinstance(picture.projection, PerspectiveView):
        azimuth, elevation = options.look
        view = {"azimuth_deg": azimuth, "elevation_deg": elevation, "fov_deg": options.fov}
    return {
        **image_values(taken.header, known.epoch if known is not None else 0),
        "width": picture.projection.width,
        "height": picture.projection.height,
        "panorama_width": taken.grid.width,
        "panorama_height": taken.grid.height,
        "vertical_fov_deg": round(math.degrees(taken.vertical_fov), 3),
        "vertical_fov_rad": round(taken.vertical_fov, 6),
        "view": view,
        "history_s": taken.history_seconds,
        "objects_frame_id": known.header.frame_id if known is not None else None,
        "objects": [bearing_values(item, known.header) for item in known.objects]
        if known is not None
        else [],
    }


def _text(values: dict[str, Any]) -> str:
    """Return what people and shells need: the stamp, the size, and how to point at something."""
    stamp, view = values["stamp"], values["view"]
    shown = f"{values['path']}: {values['width']}x{values['height']} pixels"
    how = f"--stamp {stamp}"
    if view is not None:
        numbers = [*view.values(), values["width"], values["height"]]
        how += f" --view {' '.join(f'{number:g}' for number in numbers)}"
        shown += f", a view to azimuth {view['azimuth_deg']:g}, elevation {view['elevation_deg']:g}"
    elif values["width"] != values["panorama_width"]:
        shown += f", rulers in pixels of the image ({values['panorama_width']}x{values['panorama_height']})"
    return (
        f"{shown}\nstamp {stamp}, which the node keeps for {values['history_s']:g} s\n"
        f"point with: panosam2_prompt click U V {how}"
    )


def picture_of_view(client: Client, numbers: Sequence[float]) -> Picture:
    """Return the view of azimuth, elevation, field of view (degrees), width and height, in the node's images.

    Raises ValueError for what no view has, ClientError where the node has no image.
    """
    taken = take_snapshot(client)
    size = int(numbers[3]), int(numbers[4])
    view = view_of(taken.camera, (numbers[0], numbers[1], numbers[2]), size)
    return taken.picture(view=view)


def _write(path: Path, picture: ImageArray) -> None:
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    try:
        done, encoded = cv2.imencode(path.suffix.lower(), bgr)
        if not done:
            raise OSError("OpenCV cannot encode it")
        path.write_bytes(encoded.tobytes())
    except (OSError, cv2.error) as error:
        raise ClientError(f"{path} cannot be written: {error}") from error
