"""Labels in views: complete, and also in other scripts than Latin."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import ImageFont

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import lonlat_to_vector
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.visualization import drawing, overlay, text

GRID = Equirect(512, 256)
LABELS = ["Tür", "чашка", "κούπα", "kávéscsésze"]
pytestmark = pytest.mark.faults


def ink(label: str) -> np.ndarray:
    """Draw a label in white; return where it is."""
    image = np.zeros((64, 512, 3), np.uint8)
    text.put_text(image, label, (10, 40), 1.0, (255, 255, 255))
    return image[..., 0]


@pytest.fixture(params=["own fonts", "opencv 4"])
def opencv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """OpenCV as it is, and without fonts, as version 4 on robots."""
    if request.param == "opencv 4":
        monkeypatch.delattr(cv2, "FontFace", raising=False)
        if text._font(text._FONTS[0], 20) is None:
            pytest.skip("needs a font of the system: apt install fonts-dejavu-core")
    elif not hasattr(cv2, "FontFace"):
        pytest.skip("needs OpenCV 5")
    return request.param


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("3.5 mm jack", "3.5 mm jack"),
        ("AC/DC poster", "AC/DC poster"),
        ("v1.2", "v1.2"),
        ("sprites/1f34e red apple.webp", "1f34e red apple"),
        ("Kaffeetasse, zerbrochen", "Kaffeetasse, zerbroc"),
        ("чашка", "чашка"),
        ("cup\n\x1b[31m\x00", "cup??[31m?"),
        ("", ""),
    ],
)
def test_labels_are_shown_as_they_are(label: str, shown: str) -> None:
    assert overlay.short(label) == shown
    assert overlay.name(2, label, TrackState.VISIBLE, 0.5) == f"#2 {shown} 0.50".replace("  ", " ")


@pytest.mark.parametrize("label", LABELS)
def test_other_scripts_are_drawn(opencv: str, label: str) -> None:
    drawn, marks = ink(label), ink("?" * len(label))
    assert drawn.any() and not np.array_equal(drawn, marks)
    columns = np.flatnonzero(drawn.any(0))
    assert abs(columns[-1] - columns[0] + 1 - text.text_width(label, 1.0)) < 12
    rows, latin = np.flatnonzero(drawn.any(1)), np.flatnonzero(ink("Mug").any(1))
    assert abs(int(rows[0]) - int(latin[0])) < 12 and drawn[:, :8].max() == 0


def test_labels_are_drawn_across_the_seam_in_every_script(opencv: str) -> None:
    middle, seam = np.zeros((256, 512, 3), np.uint8), np.zeros((256, 512, 3), np.uint8)
    for image, longitude in ((middle, 0.0), (seam, math.pi)):
        drawing.draw_marks(image, [drawing.Mark(2, lonlat_to_vector(longitude, 0.0), "#2 чашка")], GRID)
    assert middle.any() and np.array_equal(np.roll(middle, 256, 1), seam)


def test_without_fonts_characters_become_question_marks_and_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def missing(*_: Any) -> None:
        raise OSError("cannot open resource")

    monkeypatch.delattr(cv2, "FontFace", raising=False)
    monkeypatch.setattr(ImageFont, "truetype", missing)
    for cache in (text._chosen, text._font, text._say_missing_once):
        cache.cache_clear()
    try:
        for label in LABELS:
            assert np.array_equal(
                ink(f"{label} 1"), ink("".join(c if c.isascii() else "?" for c in label) + " 1")
            )
        assert len(caplog.messages) == 1 and "fonts-noto-cjk" in caplog.text
    finally:
        for cache in (text._chosen, text._font, text._say_missing_once):
            cache.cache_clear()


def test_characters_that_no_font_has_are_marked(caplog: pytest.LogCaptureFixture) -> None:
    font = text._font(text._FONTS[0], 20)
    if font is None:
        pytest.skip("needs a font of the system: apt install fonts-dejavu-core")
    assert text._has(font, "ж") and not text._has(font, "\U00012000")  # a cuneiform sign
