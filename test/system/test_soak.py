"""A short run of the soak test: objects come and go through the real worker, and nothing fails."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="the worker's package needs ROS 2: make")

from tools import soak


@pytest.mark.slow
def test_two_hundred_frames(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    soak.main(["--frames", "200", "--threads", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["frames"] == 200 and found["errors"] == []
    assert found["objects_added"] == found["objects_removed"] == 16
    assert found["latency_ms_p50_first"] > 0 and found["latency_ms_p50_last"] > 0
    assert math.isfinite(found["rss_growth_mib"])
    assert {"command", "date", "machine", "versions"} <= found.keys()
    assert "--frames 200" in found["command"]


def test_growth_and_errors_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = iter(100.0 + 10 * i for i in range(99))
    monkeypatch.setattr(soak, "resident_mib", lambda: next(levels))
    real = soak.PanoTracker.step
    monkeypatch.setattr(soak, "PERIOD", 10)
    monkeypatch.setattr(soak, "ADDED_AT", ())

    def failing(self, image, stamp, **options):
        if stamp == 7 * soak.FRAME_NS:
            raise RuntimeError("injected")
        return real(self, image, stamp, **options)

    monkeypatch.setattr(soak.PanoTracker, "step", failing)
    found = soak.run(40)
    assert found["rss_growth_mib"] == 30.0 and found["errors"] == ["RuntimeError: injected"]
