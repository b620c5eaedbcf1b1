"""How a camera turned from one panorama to the next, seen by what stands still: a visual gyroscope.

Corners are followed from the one image to the other (Lucas and Kanade 1981, in pyramids, OpenCV's). With
their directions ``a`` before and ``b`` after, a turn R and a translation t of the camera,
``t . (R a x b) = 0`` whatever their distances (Longuet-Higgins 1981): first R is fitted as if all were far
away (Wahba 1965, solved as by Markley 1988), then t and small changes of R in turns, each by least squares
that are reweighted so that what moves by itself counts little. All round, a turn cannot be mistaken for a
translation as in a narrow view.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from panosam2_ros.geometry.circular import reference_column
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, angle_between, rotation_matrix

_WIDTH = 256  # of the pictures that are compared, pixels
_MARGIN = 32  # columns that are repeated beyond the seam
_LATITUDE = math.radians(65)  # nearer to the poles rows are stretched too far to be followed
_CORNERS, _APART = 120, 6  # of which the turn is fitted, and pixels between them
_WINDOW, _LEVELS = (11, 11), 3
_FAR_ROUNDS, _ROUNDS, _DONE = 3, 20, 1e-5  # rad: a change after which no other one is needed
_NOISE = math.radians(0.2)  # of a followed corner
_AGREES = math.radians(0.5)  # off its epipolar plane
_LEAST, _SHARE = 16, 0.35  # corners that must agree, and share of all


class RotationEstimator:
    """Remembers the last image, small, and tells of the next how the camera turned.

    ``first_column``: the width of images, and the column with which the pictures of those begin; the first
    image chooses it where that has another width.
    """

    def __init__(self, vertical_fov: float = math.pi, first_column: tuple[int, int] = (0, 0)) -> None:
        self._fov = vertical_fov
        self._before: tuple[ImageArray, Floats] | None = None  # picture, and its corners [N, 2]
        self.first_column = first_column

    def turn(self, image: ImageArray) -> Floats:
        """[3, 3]: takes the last image's directions of far, still things to this one's, camera optical axes.

        ``image`` is RGB [H, W, 3]. The identity where it cannot be told: the first image, one of another
        size, a cut, too little to see.
        """
        grid = Equirect(image.shape[1], image.shape[0], self._fov).of_width(_WIDTH)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        before, width = self._before, grey.shape[1]
        if self.first_column[0] != width:  # from then on the same, also if the camera turns
            before, self.first_column = None, (width, reference_column(grey))
        picture = _picture(np.roll(grey, -self.first_column[1], 1), grid)
        self._before = picture, _corners(picture, grid)
        if before is None or before[0].shape != picture.shape or len(before[1]) < _LEAST:
            return np.eye(3)
        there, here = _followed(before[0], picture, before[1])
        if len(there) < _LEAST:
            return np.eye(3)
        a, b = (grid.pixel_to_vector(x[:, 0] - _MARGIN, x[:, 1]) for x in (there, here))
        rotation, off = estimate_rotation(a, b)
        agree = int((off < _AGREES).sum())
        back = rotation_matrix([0.0, self.first_column[1] / width * 2 * math.pi, 0.0])
        rotation = back @ rotation @ back.T
        return rotation if agree >= max(_LEAST, _SHARE * len(before[1])) else np.eye(3)


def estimate_rotation(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """The turn [3, 3] of a camera that may have moved, too, and how far off each direction is then, rad [N].

    ``before`` and ``after`` are unit vectors [N, 3] to the same things.
    """
    rotation = _fitted_to_far(before, after)
    weights = np.ones(len(before))
    for _ in range(_ROUNDS):
        turned = before @ rotation.T
        normals = np.cross(turned, after)
        translation = np.linalg.eigh((normals * weights[:, None]).T @ normals)[1][:, 0]
        # of a small turn w the normals change by w - turned (turned . w)
        slopes = translation - (turned @ translation)[:, None] * turned
        weighed = (slopes * weights[:, None]).T
        change = np.linalg.lstsq(weighed @ slopes, weighed @ (normals @ translation), rcond=None)[0]
        rotation = rotation_matrix(change) @ rotation
        off = np.abs(np.cross(before @ rotation.T, after) @ translation)
        weights = np.maximum(off, _NOISE) ** -2
        if np.linalg.norm(change) < _DONE:
            break
    return rotation, off


def _fitted_to_far(before: Floats, after: Floats) -> Floats:
    """The rotation [3, 3] that takes most of the directions ``before`` near to ``after``."""
    weights = np.ones(len(before))
    for _ in range(_FAR_ROUNDS):
        u, _, vt = np.linalg.svd((after * weights[:, None]).T @ before)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        weights = 1 / np.maximum(angle_between(before @ rotation.T, after), _NOISE)
    return np.asarray(rotation)


def _picture(grey: ImageArray, grid: Equirect) -> ImageArray:
    """Of the grid's size, with margins: [h, w + 2 * _MARGIN]."""
    small = grey
    while small.shape[1] > 1.5 * grid.width:  # by halves: at once takes thirty times as long
        small = cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, (grid.width, grid.height))
    return np.asarray(cv2.copyMakeBorder(small, 0, 0, _MARGIN, _MARGIN, cv2.BORDER_WRAP), np.uint8)


def _corners(picture: ImageArray, grid: Equirect) -> Floats:
    """Pixel indices x, y [N, 2] in the picture, beside its margins and far from the poles."""
    where = np.zeros(picture.shape, np.uint8)
    where[abs(grid.row_latitudes()) < _LATITUDE, _MARGIN : _MARGIN + grid.width] = 255
    found = cv2.goodFeaturesToTrack(picture, _CORNERS, 0.01, _APART, mask=where)
    return np.empty((0, 2)) if found is None else np.asarray(found[:, 0], float)


def _followed(before: ImageArray, after: ImageArray, corners: Floats) -> tuple[Floats, Floats]:
    """Where corners were and are, [M, 2] each, of those that lead back to where they came from."""
    start = corners.astype(np.float32)[:, None]
    options = {"winSize": _WINDOW, "maxLevel": _LEVELS}
    there, ahead, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)
    back, home, _ = cv2.calcOpticalFlowPyrLK(after, before, there, None, **options)
    good = (ahead[:, 0] > 0) & (home[:, 0] > 0) & (np.abs(back - start).max((1, 2)) < 0.5)
    return np.asarray(start[good, 0], float), np.asarray(there[good, 0], float)
