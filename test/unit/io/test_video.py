"""Frames from files: order, colours, and errors that name the remedy."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from panosam2_ros.io.frame_source import open_frames
from panosam2_ros.io.video import VideoError, resized_image


def write_images(folder: Path, sizes: list[tuple[int, int]]) -> None:
    for i, (width, height) in enumerate(sizes):
        image = np.full((height, width, 3), (10 * i, 100, 200), np.uint8)  # B, G, R
        cv2.imwrite(str(folder / f"frame_{i:03d}.png"), image)


def test_image_files_are_ordered_rgb_and_restartable(tmp_path):
    write_images(tmp_path, [(64, 32)] * 3)
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame_000.png").write_text("metadata of macOS")
    source = open_frames(tmp_path)
    assert (source.width, source.height, source.frames, source.rate) == (64, 32, 3, 0.0)
    for _ in range(2):
        frames = list(source)
        assert [tuple(f[0, 0]) for f in frames] == [(200, 100, 10 * i) for i in range(3)]


def test_a_single_image_is_a_source_of_one_frame(tmp_path):
    write_images(tmp_path, [(64, 32)])
    assert len(list(open_frames(tmp_path / "frame_000.png"))) == 1


def test_a_video_keeps_its_size_rate_and_colours(tmp_path):
    path = tmp_path / "100%d of red.mp4"  # a percent sign must not be taken for a numbering pattern
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (64, 32))
    for _ in range(5):
        writer.write(np.full((32, 64, 3), (0, 0, 220), np.uint8))
    writer.release()
    source = open_frames(path)
    assert (source.width, source.height, source.frames) == (64, 32, 5)
    assert source.rate == pytest.approx(12.5)
    frames = list(source)
    assert len(frames) == 5 and np.abs(frames[0].mean((0, 1)) - (220, 0, 0)).max() < 20


def test_errors_name_the_file_and_the_remedy(tmp_path):
    with pytest.raises(VideoError, match=r"there is no .*nowhere.mp4: give a video file"):
        open_frames(tmp_path / "nowhere.mp4")
    with pytest.raises(VideoError, match=r"has no image \(\.png"):
        open_frames(tmp_path)
    text = tmp_path / "text.mp4"
    text.write_text("this is not a video")
    with pytest.raises(VideoError, match=r"text.mp4 is no video that OpenCV can read; convert"):
        open_frames(text)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not a picture")
    with pytest.raises(VideoError, match=r"broken.png cannot be read as an image"):
        open_frames(broken)


def test_images_of_several_sizes_are_refused_by_name(tmp_path):
    write_images(tmp_path, [(64, 32), (32, 16)])
    with pytest.raises(VideoError, match=r"frame_001.png is 32x16 but frame_000.png.* 64x32"):
        list(open_frames(tmp_path))


def test_resized_image_returns_a_frame_of_that_size_as_it_is():
    frame = np.zeros((32, 64, 3), np.uint8)
    assert resized_image(frame, 64, 32) is frame
    assert resized_image(frame, 32, 16).shape == (16, 32, 3)
