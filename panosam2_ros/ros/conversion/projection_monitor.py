"""Check what images look like against the projection that parameters say they have."""

from __future__ import annotations

import math

from panosam2_ros.geometry.equirect import FULL_SPHERE_RATIO, exact_fov
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.projection_check import is_planar_yuv, one_panorama, two_circles
from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.ros.parameters import Parameters

_EVERY = 10  # images, between two looks at the content
_GREY = ("8UC1", "mono8")
_LEAST_PAIR = 1.3  # width by height of two circles beside each other; 2 where they fill the image


class ProjectionMonitor:
    """Looks at images as they are decoded; ``problem`` says what the last one looked like, or is empty."""

    def __init__(self, parameters: Parameters) -> None:
        self._fisheye = parameters.projection == "dual_fisheye"
        self._calibrated = bool(parameters.fisheye_calibration)
        self._full = exact_fov(parameters.vertical_fov) == math.pi
        self._images = 0
        self.problem = ""

    def check(self, image: ImageArray, encoding: str) -> None:
        """Look at an RGB image [H, W, 3] before it becomes a panorama; ``encoding``: empty if compressed.

        Raise ImageError for a shape that cannot be right.
        """
        height, width = image.shape[:2]
        if self._fisheye:
            self._check_pair(width, height)
        elif encoding in _GREY and self._full:
            _check_planes(width, height, encoding)
        if self._images % _EVERY == 0:
            self.problem = _look_at_pair(image) if self._fisheye else self._look(image, encoding)
        self._images += 1

    def _check_pair(self, width: int, height: int) -> None:
        """Raise ImageError where two circles beside each other do not fit, and nobody said where they are."""
        if self._calibrated or width / height >= _LEAST_PAIR:
            return
        shape = "a pair above each other" if height / width >= _LEAST_PAIR else "the circle of one lens"
        raise ImageError(
            f"dual_fisheye needs two image circles beside each other, about twice as wide as high; "
            f"{width}x{height} is the shape of {shape}: set the camera driver to both lenses, or say where "
            "they are in a file (fisheye_calibration)"
        )

    def _look(self, image: ImageArray, encoding: str) -> str:
        """Return what the content of an image contradicts; empty: nothing."""
        if encoding in _GREY and not self._full and is_planar_yuv(image[..., 0]):
            return (
                f"images of encoding {encoding!r} look like planes of YUV (I420, NV12) with chroma in the "
                "lower third: set the camera driver to an encoding that says so, such as nv12, or to rgb8"
            )
        seen = two_circles(image)
        if not seen.are_circles:
            return ""
        return (
            f"images look like two fisheye circles, not like a panorama: {seen.black_outside:.0%} of the "
            f"pixels beside two circles are black, and {1 - seen.lit_rim:.0%} just inside: set projection to "
            "dual_fisheye, or have the camera driver stitch them"
        )


def _look_at_pair(image: ImageArray) -> str:
    """Return what the content of an image of two lenses contradicts; empty: nothing."""
    if image.shape[1] / image.shape[0] < _LEAST_PAIR:  # circles above each other, by their calibration
        return ""
    seen = one_panorama(image)
    if not seen.is_panorama:
        return ""
    return (
        f"images look like a panorama, not like two fisheye circles: {seen.lit_outside:.0%} of the pixels "
        "beside two circles are not black, and both halves join: set projection to equirectangular, or the "
        "camera driver to the images of both lenses"
    )


def _check_planes(width: int, height: int, encoding: str) -> None:
    """Raise ImageError for a grey image of one and a half times a panorama's height."""
    low, high = FULL_SPHERE_RATIO
    if not low <= width / height <= high and low <= 1.5 * width / height <= high:
        raise ImageError(
            f"an image of encoding {encoding!r} and {width}x{height} has one and a half times a panorama's "
            f"height, as planes of YUV (I420, NV12) have: set the camera driver to nv12 with height "
            f"{height * 2 // 3}, or to rgb8"
        )
