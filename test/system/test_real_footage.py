"""Pictures of tracked objects: every object has a row, and movies fit into their limit."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from helpers.spherical_shapes import disc
from panosam2_ros.geometry.equirect import Equirect
from tools import real_footage
from tools.real_footage import CAPTION, CELL, LARGEST_MOVIE, main, write_movie

GRID = Equirect(512, 256)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of seven images: a red and a green disc on grey, the red one across the seam."""
    folder = tmp_path_factory.mktemp("frames")
    for t in range(7):
        image = np.full((256, 512, 3), 120, np.uint8)
        image[disc(3.1 + 0.02 * t, 0.1, 0.25, GRID)] = (40, 40, 220)
        image[disc(0.5, -0.2, 0.2, GRID)] = (60, 200, 60)
        cv2.imwrite(str(folder / f"{t:03d}.png"), image)
    return folder


def test_each_object_has_a_row_and_each_time_a_column(frames: Path, tmp_path: Path) -> None:
    sheet, movie = tmp_path / "sheet.jpg", tmp_path / "movie.webp"
    boxes = ["--box=486,96,24,140", "--box=279,125,314,162"]
    main(
        ["--video", str(frames), *boxes, "--weights", "panosam2_nano", "--every", "3", "--sheet", str(sheet),
         "--movie", str(movie), "--movie-every", "2", "--movie-width", "256"]
    )  # fmt: skip
    picture = cv2.imread(str(sheet))
    assert picture is not None and picture.shape == (2 * (CELL + CAPTION), 2 * CELL, 3)
    middles = picture[CAPTION + CELL // 2 :: CELL + CAPTION, CELL // 2 :: CELL]
    assert (middles[0, :, 2] > 150).all() and (middles[1, :, 1] > 130).all()  # each looks at its object
    _, animation = cv2.imreadanimation(str(movie))
    assert len(animation.frames) == 3 and movie.stat().st_size < LARGEST_MOVIE


def test_a_movie_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_footage, "LARGEST_MOVIE", 100)
    pictures = list(np.random.default_rng(0).integers(0, 255, (2, 64, 128, 3), np.uint8))
    with pytest.raises(ValueError, match="give a smaller --movie-width"):
        write_movie(tmp_path / "movie.webp", pictures, 100)


def test_boxes_have_four_corners(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--video", "walk.mp4", "--box=1,2,3"])
    assert "a box is U_MIN,V_MIN,U_MAX,V_MAX" in capsys.readouterr().err
