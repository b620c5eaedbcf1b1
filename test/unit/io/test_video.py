"""Frames from files: order, colours, and errors that name the remedy."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from helpers.videos import cut, index_of, spoil, turn, write_video
from panosam2_ros.io.frame_source import open_frames, stamped_frames
from panosam2_ros.io.image_files import _say_orientation_once
from panosam2_ros.io.read_report import ReadReport
from panosam2_ros.io.video import VideoError, _FrameClock, resized_image

REGULAR = range(0, 2000, 100)  # ms
MS = 10**6  # ns


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


@pytest.mark.faults
def test_images_are_read_in_natural_order(tmp_path):
    names = [
        "1.jpg",
        "2.JPG",
        "9a2.jpg",
        "9a10.jpg",
        "10.jpg",
        "013.jpg",
        "a.png",
        "a1b3.png",
        "a1b20.png",
        "A2.png",
    ]
    for i, name in enumerate(names):
        cv2.imwrite(str(tmp_path / name), np.full((32, 64, 3), 10 * i, np.uint8))
    assert [round(frame.mean() / 10) for frame in open_frames(tmp_path)] == list(range(len(names)))


@pytest.mark.faults
@pytest.mark.parametrize("orientation", [3, 6])
def test_orientations_of_files_are_ignored_and_said_once(tmp_path, caplog, orientation):
    _say_orientation_once.cache_clear()
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 200
    exif = Image.Exif()
    exif[0x0112] = orientation
    for i in range(3):
        Image.fromarray(pixels).save(tmp_path / f"{i}.jpg", exif=exif)
    for frame in open_frames(tmp_path):
        assert frame.shape == (32, 64, 3) and frame[:, :28].min() > 150 and frame[:, 36:].max() < 50
    assert len(caplog.messages) == 1 and "EXIF orientation" in caplog.text


@pytest.mark.faults
def test_image_files_that_cannot_be_read_are_left_out_and_named(tmp_path):
    write_images(tmp_path, [(64, 32)] * 4)
    data = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8))[1].tobytes()
    (tmp_path / "frame_000.png").unlink()
    (tmp_path / "frame_000.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "frame_002.png").write_bytes(b"")
    source = open_frames(tmp_path)
    assert [frame.stamp for frame in stamped_frames(source, rate=10.0)] == [100_000_000, 300_000_000]
    assert (source.report.read, source.report.missing, source.frames) == (2, 2, 4)
    assert re.search(
        r"frame_000.jpg cannot be read as an image: .* cut off.*write it again", source.report.text
    )
    assert "frame_002.png cannot be read as an image: there are no data" in source.report.text


@pytest.mark.faults
def test_a_folder_without_a_readable_image_is_refused_with_the_reasons(tmp_path):
    (tmp_path / "0.png").write_bytes(b"\x89PNG")
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(VideoError, match=r"0.png cannot be read.*1.png cannot be read.*there are no data"):
        open_frames(tmp_path)


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
    with pytest.raises(VideoError, match=r"text.mp4 is no video that FFmpeg can read.*; convert"):
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


def read_video(path: Path, rate: float = 0.0) -> tuple[list[int], list[int], ReadReport]:
    """Return the stamps, ms, and the indices of the frames of a video, and what is said about it."""
    source = open_frames(path)
    frames = list(stamped_frames(source, rate=rate))
    return [frame.stamp // MS for frame in frames], [index_of(f.image) for f in frames], source.report


@pytest.mark.faults
def test_frames_keep_the_times_of_the_file(tmp_path):
    times = [0, 50, 100, 900, 1000, 5000, 8600]
    for name in ("irregular.mp4", "irregular.mkv"):
        path = write_video(tmp_path / name, times)
        stamps, _, report = read_video(path)
        assert stamps == times and report.read == 7 and not report.text
        assert read_video(path, rate=2.0)[0] == [
            500 * i for i in range(7)
        ]  # a rate that is given replaces them


@pytest.mark.faults
@pytest.mark.parametrize("bad", [(7,), (0, 7, 8, 12), (19,)])
def test_reading_goes_on_after_frames_that_cannot_be_decoded(tmp_path, bad):
    path = spoil(write_video(tmp_path / "hole.mp4", REGULAR), *bad)
    stamps, indices, report = read_video(path)
    left = [i for i in range(20) if i not in bad]
    assert indices == left and [s - stamps[0] for s in stamps] == [100 * (i - left[0]) for i in left]
    assert (report.read, report.missing) == (len(left), len(bad))
    assert f"{len(left)} of 20 frames could be read, {len(bad)} are missing (" in report.text
    assert "ffmpeg -i INPUT" in report.text


@pytest.mark.faults
def test_a_file_that_breaks_off_is_told_from_a_whole_one(tmp_path):
    path = cut(write_video(tmp_path / "cut.mp4", REGULAR), 12)
    _, indices, report = read_video(path)
    assert indices == list(range(12)) and report.missing == 8 and "breaks off" in report.text
    path = write_video(tmp_path / "cut.mkv", range(0, 4000, 100))
    path.write_bytes(path.read_bytes()[:-9000])
    _, indices, report = read_video(path)
    assert indices == [i % 20 for i in range(len(indices))] and 20 < len(indices) < 40
    assert report.missing == pytest.approx(40 - len(indices), abs=2) and "breaks off" in report.text


@pytest.mark.faults
def test_orientations_of_videos_are_ignored_and_said(tmp_path):
    path = turn(write_video(tmp_path / "turned.mp4", REGULAR))
    _, indices, report = read_video(path)
    assert indices == list(range(20)) and report.text.count("rotation by 180 degrees is ignored") == 1


@pytest.mark.faults
def test_a_file_with_a_video_for_each_lens_is_named(tmp_path):
    _, indices, report = read_video(write_video(tmp_path / "lenses.mp4", REGULAR, streams=2))
    assert indices == list(range(20)) and not report.missing
    assert "the file has 2 videos" in report.text and "hstack" in report.text


@pytest.mark.faults
def test_metadata_of_any_encoding_are_no_obstacle(tmp_path):
    path = write_video(tmp_path / "latin1.mp4", REGULAR)
    path.write_bytes(path.read_bytes().replace(b"Lavf", b"L\xe9vf"))
    _, indices, report = read_video(path)
    assert indices == list(range(20)) and not report.text


def test_frames_out_of_order_are_missing_and_joined_recordings_continue():
    clock = _FrameClock(10.0)
    times = [0, 100, 400, 200, 500, None, 0, 100]
    stamps = [clock.stamp(None if time is None else time * MS) for time in times]
    assert stamps == [0, 100 * MS, 400 * MS, None, 500 * MS, 600 * MS, None, None]
    clock = _FrameClock(10.0)
    stamps = [clock.stamp(time * MS) for time in (7000, 9000, 0, 100)]
    assert stamps == [0, 2000 * MS, 2100 * MS, 2200 * MS]


def test_only_the_first_reasons_of_losses_are_kept():
    report = ReadReport("copy it again")
    for index in range(1000):
        report.miss(f"{index}: " + "x" * 10_000)
    assert report.missing == 1000 and len(report.text) < 2500
    assert report.text.endswith("and others); copy it again")
    assert "0 of 1000" in report.text and not ReadReport().text
