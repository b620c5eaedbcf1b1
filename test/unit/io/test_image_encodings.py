"""Every encoding, padding and byte order against plainly written conversions and rosbags-image."""

from __future__ import annotations

import array
import zlib
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as PillowImage

from panosam2_ros.io.image_encodings import ENCODINGS, ImageError, compressed_to_array, image_to_array
from panosam2_ros.io.image_files import _say_orientation_once

HEIGHT, WIDTH = 8, 12
COLOURS = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 4), np.uint16)  # R, G, B, A
YUV = np.random.default_rng(1).integers((16, 0, 0), (236, 256, 256), (HEIGHT, WIDTH, 3)).astype(np.uint8)
ORDERS = {"rgb": [0, 1, 2], "bgr": [2, 1, 0], "rgba": [0, 1, 2, 3], "bgra": [2, 1, 0, 3], "mono": [1]}
GENERIC = {"UC1": "mono", "UC3": "bgr", "UC4": "bgra"}
BAYER = {"rggb": [0, 1, 1, 2], "bggr": [2, 1, 1, 0], "gbrg": [1, 2, 0, 1], "grbg": [1, 0, 2, 1]}


@dataclass
class Message:
    """The fields of sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass
class Compressed:
    """The fields of sensor_msgs/CompressedImage."""

    format: str
    data: Any


def depth_of(encoding: str) -> int:
    return 2 if "16" in encoding else 1


def mosaic(encoding: str) -> NDArray[np.intp]:
    """Return the channel [H, W] of every pixel of a Bayer image."""
    pattern = np.array(BAYER[encoding[6:10]]).reshape(2, 2)
    return np.tile(pattern, (HEIGHT // 2, WIDTH // 2))


def rows_of(encoding: str) -> NDArray[Any]:
    """Encode the test image as a camera would, [rows, values], without padding."""
    known = COLOURS if depth_of(encoding) == 2 else (COLOURS >> 8).astype(np.uint8)
    y, u, v = np.moveaxis(YUV, -1, 0)
    if encoding.startswith("bayer"):
        return np.take_along_axis(known, mosaic(encoding)[..., None], -1)[..., 0]
    if encoding in ("yuv422", "uyvy"):
        return np.stack([u[:, ::2], y[:, ::2], v[:, ::2], y[:, 1::2]], -1).reshape(HEIGHT, -1)
    if encoding in ("yuv422_yuy2", "yuyv"):
        return np.stack([y[:, ::2], u[:, ::2], y[:, 1::2], v[:, ::2]], -1).reshape(HEIGHT, -1)
    if encoding in ("nv12", "nv21"):
        pair = [u[::2, ::2], v[::2, ::2]][:: 1 if encoding == "nv12" else -1]
        return np.concatenate([y, np.stack(pair, -1).reshape(HEIGHT // 2, -1)])
    if encoding == "nv24":
        return np.concatenate([y, np.stack([u, v], -1).reshape(2 * HEIGHT, -1)])
    order = GENERIC.get(encoding.lstrip("0123456789"), encoding.rstrip("0123456789"))
    return known[..., ORDERS[order]].reshape(HEIGHT, -1)


def expected(encoding: str) -> NDArray[np.float64]:
    """Compute RGB [H, W, 3] by the formulas of the standard."""
    eight = (COLOURS >> 8).astype(float)
    if encoding.startswith("bayer"):
        return demosaiced(encoding, eight)
    if encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        return of_yuv(YUV, YUV[:, ::2].repeat(2, 1))
    if encoding in ("nv12", "nv21"):
        return of_yuv(YUV, YUV[::2, ::2].repeat(2, 0).repeat(2, 1))
    if encoding == "nv24":
        return of_yuv(YUV, YUV)
    return eight[..., [1, 1, 1] if "mono" in encoding or "UC1" in encoding else [0, 1, 2]]


def of_yuv(luma: NDArray[np.uint8], chroma: NDArray[np.uint8]) -> NDArray[np.float64]:
    y, u, v = 255 / 219 * (luma[..., 0] - 16.0), chroma[..., 1] - 128.0, chroma[..., 2] - 128.0
    scale = 255 / 112
    red = y + scale * (1 - 0.299) * v
    green = y - scale * (0.114 * (1 - 0.114) * u + 0.299 * (1 - 0.299) * v) / 0.587
    blue = y + scale * (1 - 0.114) * u
    return np.clip(np.stack([red, green, blue], -1), 0, 255)


def demosaiced(encoding: str, full: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill missing channels with the mean of the nearest pixels that have them; borders stay NaN."""
    has, found = mosaic(encoding), np.full((HEIGHT, WIDTH, 3), np.nan)
    for row in range(1, HEIGHT - 1):
        for column in range(1, WIDTH - 1):
            for channel in range(3):
                near = [
                    (dr * dr + dc * dc, full[row + dr, column + dc, channel])
                    for dr in (-1, 0, 1)
                    for dc in (-1, 0, 1)
                    if has[row + dr, column + dc] == channel
                ]
                least = min(distance for distance, _ in near)
                found[row, column, channel] = np.mean([x for d, x in near if d == least])
    return found


def message(encoding: str, padding: int = 0, big_endian: bool = False) -> Message:
    rows = rows_of(encoding)
    raw = rows.astype(rows.dtype.newbyteorder(">" if big_endian else "<")).view(np.uint8)
    if encoding == "nv24":  # a row of chroma is twice as long, its padding too
        luma = np.pad(raw[:HEIGHT], ((0, 0), (0, padding)), constant_values=99)
        pairs = raw[HEIGHT:].reshape(HEIGHT, -1)
        pairs = np.pad(pairs, ((0, 0), (0, 2 * padding)), constant_values=99)
        raw = np.concatenate([luma, pairs.reshape(2 * HEIGHT, -1)])
    else:
        raw = np.pad(raw, ((0, 0), (0, padding)), constant_values=99)
    return Message(HEIGHT, WIDTH, encoding, int(big_endian), raw.shape[1], array.array("B", raw.tobytes()))


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 5, 64])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_image_to_array_converts_every_encoding(encoding: str, padding: int, big_endian: bool) -> None:
    found = image_to_array(message(encoding, padding, big_endian))
    wanted = expected(encoding)
    tolerance = 2 if "yuv" in encoding or "uyvy" in encoding or "nv" in encoding else 1
    tolerance = 0.5 + tolerance if not np.array_equal(wanted, np.rint(wanted)) else 0
    assert found.shape == (HEIGHT, WIDTH, 3) and found.dtype == np.uint8 and found.flags.c_contiguous
    known = np.isfinite(wanted)
    assert known.mean() > 0.6
    assert np.abs(found[known] - wanted[known]).max() <= tolerance


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if not e.startswith(("nv", "8UC", "16UC"))])
def test_image_to_array_agrees_with_rosbags_image(encoding: str, big_endian: bool) -> None:
    reference = pytest.importorskip("rosbags.image")
    msg = message(encoding, 0, big_endian)
    msg.data = np.frombuffer(msg.data, np.uint8)
    wanted = reference.message_to_cvimage(msg, "rgb8").astype(int)
    # of 16 bits it takes v * 255 / 65535, the upper byte or one less, and that after a mosaic's means
    tolerance = 0 if depth_of(encoding) == 1 else 2 if encoding.startswith("bayer") else 1
    assert np.abs(image_to_array(msg) - wanted).max() <= tolerance


@pytest.mark.parametrize("size", [(1920, 960), (3840, 1920), (5760, 2880)])
@pytest.mark.parametrize(("encoding", "pixel"), [("rgb8", 3), ("bgr16", 6), ("nv12", 1.5), ("yuyv", 2)])
def test_image_to_array_takes_large_images(size: tuple[int, int], encoding: str, pixel: float) -> None:
    width, height = size
    step = width if encoding == "nv12" else int(width * pixel)
    data = np.full(int(width * height * pixel), 128, np.uint8)
    found = image_to_array(Message(height, width, encoding, 0, step, data))
    assert found.shape == (height, width, 3)
    assert (found == (130 if encoding in ("nv12", "yuyv") else 128)).all()  # Y 128 of 16..235


@pytest.mark.parametrize("kind", [bytes, partial(array.array, "B"), partial(np.frombuffer, dtype=np.uint8)])
def test_rgb8_is_not_copied(kind: Any) -> None:
    msg = message("rgb8")
    msg.data = kind(bytes(msg.data))
    found = image_to_array(msg)
    assert np.shares_memory(found, np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize(
    ("encoding", "change", "reason"),
    [
        ("rgb8", {"encoding": "32FC1"}, "'32FC1' is not understood; needed is one of rgb8, bgr8, .*driver"),
        ("rgb8", {"encoding": ""}, "'' is not understood"),
        ("rgb8", {"height": 0}, "no pixels.*driver"),
        ("rgb8", {"step": 35}, "a row of 12x8 rgb8 has 36 bytes.*driver"),
        ("rgb8", {"height": 9}, "needs 324 bytes, got 288.*driver"),
        ("rgb16", {"step": 71}, "a row of 12x8 rgb16 has 72 bytes"),
        ("yuyv", {"width": 11}, "multiples of 2 and 1, got 11x8.*set the camera driver"),
        ("nv12", {"height": 7}, "multiples of 2 and 2, got 12x7"),
        ("nv21", {"height": 10}, "needs 180 bytes, got 144"),
        ("nv24", {"height": 9}, "needs 324 bytes, got 288"),
    ],
)
def test_invalid_images_are_refused_with_the_numbers(
    encoding: str, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ImageError, match=reason):
        image_to_array(replace(message(encoding), **change))


@pytest.mark.parametrize("shape", ["colour", "grey"])
@pytest.mark.parametrize(("form", "depth"), [("png", 8), ("png", 16), ("jpeg", 8)])
def test_compressed_to_array_decodes_png_and_jpeg(form: str, depth: int, shape: str) -> None:
    smooth = cv2.resize(COLOURS[..., :3], (96, 64), interpolation=cv2.INTER_CUBIC)
    stored = smooth if depth == 16 else (smooth >> 8).astype(np.uint8)
    stored = stored[..., ::-1] if shape == "colour" else stored[..., 1]
    data = cv2.imencode(f".{form}", np.ascontiguousarray(stored))[1].tobytes()
    found = compressed_to_array(Compressed(form, array.array("B", data))).astype(int)
    wanted = (smooth >> 8).astype(int)
    wanted = wanted if shape == "colour" else wanted[..., [1, 1, 1]]
    worst = np.abs(found - wanted)
    assert worst.max() <= (depth == 16) if form == "png" else worst.mean() < 12


@pytest.mark.parametrize("how", ["png compressed ", "jpeg compressed bgr8"])
def test_compressed_to_array_decodes_bayer_mosaics(how: str) -> None:
    kept = "bgr8" not in how
    stored = rows_of("bayer_rggb8") if kept else expected("bgr8").astype(np.uint8)[..., ::-1]
    data = cv2.imencode(".png", np.ascontiguousarray(stored))[1].tobytes()
    found = compressed_to_array(Compressed(f"bayer_rggb8; {how}", data))
    assert np.array_equal(found, image_to_array(message("bayer_rggb8" if kept else "rgb8")))


@pytest.mark.parametrize(
    ("form", "data", "reason"),
    [
        ("jpeg", b"", "there are no data; needed is jpeg or png: set the publisher"),
        ("jpeg", b"no image at all", "does not know the format, .* set the publisher"),
        ("jpeg", b"\xff\xd8\xff\xe0 cut", "cut off, its end is missing; check the camera driver"),
        ("h264", b"\0\0\0\1\x67", "this is a packet of a video, which is decoded only in its stream"),
    ],
)
def test_compressed_to_array_refuses_undecodable_data(form: str, data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=rf"{len(data)} bytes of format '{form}' could not .*{reason}"):
        compressed_to_array(Compressed(form, array.array("B", data)))


def jpeg(**how: Any) -> bytes:
    """Encode noise by Pillow, which can write thumbnails and orientations."""
    file = BytesIO()
    PillowImage.fromarray((COLOURS[..., :3] >> 8).astype(np.uint8)).resize((64, 32)).save(file, "JPEG", **how)
    return file.getvalue()


def exif(*, orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """Return EXIF data with an orientation, and behind them a thumbnail."""
    found = PillowImage.Exif()
    found[0x0112] = orientation
    return found.tobytes() + thumbnail


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make OpenCV decode half a picture, as version 4.10 does."""
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: np.zeros((32, 64, 3), np.uint8))


@pytest.mark.faults
@pytest.mark.parametrize("lost", [2, 100, 700])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"exif": exif(thumbnail=jpeg())}])
def test_a_jpeg_that_is_cut_off_is_refused_by_every_version_of_opencv(
    lenient: None, how: dict[str, Any], lost: int
) -> None:
    data = jpeg(**how)
    with pytest.raises(ImageError, match=r"cut off, its end is missing; check the camera driver"):
        compressed_to_array(Compressed("jpeg", data[:-lost]))
    assert compressed_to_array(Compressed("jpeg", data)).shape == (32, 64, 3)
    for padding in (b"\0" * 100, b"\0" * 200_000, data):  # drivers pad; cameras append a preview
        assert compressed_to_array(Compressed("jpeg", data + padding)).shape == (32, 64, 3)


@pytest.mark.faults
@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_headers_that_claim_gigabytes_are_refused_before_decoding(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(cv2.imencode(f".{form}", np.zeros((32, 64, 3), np.uint8))[1].tobytes())
    assert compressed_to_array(Compressed(form, bytes(data))).shape == (32, 64, 3)
    if form == "png":
        data[16:24] = (20_000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = (20_000).to_bytes(2, "big") * 2
    monkeypatch.setattr(cv2, "imdecode", None)  # it must not be called
    with pytest.raises(ImageError, match="its header states 20000x20000 pixels, at most 2e\\+08"):
        compressed_to_array(Compressed(form, bytes(data)))


@pytest.mark.faults
def test_exceptions_of_opencv_become_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise cv2.error("CV_IO_MAX_IMAGE_PIXELS")

    monkeypatch.setattr(cv2, "imdecode", fail)
    with pytest.raises(ImageError, match="OpenCV says: CV_IO_MAX_IMAGE_PIXELS; needed is"):
        compressed_to_array(Compressed("jpeg", jpeg()))
    monkeypatch.setattr(cv2, "cvtColor", fail)
    for encoding in ("bgr8", "bayer_rggb8", "nv12", "yuyv"):
        with pytest.raises(ImageError, match=r"cannot convert the colours of .*CV_IO.*; set the camera"):
            image_to_array(message(encoding))


@pytest.mark.faults
def test_orientations_of_messages_are_ignored_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    _say_orientation_once.cache_clear()
    plain = compressed_to_array(Compressed("jpeg", jpeg()))
    assert not caplog.messages
    for orientation in (3, 6, 6):
        found = compressed_to_array(Compressed("jpeg", jpeg(exif=exif(orientation=orientation))))
        assert np.array_equal(found, plain)
    assert len(caplog.messages) == 1 and "EXIF orientation, which is ignored" in caplog.text
