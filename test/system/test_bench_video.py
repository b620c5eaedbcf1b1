"""The benchmark of video streams decodes every picture and writes JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from tools import bench_video as bench


def test_every_stream_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SIZES", ((128, 64),))
    bench.main(["--seconds=0.2", f"--out={tmp_path / 'video.json'}"])
    found = json.loads((tmp_path / "video.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert [row["codec"] for row in found["streams"]] == ["h264", "hevc"]
    for row in found["streams"]:
        assert row["pictures"] == 6 and row["dropped"] == 0 and row["image"] == "128x64"
        assert 0 < row["decoded_p50_ms"] <= row["rgb_p50_ms"] <= row["rgb_p95_ms"] and row["cpu_share"] > 0
