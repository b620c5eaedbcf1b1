"""Invented requests and images: each is answered or refused with a short reason, and nothing else happens."""

from __future__ import annotations

import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from geometry_msgs.msg import Vector3
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from helpers.fuzzing import examples
from panosam2_ros.geometry.camera_frame import CameraFrame
from panosam2_ros.io.image_encodings import ENCODINGS, ImageError
from panosam2_ros.io.printable import MOST_CHARACTERS
from panosam2_ros.model.build import random_model
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.msg import ObjectPrompt, PromptDirection, PromptPoint, PromptResult
from panosam2_ros.prompts.limits import PromptLimits
from panosam2_ros.ros.conversion.panorama_decoder import PanoramaDecoder
from panosam2_ros.ros.inference.frame_buffer import ReceivedImage
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.ros.services import handlers
from panosam2_ros.ros.services.refusal import CallRefusedError
from panosam2_ros.srv import PromptObjects
from panosam2_ros.tracking.config import TrackerConfig
from panosam2_ros.tracking.tracker import PanoTracker

pytestmark = pytest.mark.faults
WIDTH, HEIGHT = 128, 64
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
LONGEST = MOST_CHARACTERS + 50  # of a message

texts = st.text(max_size=30) | st.sampled_from(["x" * 300, "\x1b[2J", "\n" * 99])
singles = st.floats(width=32) | st.floats(-10, 150, width=32)
doubles = st.floats() | st.sampled_from([0.0, 1.0, -1.0])
labels = st.sampled_from([1, 0]) | st.integers(0, 255)
points = st.builds(PromptPoint, u=singles, v=singles, label=labels)
vectors = st.builds(Vector3, x=doubles, y=doubles, z=doubles)
directions = st.builds(PromptDirection, direction=vectors, label=labels)
sizes = st.sampled_from([HEIGHT, WIDTH, 0, 1, 3, 2 * WIDTH, 2**16, 2**32 - 1]) | st.integers(0, 300)


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A few different ones, or the same one many times."""
    return st.lists(items, max_size=4) | st.builds(lambda x, n: [x] * n, items, st.integers(5, 60))


@st.composite
def images(draw: st.DrawFn, encodings: st.SearchStrategy[str]) -> Image:
    msg = Image(
        height=draw(sizes), width=draw(sizes), step=draw(sizes), encoding=draw(encodings),
        is_bigendian=draw(st.integers(0, 255)),
    )  # fmt: skip
    if draw(st.booleans()):  # that fits
        msg.height, msg.width = HEIGHT, WIDTH
        msg.step = WIDTH * draw(st.integers(0, 8))
    size = draw(st.sampled_from([msg.height * msg.step, msg.height * msg.step * 3, 17, 0]))
    msg.data = array.array("B", draw(st.sampled_from([b"\0", b"\xff", b"\x17"])) * min(size, 10**6))
    msg.header.frame_id = draw(texts)
    return msg


inside = st.floats(0, 50, width=32)
right_points = st.builds(PromptPoint, u=inside, v=inside, label=st.just(1))
right_prompts = st.builds(
    ObjectPrompt,
    label=st.text("mug", max_size=5) | st.just("x" * 150),
    points=st.lists(right_points, min_size=1, max_size=3)
    | st.builds(lambda x, n: [x] * n, right_points, st.sampled_from([8, 9, 60])),
    replace=st.booleans(),
)
prompts = right_prompts | st.builds(
    ObjectPrompt,
    object_id=st.integers(0, 3) | st.integers(0, 65535),
    label=texts,
    points=some(points),
    directions=st.just([]) | some(directions),
    box=st.just([]) | st.lists(singles, min_size=4, max_size=4) | st.lists(singles, max_size=4),
    mask=st.just(Image()) | images(st.sampled_from(["mono8", "8UC1", "rgb8"])),
    replace=st.booleans(),
)


@pytest.fixture(scope="module")
def tracker() -> PanoTracker:
    config = ModelConfig(input_height=64, input_width=64, regions=True, mask_stride=2)
    model = random_model(3, config=config).eval().requires_grad_(False)
    return PanoTracker(model, TrackerConfig(max_objects=6))


def short_and_printable(text: str) -> bool:
    return 0 < len(text) <= LONGEST * 6 and text.isprintable()


@given(requested=st.lists(prompts, max_size=4) | st.builds(lambda p, n: [p] * n, prompts, st.integers(2, 6)))
@examples(40)
def test_any_prompts_are_answered(requested: list[ObjectPrompt], tracker: PanoTracker) -> None:
    """Each has a result, with a code and a reason where it is refused; tracking goes on."""
    frame = ReceivedImage(1, SimpleNamespace(header=Header(frame_id="camera")), 0)
    worker: Any = SimpleNamespace(tracker=tracker, frame_at=lambda _: (frame, PIXELS))
    target: Any = SimpleNamespace(of=lambda header, camera: (header, camera))
    limits = PromptLimits(prompts=4, points=8, label=100)
    geometry = handlers.ImageGeometry(np.pi, lambda _: CameraFrame(), target, limits)
    tracker.reset()
    try:
        answer = handlers.prompt_objects(worker, PromptObjects.Request(prompts=requested), geometry)
    except CallRefusedError as refusal:
        assert refusal.code == PromptResult.INVALID and short_and_printable(str(refusal))
        assert not 0 < len(requested) <= 4
        return
    assert len(answer.results) == len(requested) <= 4
    for result, prompt in zip(answer.results, requested, strict=True):
        assert result.code != PromptResult.INTERNAL, result.message
        if result.code == PromptResult.OK:
            assert result.message == "" and result.bearing.label == prompt.label
            assert len(prompt.points) + len(prompt.directions) <= 8 and len(prompt.label) <= 100
        else:
            assert short_and_printable(result.message) and len(result.message) <= LONGEST
    assert len(tracker.step(PIXELS, 10**9).tracks) <= 6


@given(
    msg=images(st.sampled_from(ENCODINGS) | texts),
    fisheye=st.booleans(),
    fov=st.sampled_from([np.pi, 1.0]),
)
@examples(200)
def test_any_raw_image_is_refused_or_decoded(msg: Image, fisheye: bool, fov: float) -> None:
    projection = "dual_fisheye" if fisheye else "equirectangular"
    decoder = PanoramaDecoder(
        Parameters(
            projection=projection,
            vertical_fov=np.pi if fisheye else fov,
            panorama_width=128,
            max_image_mpixels=1.0,
        )
    )
    refused_or_decoded(decoder, msg)


FILES = [
    bytes(cv2.imencode(kind, PIXELS, settings)[1])
    for kind, settings in (
        (".png", []), (".jpg", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]), (".bmp", []), (".webp", []),
    )
]  # fmt: skip


@given(data=st.data())
@examples(150)
def test_any_compressed_image_is_refused_or_decoded(data: st.DataObject) -> None:
    """Whole ones, ones that were cut off, and ones with other bytes at some places."""
    content = bytearray(data.draw(st.sampled_from(FILES)))
    early = st.integers(0, 40) | st.integers(0, len(content) - 1)
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(early)] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    kind = data.draw(
        st.sampled_from(["jpeg", "png", "bgr8; jpeg compressed bgr8", "bayer_rggb8; png"]) | texts
    )
    msg = CompressedImage(format=kind, data=array.array("B", bytes(content)))
    refused_or_decoded(PanoramaDecoder(Parameters(max_image_mpixels=1.0)), msg)


def refused_or_decoded(decoder: PanoramaDecoder, msg: Any) -> None:
    try:
        image = decoder(msg)
    except ImageError as error:
        assert 0 < len(str(error)) <= 2 * LONGEST
        return
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert 0 < image.shape[0] * image.shape[1] <= 10**6
