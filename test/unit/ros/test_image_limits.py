"""Images that are refused by their header, before anything is decoded."""

from __future__ import annotations

import array
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from sensor_msgs.msg import CompressedImage, Image

from panosam2_ros.io.image_encodings import ImageError
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
from panosam2_ros.ros.image_subscription import message_size
from panosam2_ros.ros.parameters import Parameters


def compressed(data: bytes, kind: str = "png") -> CompressedImage:
    return CompressedImage(format=kind, data=array.array("B", data))


def encoded(kind: str, width: int = 128) -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (width // 2, width, 3), np.uint8)
    return bytes(cv2.imencode(kind, image)[1])


def with_size(png: bytes, width: int, height: int) -> bytes:
    """The same PNG with another size in its header."""
    header = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + header + struct.pack(">I", zlib.crc32(header)) + png[33:]


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decodes(*_: Any) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(cv2, "imdecode", decodes)


def jpeg_of(width: int, height: int) -> bytes:
    """A JPEG file with another size in its header."""
    jpeg = bytearray(encoded(".jpg"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


@pytest.mark.faults
@pytest.mark.usefixtures("undecoded")
@pytest.mark.parametrize(
    ("msg", "reason"),
    [
        (compressed(with_size(encoded(".png"), 20_000, 10_000)), r"100 million pixels.*got 20000x10000"),
        (compressed(jpeg_of(30_000, 15_000), "jpeg"), r"100 million pixels.*got 30000x15000"),
        (Image(width=20_000, height=10_000, encoding="rgb8", step=60_000), "got 20000x10000"),
        (compressed(b"GIF89a and more", "gif"), "needed is jpeg or png"),
        (compressed(b"\0\0\0\1gB", "h264"), "needed is jpeg or png, or h264 or hevc"),
        (compressed(b"", "jpeg"), "0 bytes of format 'jpeg' could not be decoded"),
        (
            compressed(encoded(".png")[:20]),
            "'png' cannot be used: its header cannot be read",
        ),
        (
            compressed(encoded(".jpg")[:40], "jpeg"),
            "'jpeg' cannot be used: its header cannot be read",
        ),
        (compressed(encoded(".png"), "x" * 1000), "format has at most 100 characters, got 1000"),
        (Image(encoding="x" * 1000), "encoding has at most 100 characters, got 1000"),
    ],
)
def test_images_are_refused_by_their_header(msg: Any, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        PanoramaDecoder(Parameters())(msg)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_the_limit_is_a_parameter(kind: str) -> None:
    msg = compressed(encoded(kind, 512))
    assert PanoramaDecoder(Parameters(max_image_mpixels=0.14))(msg).shape == (256, 512, 3)
    with pytest.raises(ImageError, match=r"0.13 million pixels \(max_image_mpixels\), got 512x256"):
        PanoramaDecoder(Parameters(max_image_mpixels=0.13))(msg)


def test_an_image_without_pixels_counts_among_those_that_are_kept() -> None:
    """Else any number of them would be kept for prompts."""
    assert message_size(Image()) > 1000
    msg = CompressedImage(data=array.array("B", bytes(5000)))
    msg.header.frame_id = "f" * 3000
    assert message_size(msg) > 8000


def test_an_endless_frame_id_is_refused() -> None:
    msg = Image()
    msg.header.frame_id = "f" * 1_000_000
    with pytest.raises(ImageError, match="frame_id has at most 255 characters, got 1000000"):
        PanoramaDecoder(Parameters())(msg)
