"""The rotation of the camera between two panoramas, estimated from the static scene: a visual gyroscope.

Corners are tracked from one image to the next (pyramidal Lucas-Kanade 1981, OpenCV's). With their
directions ``a`` before and ``b`` after, a rotation R and a translation t of the camera,
``t . (R a x b) = 0`` whatever their distances (Longuet-Higgins 1981): first R is fitted as if all points
were far away (Wahba 1965, solved as by Markley 1988), then t and small changes of R, interleaved, each by
iteratively reweighted least squares, so that moving objects count little. In a full panorama a rotation
cannot be mistaken for a translation, as it can be in a narrow view.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from panosam2_ros.geometry.circular import reference_column
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, angle_between, cross, rotation_matrix

_WIDTH = 256  # of the images that are compared, pixels
_MARGIN = 32  # columns that are repeated beyond the seam
_MAX_LATITUDE = math.radians(65)  # nearer to the poles rows are stretched too far for corners to be tracked
_MAX_CORNERS, _MIN_DISTANCE = 120, 6  # corners that are tracked, and pixels between them
_WINDOW, _MAX_LEVEL = (11, 11), 3  # of the optical flow: pixels, pyramid levels
_FAR_ITERATIONS, _ITERATIONS = 3, 20
_CONVERGED = 1e-5  # rad: a smaller change of the rotation ends the iterations
_NOISE = math.radians(0.2)  # of a tracked corner
_INLIER = math.radians(0.5)  # largest angle between a corner and its epipolar plane
_MIN_INLIERS, _MIN_INLIER_SHARE = 16, 0.35  # of the last image's corners


class RotationEstimator:
    """Estimates the camera's rotation from image to image; keeps a small copy of the last image."""

    def __init__(self, *, vertical_fov: float = math.pi, first_column: tuple[int, int] = (0, 0)) -> None:
        """Start without a last image, for panoramas ``vertical_fov`` rad high.

        ``first_column``: the width of the images, and the column at which the compared copies begin; an
        image of another width chooses a new one.
        """
        self._fov = vertical_fov
        self._before: tuple[ImageArray, Floats] | None = None  # small copy, and its corners [N, 2]
        self.first_column = first_column

    def update(self, image: ImageArray) -> Floats:
        """Estimate the camera rotation since the last image, and keep this one for the next call.

        ``image`` is RGB [H, W, 3]. Returns the rotation [3, 3] that takes directions of distant static
        points from the last image to this one, in camera optical axes; the identity where it cannot be
        estimated: at the first image, one of another size, after a cut, with too few corners.
        """
        grid = Equirect(image.shape[1], image.shape[0], self._fov).of_width(_WIDTH)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        before, width = self._before, grey.shape[1]
        if self.first_column[0] != width:  # the column then stays the same while the camera rotates
            before, self.first_column = None, (width, reference_column(grey))
        small = _shrunk(np.roll(grey, -self.first_column[1], 1), grid)
        self._before = small, _corners(small, grid)
        if before is None or before[0].shape != small.shape or len(before[1]) < _MIN_INLIERS:
            return np.eye(3)
        tracked = _track_corners(before[0], small, before[1])
        if len(tracked[0]) < _MIN_INLIERS:
            return np.eye(3)
        a, b = (grid.pixel_to_vector(x[:, 0] - _MARGIN, x[:, 1]) for x in tracked)
        rotation, residuals = estimate_rotation(a, b)
        inliers = int((residuals < _INLIER).sum())
        if inliers < max(_MIN_INLIERS, _MIN_INLIER_SHARE * len(before[1])):
            return np.eye(3)
        back = rotation_matrix([0.0, self.first_column[1] / width * 2 * math.pi, 0.0])
        return np.asarray(back @ rotation @ back.T)


def estimate_rotation(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """Estimate the rotation [3, 3] of a camera that may also have moved, and each direction's residual.

    ``before`` and ``after`` are unit vectors [N, 3] to the same points. Residuals [N] are angles, rad, from
    the epipolar planes.
    """
    rotation = _rotation_to_distant(before, after)
    weights = np.ones(len(before))
    for _ in range(_ITERATIONS):
        turned = before @ rotation.T
        normals = cross(turned, after)
        translation = np.linalg.eigh((normals * weights[:, None]).T @ normals)[1][:, 0]
        # a small rotation w changes the normals by w - turned (turned . w)
        slopes = translation - (turned @ translation)[:, None] * turned
        weighted = (slopes * weights[:, None]).T
        change = np.linalg.lstsq(weighted @ slopes, weighted @ (normals @ translation), rcond=None)[0]
        rotation = rotation_matrix(change) @ rotation
        residuals = np.abs(cross(before @ rotation.T, after) @ translation)
        weights = np.maximum(residuals, _NOISE) ** -2
        if np.linalg.norm(change) < _CONVERGED:
            break
    return rotation, residuals


def _rotation_to_distant(before: Floats, after: Floats) -> Floats:
    """Fit the rotation [3, 3] that takes most of the directions ``before`` to ``after``, without parallax."""
    weights = np.ones(len(before))
    for _ in range(_FAR_ITERATIONS):
        u, _, vt = np.linalg.svd((after * weights[:, None]).T @ before)
        rotation = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
        weights = 1 / np.maximum(angle_between(before @ rotation.T, after), _NOISE)
    return np.asarray(rotation)


def _shrunk(grey: ImageArray, grid: Equirect) -> ImageArray:
    """Shrink a grey image to the grid's size and add margins from across the seam: [h, w + 2 * _MARGIN]."""
    small = grey
    while small.shape[1] > 1.5 * grid.width:  # by halves: in one step it takes thirty times as long
        small = cv2.resize(small, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    small = cv2.resize(small, (grid.width, grid.height))
    return np.asarray(cv2.copyMakeBorder(small, 0, 0, _MARGIN, _MARGIN, cv2.BORDER_WRAP), np.uint8)


def _corners(image: ImageArray, grid: Equirect) -> Floats:
    """Find corners, x, y [N, 2] in pixels, outside the margins and away from the poles."""
    where = np.zeros(image.shape, np.uint8)
    where[abs(grid.row_latitudes()) < _MAX_LATITUDE, _MARGIN : _MARGIN + grid.width] = 255
    found = cv2.goodFeaturesToTrack(image, _MAX_CORNERS, 0.01, _MIN_DISTANCE, mask=where)
    return np.empty((0, 2)) if found is None else np.asarray(found[:, 0], float)


def _track_corners(before: ImageArray, after: ImageArray, corners: Floats) -> tuple[Floats, Floats]:
    """Track corners [N, 2] to the next image; positions before and after, [M, 2] each.

    Only corners are kept that are tracked back to where they started (forward-backward check).
    """
    start = corners.astype(np.float32)[:, None]
    options = {"winSize": _WINDOW, "maxLevel": _MAX_LEVEL}
    end, found, _ = cv2.calcOpticalFlowPyrLK(before, after, start, None, **options)
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(after, before, end, None, **options)
    good = (found[:, 0] > 0) & (found_back[:, 0] > 0) & (np.abs(back - start).max((1, 2)) < 0.5)
    return np.asarray(start[good, 0], float), np.asarray(end[good, 0], float)
