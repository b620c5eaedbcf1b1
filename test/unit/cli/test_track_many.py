"""panosam2_track with many sources: workers that are killed, sources that fail, a Ray cluster, one table."""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.process import Process, wait_for
from helpers.videos import write_video
from panosam2_ros.cli import local_workers, track, track_many
from panosam2_ros.cli.track_jobs import JobResult, SourceJob, done_before, make_jobs
from panosam2_ros.cli.track_many import table_lines

FRAMES = 16
TIMES = [100 * index for index in range(FRAMES)]
SMALL = ["--model=panosam2_nano", "--no-video", "--save-every=3", "--box=130,10,250,110"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sound videos, and one that is none."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.mp4"):
        write_video(folder / name, TIMES, size=(256, 128))
    (folder / "broken.mp4").write_bytes(b"this is no video" * 20)
    return folder


def sources(folder: Path, *names: str) -> list[str]:
    return [str(folder / name) for name in names]


def kill_when_begun(process: Process, out: Path) -> None:
    """Kill the process that tracks into a folder, once it has written a few masks."""
    wait_for(lambda: (out / "masks" / "000004.png").exists() or not process.running, 400, "five masks")
    (pid,) = re.findall(r"process (\d+) tracks", (out / "log.txt").read_text())
    os.kill(int(pid), signal.SIGKILL)


def rows(out: Path) -> list[int]:
    with (out / "bearings.csv").open(newline="") as file:
        return [int(row["frame"]) for row in csv.DictReader(file)]


@pytest.mark.faults
@pytest.mark.timeout(600)  # of a busy machine: processes start slowly
def test_killed_workers_are_replaced_and_sources_that_fail_are_reported(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    given = [*sources(videos, "a.mp4", "broken.mp4"), f"--out={out}", *SMALL, "--workers=2"]
    with Process("panosam2_ros.cli.track", *given, log=log) as process:
        kill_when_begun(process, out / "a.mp4")
        assert process.wait(400) == 1
        text = process.output
    assert re.search(rf"a\.mp4 +{FRAMES} +0 +2 +\d+\.\d  done$", text, re.MULTILINE), text
    assert re.search(r"broken\.mp4 +0 +0 +1 .*failed: .*is no video that FFmpeg can read", text), text
    assert "1 of 2 sources are tracked, 1 failed" in text and "2 of 2 sources" in text  # the bar
    assert rows(out / "a.mp4") == list(range(FRAMES)) and "leaked" not in text
    assert len(list((out / "a.mp4" / "masks").iterdir())) == FRAMES
    begun = (out / "a.mp4" / "log.txt").read_text()
    assert begun.count("tracks") == 2
    # what is done is not begun again
    track.main([given[0], *given[2:]])
    assert "done before" in capsys.readouterr().out
    assert (out / "a.mp4" / "log.txt").read_text() == begun


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([JobResult(3), JobResult(4)], 0),
        ([JobResult(3, 1, "3 of 4 frames could be read"), JobResult(4)], 3),
        ([JobResult(3, 1), JobResult(error="killed", tries=3)], 1),
    ],
)
def test_the_status_says_whether_all_succeeded(
    results: list[JobResult],
    status: int,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(track_many, "_run", lambda jobs, *_: zip(jobs, results, strict=True))
    left = contextlib.nullcontext() if status == 0 else pytest.raises(SystemExit)
    with left as ended:
        track.main([*sources(videos, "a.mp4", "b.mp4"), f"--out={tmp_path}", "--box=1,2,3,4"])
    assert (ended.value.code if ended else 0) == status
    assert len(capsys.readouterr().out.splitlines()) == 4
    rows = json.loads((tmp_path / "sources.json").read_text())
    assert [(row["name"], row["frames"]) for row in rows] == [
        (name, result.frames) for name, result in zip(("a.mp4", "b.mp4"), results, strict=True)
    ]


@pytest.mark.faults
@pytest.mark.timeout(600)  # a cluster has a dozen processes
def test_a_killed_worker_of_a_ray_cluster_is_replaced_by_ray(videos: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install ray; it has no wheel for every Python")
    out, log = tmp_path / "out", tmp_path / "log"
    given = [*sources(videos, "a.mp4", "b.mp4"), f"--out={out}", *SMALL, "--ray=local", "--workers=2"]
    lean = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
    with Process("panosam2_ros.cli.track", *given, log=log, **lean) as process:
        kill_when_begun(process, out / "b.mp4")
        assert process.wait(400) == 0, process.output
        text = process.output
    assert re.search(rf"a\.mp4 +{FRAMES} +0 +1 +\d+\.\d  done$", text, re.MULTILINE), text
    assert re.search(rf"b\.mp4 +{FRAMES} +0 +2 +\d+\.\d  done$", text, re.MULTILINE), text
    assert rows(out / "b.mp4") == list(range(FRAMES)) and "Traceback" not in text


@pytest.mark.faults
def test_ray_that_is_missing_is_one_line(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r'^panosam2_track: --ray needs .*pip install "ray>=2\.40"'):
        track.main([*sources(videos, "a.mp4"), f"--out={tmp_path}", "--box=1,2,3,4", "--ray=auto"])


def options(*words: str) -> argparse.Namespace:
    return track._parser().parse_args([*words, "--out=/results"])


def job(folder: Path, *words: str) -> SourceJob:
    (made,) = make_jobs(
        track._parser().parse_args([*words, f"--out={folder / 'out'}"]), [{"box": [1, 2, 3, 4]}]
    )
    return made


def test_results_lie_where_the_sources_lie_below_their_common_folder(tmp_path: Path) -> None:
    given = [str(tmp_path / name) for name in ("walk.mp4", "monday/run.mcap", "tuesday/run.mcap")]
    made = make_jobs(options(*given), [])
    assert [each.name for each in made] == ["walk.mp4", "monday/run.mcap", "tuesday/run.mcap"]
    assert [str(each.options.out) for each in made] == [f"/results/{each.name}" for each in made]
    with pytest.raises(ValueError, match=r"given more than once: .*walk\.mp4"):
        make_jobs(options(given[0], given[0]), [])


def test_each_source_has_a_recording_for_rerun_in_its_folder() -> None:
    jobs = make_jobs(options("a/x.mp4", "b/x.mp4", "--rerun=run.rrd"), [])
    assert [job.options.rerun for job in jobs] == [job.options.out / "run.rrd" for job in jobs]
    assert jobs[0].options.rerun != jobs[1].options.rerun
    with pytest.raises(ValueError, match=r"--rerun takes a name, .* got other/run\.rrd"):
        make_jobs(options("a/x.mp4", "b/x.mp4", "--rerun=other/run.rrd"), [])


def test_prompts_beside_a_source_replace_those_for_all(tmp_path: Path) -> None:
    (tmp_path / "b.mp4.prompts.yaml").write_text("[{label: cup, box: [1, 2, 3, 4]}]")
    (tmp_path / "c.mp4.prompts.json").write_text('[{"label": "box", "direction": [1, 2]}]')
    given: list[Any] = [{"label": "all"}]
    made = make_jobs(options(*(str(tmp_path / f"{name}.mp4") for name in "abc")), given)
    assert [each.entries[0]["label"] for each in made] == ["all", "cup", "box"]


def test_only_a_run_with_the_same_settings_counts_as_done(tmp_path: Path) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(b"x")
    first = job(tmp_path, str(source))
    from panosam2_ros.cli import track_jobs

    folder = Path(first.options.out)
    folder.mkdir(parents=True)
    done = {"settings": track_jobs._settings(first), "frames": 7, "missing": 0, "text": ""}
    (folder / "done.json").write_text(json.dumps(done))
    same = done_before(job(tmp_path, str(source), "--workers=9", "--device=cpu"))
    assert same is not None and same.kept and same.frames == 7
    assert done_before(job(tmp_path, str(source), "--model=panosam2_nano")) is None
    assert done_before(replace(first, entries=[{"box": [5, 6, 7, 8]}])) is None
    source.touch()
    assert done_before(first) is None
    (folder / "done.json").write_text("{")
    assert done_before(first) is None


@pytest.mark.faults
def test_the_table_and_reasons_escape_what_comes_from_outside(tmp_path: Path) -> None:
    made = job(tmp_path, str(tmp_path / "a\x1b[2J.mp4"))
    lines = list(table_lines([made], {0: JobResult(error="killed", tries=3)}))
    assert all(line.isprintable() for line in lines) and r"a\x1b[2J.mp4" in lines[1]
    assert lines[-1] == "0 of 1 sources are tracked, 1 failed"
    Path(made.options.out).mkdir(parents=True)
    made.log.write_text("some\nMemoryError: \x1b[31mno memory\n")
    ended: Any = argparse.Namespace(exitcode=1)
    worker = local_workers._Worker(made, 0, 3, ended, ended)
    reason = local_workers._reason(worker)
    assert reason == r"its process ended with status 1, 3 times: MemoryError: \x1b[31mno memory"
    ended.exitcode = -9
    assert local_workers._reason(worker) == "its process was killed by SIGKILL, 3 times"
