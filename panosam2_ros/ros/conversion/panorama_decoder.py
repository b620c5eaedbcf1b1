"""Convert image messages to panoramas, whatever the camera delivers."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image

from panosam2_ros.geometry.dual_fisheye import CalibrationError, DualFisheye, Remap
from panosam2_ros.geometry.equirect import Equirect, exact_fov
from panosam2_ros.io.image_encodings import ENCODINGS, ImageError, compressed_to_array, image_to_array
from panosam2_ros.io.out_of_memory import raise_lack_of_memory
from panosam2_ros.ros.conversion.image_limits import ImageLimits
from panosam2_ros.ros.conversion.projection_monitor import ProjectionMonitor
from panosam2_ros.ros.conversion.stream_image import StreamImage
from panosam2_ros.ros.parameters import Parameters


class PanoramaDecoder:
    """Decodes an Image, a CompressedImage or a picture of a video to a panorama; used by one thread.

    Raises CalibrationError, ValueError or OSError where the parameters cannot be used.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._vertical_fov, self._width = parameters.vertical_fov, parameters.panorama_width
        self._limits = ImageLimits(parameters.max_image_mpixels)
        self._monitor = ProjectionMonitor(parameters)
        self._fisheye = parameters.projection == "dual_fisheye"
        self._camera: DualFisheye | None = None  # None: two upright lenses side by side
        self._remap: Remap | None = None  # of the newest size
        if self._fisheye and exact_fov(self._vertical_fov) != math.pi:
            raise ValueError(
                f"two fisheye lenses give a full sphere: vertical_fov must be pi, got {self._vertical_fov}"
            )
        if self._fisheye and parameters.fisheye_calibration:
            self._camera = DualFisheye.load(Path(parameters.fisheye_calibration))

    def __call__(self, msg: Any) -> NDArray[np.uint8]:
        """Return RGB [H, W, 3]; raise ImageError for what is no panorama and cannot become one."""
        self._limits.check(msg)
        image = _to_array(msg)
        self._monitor.check(image, msg.encoding if isinstance(msg, Image) else "")
        height, width = image.shape[:2]
        try:
            if self._fisheye:
                return self._table((width, height))(image)
            Equirect(width, height, self._vertical_fov)
        except (ValueError, CalibrationError) as error:
            raise ImageError(str(error)) from error
        except cv2.error as error:
            raise_lack_of_memory(error)
            raise ImageError(f"OpenCV cannot make a panorama of {width}x{height} pixels: {error}") from error
        return image

    @property
    def problem(self) -> str:
        """What images look like, where it is another projection than they should have; empty: nothing."""
        return self._monitor.problem

    def _table(self, size: tuple[int, int]) -> Remap:
        if self._remap is None or self._remap.size != size:
            camera = self._camera or DualFisheye.side_by_side(*size)
            self._remap = Remap(camera, size, self._width or size[0] // 2 * 2)
        return self._remap


def _to_array(msg: Any) -> NDArray[np.uint8]:
    """Return RGB [H, W, 3]; raise ImageError for what cannot be read."""
    if isinstance(msg, StreamImage):
        return msg.rgb()
    if isinstance(msg, CompressedImage):
        return compressed_to_array(msg, most_pixels=math.inf)
    return raw_to_array(msg)


def raw_to_array(msg: Image) -> NDArray[np.uint8]:
    """Return RGB [H, W, 3] of an Image, by cv_bridge where only that knows the encoding.

    Raise ImageError for an image that cannot be read.
    """
    bridge = None if msg.encoding in ENCODINGS else _cv_bridge()
    if bridge is None:
        return image_to_array(msg)
    try:
        return np.asarray(bridge.imgmsg_to_cv2(msg, desired_encoding="rgb8"), np.uint8)
    except Exception as error:  # CvBridgeError, and what NumPy and OpenCV raise for sizes that do not fit
        raise ImageError(
            f"encoding {msg.encoding!r} is not one of {', '.join(ENCODINGS)}, and cv_bridge cannot convert "
            f"it either: {error}; set the camera driver's pixel format to one of these"
        ) from error


def _cv_bridge() -> Any:
    """Return a CvBridge, or None where cv_bridge cannot be imported.

    It is imported only for an encoding that is not known here: its C++ part is built for one version of
    NumPy, and importing it beside another one fails.
    """
    try:
        return importlib.import_module("cv_bridge").CvBridge()
    except Exception:  # ImportError, and AttributeError beside another NumPy
        return None
