"""The benchmark of conversions times every encoding and writes JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

from panosam2_ros.io.image_encodings import ENCODINGS, image_to_array
from tools import bench_conversions as bench


def test_every_conversion_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "SIZES", ((128, 64),))
    bench.main(["--repeats=1", "--rate=20", f"--out={tmp_path / 'cost.json'}"])
    found = json.loads((tmp_path / "cost.json").read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert {"machine", "versions", "date"} <= found.keys()
    names = [row["conversion"] for row in found["conversions"]]
    assert {f"in {encoding}" for encoding in ENCODINGS} < set(names)
    assert {"in jpeg", "in png", "out masks", "out panorama"} < set(names)
    for row in found["conversions"]:
        assert row["image"] == "128x64" and row["ms"] >= 0
        assert row["share"] == pytest.approx(row["ms"] * 20 / 1000, abs=2e-4)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_messages_have_no_excess_bytes(encoding: str) -> None:
    msg = bench.raw_message(encoding, 16, 8)
    assert image_to_array(msg).shape == (8, 16, 3)
    msg.data = msg.data[:-1]
    with pytest.raises(ValueError, match="too short"):
        image_to_array(msg)
