"""The MCP server for language models: a real client over stdio, the server, the node and a camera."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")
pytest.importorskip("mcp", reason="needs the package mcp: pip install 'mcp>=2.3,<3'")

import base64

import anyio
import rclpy
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import ClientSession, stdio_client
from mcp.types import CallToolResult, ImageContent, TextContent

from helpers.process import ROOT
from helpers.station import start, until_active
from panosam2_ros.geometry.camera_frame import UPRIGHT
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.ros.waiting import SpinThread
from tools import agent_transcript as documented
from tools.doc_figures import GRID

PATIENCE = 120  # s for an answer: machines are slow at times
IMAGE, LABELS = documented.agent_scene()
TRUTH = documented.Truth(LABELS)
BEAR, TRUCK = documented.BEAR, documented.TRUCK


class Camera:
    """A camera on a thread of its own; ``shown`` may be changed."""

    def __init__(self) -> None:
        rclpy.init()
        self.node = documented.SceneCamera(IMAGE)
        self._spinning = SpinThread(self.node)

    def close(self) -> None:
        self._spinning.close()
        self.node.destroy_node()
        rclpy.try_shutdown()


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camera]:
    folder = tmp_path_factory.mktemp("node")
    settings = {**documented.NODE_PARAMETERS, "lost_after": 600.0}
    with start(str(settings.pop("model")), folder / "log.txt", **settings) as process:
        until_active(process)
        made = Camera()
        yield made
        made.close()


class Agent:
    """A client of the SDK; its calls are made from tests that know nothing of coroutines."""

    def __init__(self, portal: BlockingPortal, session: ClientSession) -> None:
        self.portal, self.session = portal, session

    def call(self, tool: str, /, **arguments: Any) -> CallToolResult:
        result = self.portal.call(self.session.call_tool, tool, arguments)
        assert isinstance(result, CallToolResult)
        return result

    def values(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Return the structured content of an answer that is no error."""
        result = self.call(tool, **arguments)
        assert not result.is_error, text(result)
        values = dict(result.structured_content or {})
        assert values.pop("ok") is True
        return values

    def refused(self, tool: str, /, **arguments: Any) -> tuple[str, str]:
        """Return the code and the text of an error."""
        result = self.call(tool, **arguments)
        assert result.is_error and result.structured_content is not None
        code, remedy = result.structured_content["code"], result.structured_content["remedy"]
        assert result.structured_content["ok"] is False
        assert text(result).startswith(f"{code}: ") and f"What to do: {remedy}" in text(result)
        return code, text(result)


def text(result: CallToolResult) -> str:
    return "\n".join(c.text for c in result.content if isinstance(c, TextContent))


def picture(result: CallToolResult) -> np.ndarray:
    """Return the picture of an answer, BGR."""
    (content,) = (c for c in result.content if isinstance(c, ImageContent))
    assert content.mime_type == "image/jpeg"
    return np.asarray(cv2.imdecode(np.frombuffer(base64.b64decode(content.data), np.uint8), cv2.IMREAD_COLOR))


@asynccontextmanager
async def connected(*arguments: str) -> Any:
    server = documented.server_parameters(*arguments)
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        with anyio.fail_after(PATIENCE):
            await session.initialize()
        yield session


@pytest.fixture(scope="module")
def agent(camera: Camera) -> Iterator[Agent]:
    with start_blocking_portal() as portal:
        size = ("--max-width", str(documented.MOST_COLUMNS))
        with portal.wrap_async_context_manager(connected(*size)) as session:
            yield Agent(portal, session)


@pytest.fixture(autouse=True)
def _nothing_is_known(agent: Agent) -> Iterator[None]:
    yield
    for item in agent.values("list")["objects"]:
        agent.values("forget", id=item["object_id"])


def off_by(values: Mapping[str, Any], label: int) -> float:
    """Return how many degrees an object's direction is off."""
    return math.degrees(float(angle_between(np.array(values["object"]["direction"]), TRUTH.direction(label))))


def common(page: str) -> str:
    """Return a transcript without the numbers and the notes that differ from run to run."""
    page = re.sub(r" ?The newest image is .* of that moment\.", "", page)
    page = re.sub(r"straight (ahead|behind)|at the horizon", "", page)
    return re.sub(r"[-+]?\d+(\.\d+)?", "0", page)


def test_the_documented_session_is_the_one_that_happens(agent: Agent) -> None:
    """The first test: ids begin at 1."""
    written = agent.portal.call(documented.converse, agent.session, LABELS)
    page = documented.PAGE.read_text()
    shown = page.partition(documented.BEGIN)[2].partition(documented.END)[0].strip()
    assert common(written.text.strip()) == common(shown), "run python -m tools.agent_transcript"
    assert set(re.findall(r"pictures/(\w+)\.jpg", shown)) == written.pictures.keys()
    for name, data in written.pictures.items():
        kept = ROOT / "docs" / "pictures" / f"{name}.jpg"
        assert kept.stat().st_size < 150_000
        now, before = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.imread(str(kept))
        assert now.shape == before.shape
        small = [cv2.resize(i, (100, 50), interpolation=cv2.INTER_AREA).astype(int) for i in (now, before)]
        assert np.abs(small[0] - small[1]).mean() < 4


def test_tools_say_what_they_take(agent: Agent) -> None:
    tools = agent.portal.call(agent.session.list_tools).tools
    page = documented.PAGE.read_text()
    assert {tool.name for tool in tools} == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    for tool in tools:
        row = re.search(rf"^\| `{tool.name}` \|([^|]*)\|", page, re.MULTILINE)
        assert row is not None and tool.description
        assert set(tool.input_schema["properties"]) == set(re.findall(r"`(\w+)`", row[1]))
    said = agent.session.instructions or ""
    assert "degrees" in said and "Every call ends after 422 s at the latest" in said  # --timeout 60


def test_a_pixel_that_is_read_from_the_panorama_hits_the_object(agent: Agent) -> None:
    """The picture is smaller than the image, and nothing but the picture says where to point."""
    looked = agent.call("look")
    seen = dict(looked.structured_content or {})
    shown = picture(looked)
    assert shown.shape == (400, 800, 3) == (seen["height"], seen["width"], 3) and GRID.width == 960
    u, v = brown(shown)
    found = agent.values("track", label="bear", pixel=[u, v], stamp=seen["stamp"])
    assert found["stamp"] == seen["stamp"] and found["object"]["label"] == "bear"
    assert off_by(found, BEAR) < 8
    box = TRUTH.box(TRUCK, seen["width"])
    assert box[0] > box[2]  # across the seam
    assert off_by(agent.values("track", label="truck", box=box, stamp=seen["stamp"]), TRUCK) < 8


def brown(shown: np.ndarray) -> tuple[int, int]:
    """Return the middle of what is as brown as the bear's face in a picture, BGR."""
    wanted = np.array([80, 85, 120])
    near = (np.abs(shown.astype(int) - wanted).max(-1) < 28).astype(np.uint8)
    _, _, stats, middles = cv2.connectedComponentsWithStats(near)
    biggest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return round(middles[biggest][0]), round(middles[biggest][1])


def test_a_pixel_or_a_box_of_a_view_hits_the_object(agent: Agent) -> None:
    looked = agent.call("look_at", azimuth=70, elevation=-15, field_of_view=80)
    seen = dict(looked.structured_content or {})
    assert picture(looked).shape == (600, 800, 3)
    u, v = brown(picture(looked))
    there = {"stamp": seen["stamp"], "view": seen["view"]}
    first = agent.values("track", label="bear", pixel=[u, v], **there)
    assert off_by(first, BEAR) < 8
    wide = agent.values("track", label="bear", box=[u - 120, v - 120, u + 120, v + 120], **there)
    assert off_by(wide, BEAR) < 8
    fixed = agent.values(
        "correct", id=first["object"]["object_id"], positive=[[u, v]], negative=[[20, 20]], **there
    )
    assert fixed["object"]["object_id"] == first["object"]["object_id"] and off_by(fixed, BEAR) < 8


def test_a_direction_in_degrees_hits_the_object(agent: Agent) -> None:
    azimuth, elevation = UPRIGHT.azimuth_elevation(TRUTH.direction(BEAR))
    degrees = [math.degrees(float(azimuth)), math.degrees(float(elevation))]
    found = agent.values("track", label="bear", direction=degrees)
    assert off_by(found, BEAR) < 8
    where = agent.call("where", id=found["object"]["object_id"])
    assert re.match(r"bear \(id \d+\) is \d\d° to the left, \d\d° below the horizon, seen ", text(where))


def test_errors_say_what_to_do(agent: Agent) -> None:
    stamp = agent.values("look")["stamp"]
    known = agent.values("track", label="bear", direction=[60, -25], stamp=stamp)["object"]["object_id"]
    for tool in ("where", "forget", "wait_until_visible"):
        code, words = agent.refused(tool, id=999)
        assert code == "UNKNOWN_OBJECT" and f"known are: bear (id {known})" in words
    assert agent.refused("correct", id=999, positive=[[5, 5]])[0] == "UNKNOWN_OBJECT"
    code, words = agent.refused("track", label="x", pixel=[5, 5], stamp="5.5")
    assert code == "STAMP_NOT_HELD" and "has expired; held are" in words and "call look" in words
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "got none of them"),
        ({"pixel": [1, 2], "direction": [0, 0]}, "got pixel and direction"),
        ({"pixel": [800, 2]}, "columns are 0 to 799"),
        ({"pixel": [1, 2, 3]}, "a pixel is two numbers, got 3"),
        ({"box": [1, 2]}, "got 2 numbers"),
        ({"pixel": [1, 2], "stamp": "yesterday"}, "SECONDS.NANOSECONDS"),
        ({"pixel": [1, 2], "view": {"azimuth_deg": 0}}, "no view as look_at returns it"),
        ({"direction": [0, 95]}, "-90 to 90"),
        ({"label": "x" * 1000, "pixel": [1, 2]}, "label"),
    ]
    for arguments, words in wrong:
        code, said = agent.refused("track", **{"label": "x", **arguments})
        assert code == "INVALID" and words in said
    assert agent.refused("look_at", azimuth=0, field_of_view=170)[0] == "INVALID"
    assert agent.refused("look", stamp="5.5")[0] == "STAMP_NOT_HELD"
    assert agent.refused("correct", id=known)[0] == "INVALID"
    assert agent.call("track", label="x", pixel=[1, 2], stamp=5.5).is_error  # by the schema: it is a string


def test_waiting_ends_when_the_object_comes_or_the_time_is_over(agent: Agent, camera: Camera) -> None:
    obj_id = agent.values("track", label="bear", direction=[60, -25])["object"]["object_id"]
    agent.values("wait_until_visible", id=obj_id, timeout_s=PATIENCE)
    try:
        camera.node.image = np.full_like(IMAGE, 127)
        for _ in range(40):
            if agent.values("where", id=obj_id)["object"]["state"] == "occluded":
                break
            time.sleep(0.25)
        waited = agent.call("wait_until_visible", id=obj_id, timeout_s=1.5)
        assert not waited.is_error and (waited.structured_content or {})["visible"] is False
        assert text(waited).startswith(
            "Not visible within 1.5 s: bear (id"
        ) and "is hidden, expected" in text(waited)
        arguments = {"id": obj_id, "timeout_s": PATIENCE}
        waits = agent.portal.start_task_soon(agent.session.call_tool, "wait_until_visible", arguments)
        assert [o["object_id"] for o in agent.values("list")["objects"]] == [obj_id] and not waits.done()
    finally:
        camera.node.image = IMAGE
    result = waits.result(PATIENCE)
    assert isinstance(result, CallToolResult) and (result.structured_content or {})["visible"] is True


def test_a_node_that_is_not_there_is_named(agent: Agent) -> None:
    async def look() -> CallToolResult:
        async with connected("--namespace", "/robot7", "--timeout", "2") as session:
            with anyio.fail_after(PATIENCE):
                result = await session.call_tool("look", {})
        assert isinstance(result, CallToolResult)
        return result

    result = anyio.run(look)
    assert result.is_error and (result.structured_content or {})["code"] == "NODE_NOT_FOUND"
    said = text(result)
    assert (
        "no service /robot7/panosam2/get_parameters within 2 s" in said and "ros2 launch panosam2_ros" in said
    )
    assert f"ROS_DOMAIN_ID {os.environ['ROS_DOMAIN_ID']}" in said


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.mark.faults
@pytest.mark.parametrize("end", ["SIGTERM", "end of input"])
def test_standard_output_carries_the_protocol_only_and_signals_end_it(end: str) -> None:
    command = [sys.executable, "-m", "panosam2_ros.ros.agents.mcp_server"]
    others = {str(path) for path in Path("/dev/shm").glob("fastdds_*")}  # it maps those that it reads from
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as server:
        assert server.stdin and server.stdout and server.stderr
        server.stdin.write("this is no JSON\n" + json.dumps(HELLO) + "\n")
        server.stdin.flush()
        answer: dict[str, Any] = {}
        while answer.get("id") != 1:
            answer = json.loads(server.stdout.readline())
        assert answer["result"]["serverInfo"]["name"] == "panosam2"
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        segments = set(re.findall(r"/dev/shm/fastdds_[0-9a-f]{16}$", maps, re.MULTILINE))
        if end == "SIGTERM":
            server.send_signal(signal.SIGTERM)
        else:
            server.stdin.close()
        assert server.wait(60) == 0
        assert not any(Path(segment).exists() for segment in segments - others)
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in server.stdout.read().splitlines())
        assert "Traceback" not in server.stderr.read()


@pytest.mark.faults
def test_without_the_package_it_says_so_in_one_line(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['mcp'] = None\nfrom panosam2_ros.ros.agents.mcp_server import main; main([])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "pip install 'mcp>=2.3,<3'" in line
