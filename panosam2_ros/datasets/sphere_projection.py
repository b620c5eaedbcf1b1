"""Projection of perspective pictures and their labels onto the sphere, and a background around them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.circular import fit_image
from panosam2_ros.geometry.equirect import Equirect, box_width, mask_box
from panosam2_ros.geometry.image_types import ImageArray, LabelImage
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.video import resized_image

DEFAULT_FOV = 70.0  # degrees
_SAMPLES = 4  # along either side of a pixel of the panorama, if there is memory for them
_MAX_POSITIONS = 8_000_000  # of the samples of a picture, which bounds the memory of a projection to 64 MB
# Waves per radian of the neutral background, and its mean and contrast, grey values.
_WAVES, _WAVES_EACH, _GREY, _CONTRAST = (2, 4, 8, 16, 32, 64), 4, 118, 16
_Block = NDArray[np.float32]


@dataclass(frozen=True)
class Placement:
    """Place and size of a perspective picture on the sphere, degrees.

    Raises ValueError for angles that no picture has.
    """

    yaw: float  # of the picture's centre, right positive
    pitch: float  # of the picture's centre, up positive
    fov: float = DEFAULT_FOV  # horizontal

    def __post_init__(self) -> None:
        if not math.isfinite(self.yaw):
            raise ValueError(f"the yaw of a placement is a number of degrees, got {self.yaw}")
        if not -90 <= self.pitch <= 90:
            raise ValueError(
                f"the pitch of a placement lies in -90..90 degrees, up positive, got {self.pitch:g}: "
                "turn the yaw by 180 degrees for what lies beyond a pole"
            )
        if not 0 < self.fov < 180:
            raise ValueError(
                f"the horizontal field of view of a perspective picture lies in (0, 180) degrees, got "
                f"{self.fov:g}: give that of the camera, {DEFAULT_FOV:g} where it is not known"
            )

    @classmethod
    def parse(cls, text: str) -> Placement:
        """Parse YAW,PITCH or YAW,PITCH,FOV; raise ValueError for other texts."""
        try:
            values = [float(part) for part in text.split(",")]
        except ValueError:
            values = []
        if len(values) not in (2, 3):
            raise ValueError(f"a placement is YAW,PITCH or YAW,PITCH,FOV in degrees, got {text!r}")
        return cls(*values)

    @property
    def name(self) -> str:
        """Text that ``parse`` reads, without a default field of view."""
        fov = "" if self.fov == DEFAULT_FOV else f",{self.fov:.9g}"
        return f"{self.yaw:.9g},{self.pitch:.9g}{fov}"

    def rotation(self) -> Floats:
        """Return the rotation [3, 3] from the axes of the picture's camera to those of the panorama's."""
        yaw, pitch = math.radians(self.yaw), math.radians(self.pitch)
        return rotation_matrix([0.0, yaw, 0.0]) @ rotation_matrix([pitch, 0.0, 0.0])


@dataclass(frozen=True, eq=False)
class PictureProjection:
    """Positions of a block of a panorama's pixels in a perspective picture."""

    grid: Equirect
    rows: slice
    columns: NDArray[np.intp]  # [w], adjacent but for the seam
    nearest: NDArray[np.intp]  # [h, w] flat index of the picture's nearest pixel; -1: outside of the picture
    coverage: _Block  # [h, w, 1] share of the pixel that the picture covers
    size: tuple[int, int]  # width and height to which pictures are shrunk first
    positions: tuple[_Block, _Block]  # u and v in a shrunk picture of every sample, [h * n, w * n] each

    def project_labels(self, labels: LabelImage) -> LabelImage:
        """Return the labels [H, W] of the panorama for those of a picture, by nearest neighbour."""
        panorama = np.zeros((self.grid.height, self.grid.width), np.uint16)
        found = np.where(self.nearest < 0, 0, labels.ravel()[self.nearest])
        panorama[self.rows][:, self.columns] = found
        return panorama

    def project_image(self, image: ImageArray, background: ImageArray) -> ImageArray:
        """Return a panorama [H, W, 3] with a picture on a background, both RGB, without aliasing."""
        panorama = background.copy()
        shrunk, (height, width) = resized_image(image, *self.size), self.nearest.shape
        samples = cv2.remap(shrunk, *self.positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        means = cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)
        behind = panorama[self.rows][:, self.columns]
        mixed = behind + self.coverage * (means.astype(np.float32) - behind)
        panorama[self.rows][:, self.columns] = np.rint(mixed)
        return panorama


@lru_cache(maxsize=4)  # the clips of a data set mostly have one size and few placements
def project_picture(width: int, height: int, placement: Placement, grid: Equirect) -> PictureProjection:
    """Compute the projection of pictures of a size; raise ValueError where they cover no pixel."""
    tangents = _tangents(width, height, placement)
    rotation = placement.rotation()
    rows, columns = _block(rotation, tangents, placement, grid)
    shape = (rows.stop - rows.start, len(columns))
    centres = grid.pixel_to_vector(columns[None], np.arange(rows.start, rows.stop)[:, None]) @ rotation
    a, b, inside = _fractions(np.moveaxis(centres, -1, 0), tangents)
    pixels = (b * height).astype(np.intp) * width + (a * width).astype(np.intp)
    # pixels of the picture per pixel of the panorama, where they are most: in the picture's corners
    scale = width / (2 * tangents[0]) * (1 + tangents[0] ** 2 + tangents[1] ** 2) / (grid.width / math.tau)
    samples = max(min(_SAMPLES, math.isqrt(_MAX_POSITIONS // (shape[0] * shape[1]))), 1)
    shrink = min(samples / scale, 1.0)
    size = max(round(width * shrink), 1), max(round(height * shrink), 1)
    u, v, covered = _fractions(_sample_vectors(rotation, rows, columns, samples, grid), tangents)
    coverage = cv2.resize(covered.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    # limited, because OpenCV's positions overflow far outside of the picture
    shares = zip((np.clip(u, -1, 2), np.clip(v, -1, 2)), size, strict=True)
    u, v = (share * count - 0.5 for share, count in shares)
    return PictureProjection(
        grid=grid,
        rows=rows,
        columns=columns,
        nearest=np.where(inside, pixels, -1),
        coverage=coverage[..., None],
        size=size,
        positions=(u, v),
    )


def read_background(path: Path, grid: Equirect) -> ImageArray:
    """Read a photograph of the full sphere and resize it to a grid; raise ValueError for other sizes."""
    source = open_frames(path)
    try:
        Equirect(source.width, source.height)
    except ValueError as error:
        raise ValueError(f"the background {path} is no panorama: {error}") from error
    fitted = fit_image(next(iter(source)), grid.height, grid.width)[0].permute(1, 2, 0)
    return np.ascontiguousarray(fitted.round().numpy(), np.uint8)


def neutral_background(grid: Equirect) -> ImageArray:
    """Render a grey texture without seam or poles, the same every time, RGB.

    It has texture because the rotation of the camera is estimated from all that is seen: on a plain
    background it would follow the motion in the picture.
    """
    rng = np.random.default_rng(0)
    directions = grid.rotated_vectors(np.eye(3)).reshape(3, -1)
    total = np.zeros(directions.shape[1], np.float32)
    for waves in np.repeat(_WAVES, _WAVES_EACH):
        axis = rng.normal(size=3)
        axis *= waves / np.linalg.norm(axis)
        total += np.cos(axis.astype(np.float32) @ directions + np.float32(rng.uniform(0, math.tau)))
    grey = (_GREY + _CONTRAST / total.std() * total).clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(cv2.cvtColor(grey.reshape(grid.height, grid.width), cv2.COLOR_GRAY2RGB))


def _tangents(width: int, height: int, placement: Placement) -> tuple[float, float]:
    """Return the tangents of half the horizontal and of half the vertical field of view."""
    across = math.tan(math.radians(placement.fov) / 2)
    return across, across * height / width


def _fractions(
    vectors: NDArray[np.floating],  # [3, h, w] in the axes of the picture's camera
    tangents: tuple[float, float],
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]:
    """Compute where directions meet a picture, as shares of its width and height, and whether inside it."""
    x, y, depth = vectors
    front = depth > 1e-9
    depth = np.where(front, depth, 1)
    a, b = (p / (depth * (2 * t)) + 0.5 for p, t in zip((x, y), tangents, strict=True))
    return a, b, front & (a >= 0) & (a < 1) & (b >= 0) & (b < 1)


def _block(
    rotation: Floats, tangents: tuple[float, float], placement: Placement, grid: Equirect
) -> tuple[slice, NDArray[np.intp]]:
    """Find the rows and columns of the pixels that a picture covers, and one more on every side."""
    box = mask_box(_fractions(grid.rotated_vectors(rotation.T), tangents)[2])
    if box is None:
        raise ValueError(
            f"a picture of {placement.fov:g} degrees covers no pixel of a panorama of "
            f"{grid.width}x{grid.height}: give a larger field of view"
        )
    u_min, v_min, u_max, v_max = box
    count = min(round(box_width(u_min, u_max, grid.width)) + 3, grid.width)
    columns = (u_min - 1 + np.arange(count)) % grid.width
    return slice(max(v_min - 1, 0), min(v_max + 2, grid.height)), columns


def _sample_vectors(
    rotation: Floats, rows: slice, columns: NDArray[np.intp], samples: int, grid: Equirect
) -> _Block:
    """Compute the directions [3, h * n, w * n] of n x n samples in every pixel, in the picture's axes."""
    fine = Equirect(grid.width * samples, grid.height * samples, grid.vertical_fov)
    first, end = int(columns[0]), int(columns[0]) + len(columns)
    spans = [(first, min(end, grid.width)), (0, max(end - grid.width, 0))]
    rows = slice(rows.start * samples, rows.stop * samples)
    parts = [
        fine.rotated_vectors(rotation.T, rows=rows, columns=slice(a * samples, b * samples)) for a, b in spans
    ]
    return np.concatenate(parts, 2)
