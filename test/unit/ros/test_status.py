"""What the diagnostics say: every key documented, every limit a level."""

from __future__ import annotations

import re
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.process import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")

from panosam2_ros.ros.diagnostics.findings import ERROR, OK, WARN, above, below
from panosam2_ros.ros.diagnostics.statistics import Statistics
from panosam2_ros.ros.diagnostics.status import ModelInfo, NodeStatus, TrackerStatus, findings
from panosam2_ros.ros.inference.latest_only_thread import LatestCounts
from panosam2_ros.ros.inference.progress import WorkerProgress
from panosam2_ros.ros.inference.worker_state import WorkerCounts, WorkerQueue
from panosam2_ros.ros.parameters import Parameters
from panosam2_ros.tracking.adaptive_batching import AdaptiveBatcher
from panosam2_ros.tracking.motion_model import TrackState

DOCUMENT = ROOT / "docs" / "diagnostics.md"
ACTIVE = NodeStatus("active", WorkerCounts(received=9, processed=5))


def test_every_key_is_documented_and_no_other() -> None:
    _, _, table = DOCUMENT.read_text().partition("| key |")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [key for row in rows for key in re.findall(r"`(\w+)`", row)]
    assert documented == list(ACTIVE.values(Statistics()))


def test_every_limit_in_the_document_is_a_parameter_with_that_default() -> None:
    text = DOCUMENT.read_text().partition("## Values")[0]
    named = set(re.findall(r"`(\w+(?:_warning|_error|_timeout|_stays))`", text))
    limits = {f.name: f.default for f in fields(Parameters) if f.name in named}
    assert named == limits.keys() and len(named) == 13
    assert (limits["image_timeout"], limits["image_timeout_error"]) == (3, 30)
    assert (limits["loss_warning"], limits["loss_error"], limits["error_stays"]) == (0.05, 0.5, 5)
    assert (limits["result_timeout"], limits["result_timeout_error"]) == (3, 10)
    speed = ("latency_warning", "latency_error", "rate_warning", "rate_error")
    assert [limits[key] for key in speed] == [1, 0, 0, 0]


def test_values() -> None:
    tracked = TrackerStatus({TrackState.VISIBLE: 2, TrackState.LOST: 2}, 1.0, 3, 4, "short")
    counts = WorkerCounts(received=9, processed=4, dropped=3, failed=1, unreadable=1, refused=6)
    model = ModelInfo("cuda:0", "panosam2_nano", "abc")
    views = LatestCounts(5, 6)
    health = NodeStatus("active", counts, WorkerQueue(2, 1, 7, 1.5), 8, tracked, model, views, "dds")
    statistics = Statistics()
    statistics.failed("broken")
    values = health.values(statistics)
    assert values["frames_dropped"] == "3" and values["frames_unreadable"] == "1"
    assert values["frames_lost"] == "8" and values["calls_waiting"] == "2" and values["calls_refused"] == "6"
    assert (values["objects"], values["objects_visible"], values["objects_occluded"]) == ("4", "2", "0")
    assert (values["views_drawn"], values["views_dropped"], values["dds"]) == ("5", "6", "dds")
    assert values["memory_per_object_mib"] == "0.250" and values["objects_at_once"] == "3"
    assert (values["device"], values["weights_sha256"], values["last_error"]) == ("cuda:0", "abc", "broken")


@pytest.mark.parametrize(
    "latency, limits, level",
    [
        (0.5, {}, None), (1.5, {}, WARN), (1.5, {"latency_error": 1.2}, ERROR),
        (1.5, {"latency_warning": 0.0}, None), (1e9, {"latency_error": 1.2}, WARN),
        (-1e9, {}, WARN), (1e9, {"latency_warning": 0.0}, None),
    ],
)  # fmt: skip
def test_latency_has_levels(latency: float, limits: dict[str, Any], level: bytes | None) -> None:
    statistics = Statistics()
    for _ in range(5):
        statistics.processed(latency)
    found = findings(ACTIVE, statistics, Parameters(**limits))
    assert [f.level for f in found.values()] == ([] if level is None else [level])
    if abs(latency) > 1e6 and level:
        assert "use_sim_time" in found["clock"].text


def test_rate_state_error_and_shortage() -> None:
    statistics = Statistics()
    asked = Parameters(rate_warning=5.0, rate_error=1.0, error_stays=60.0)
    assert findings(ACTIVE, statistics, asked)["rate"].level == ERROR  # none within ten seconds
    assert findings(NodeStatus("active"), statistics, asked) == {}  # nothing has come yet: that is silence
    assert findings(NodeStatus("inactive"), statistics, asked)["state"].level == WARN
    batcher = AdaptiveBatcher()
    with pytest.raises(MemoryError):
        batcher.run(_without_memory, 1)
    tracker: Any = SimpleNamespace(tracks=lambda: (), memory_bytes=0, batcher=batcher)
    short = NodeStatus("active", tracked=TrackerStatus.of(tracker))
    assert "memory ran out 1 times" in findings(short, statistics, asked)["shortage"].text
    statistics.failed("broken")
    assert findings(ACTIVE, statistics, asked)["error"].level == ERROR
    assert "error" not in findings(ACTIVE, statistics, Parameters(error_stays=0.0))


@pytest.mark.parametrize(
    "stalled, usual, limits, level",
    [
        (2.0, 0.1, {}, None), (4.0, 0.1, {}, WARN), (11.0, 0.1, {}, ERROR),
        (11.0, 4.0, {}, None), (25.0, 4.0, {}, WARN), (41.0, 4.0, {}, ERROR),  # a slow network
        (41.0, 4.0, {"result_timeout_error": 0.0}, WARN), (4.0, 0.0, {}, WARN),
    ],
)  # fmt: skip
def test_results_that_do_not_come_have_levels(
    stalled: float, usual: float, limits: dict[str, Any], level: bytes | None
) -> None:
    for age in (1.0, float("inf")):
        status = NodeStatus("active", progress=WorkerProgress(stalled, age, usual))
        found = findings(status, Statistics(), Parameters(**limits))
        assert [f.level for f in found.values()] == ([] if level is None else [level])
        if level:
            assert ("1.0 s ago" if age == 1 else "there has been none") in found["results"].text


def _without_memory(_: slice) -> None:
    raise MemoryError


def test_grades() -> None:
    assert [above(x, 1.0, 2.0) for x in (1.0, 1.1, 2.1, float("nan"))] == [OK, WARN, ERROR, OK]
    assert [above(9.0, *limits) for limits in ((0, 0), (0, 5), (5, 0))] == [OK, ERROR, WARN]
    assert [below(x, 2.0, 1.0) for x in (2.0, 1.5, 0.5)] == [OK, WARN, ERROR] and below(0.0, 0, 0) == OK
