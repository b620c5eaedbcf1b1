"""The page of panosam2_web in a real browser, beside a real node and a camera whose scene is known."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import signal
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")
pytest.importorskip("aiohttp", reason="needs the extra web: pip install aiohttp")

import aiohttp
import rclpy
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from helpers.browser import Visit, chromium
from helpers.process import ROOT, Process, wait_for
from panosam2_ros.msg import ObjectBearing, ObjectBearingArray
from panosam2_ros.ros.conversion.plain_values import bearing_values, stamp_text
from panosam2_ros.ros.waiting import SpinThread
from panosam2_ros.ros.web import node as web_node
from panosam2_ros.ros.web import page_server
from panosam2_ros.ros.web.access import access_rules

POLICY = ROOT / "config" / "sros2" / "panosam2_web.policy.xml"
WIDTH, HEIGHT, RATE = 512, 256, 4.0
SEED = 8  # one object is across the seam for 40 s, others move elsewhere
NEAR = 8.0  # degrees between a bearing and the truth
MOVED = 6.0  # degrees, of the object that is compared

browser = pytest.fixture(scope="module")(chromium)


class Truth:
    """What the camera says of its own scene, by stamp; taken on a thread of its own."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("truth")
        self.masks: dict[str, np.ndarray] = {}
        self.bearings: dict[str, dict[int, ObjectBearing]] = {}
        self.node.create_subscription(Image, "virtual_camera/true_masks", self._take_masks, 50)
        self.node.create_subscription(
            ObjectBearingArray, "virtual_camera/true_bearings", self._take_bearings, 50
        )
        self.spinning = SpinThread(self.node)

    def _take_masks(self, msg: Image) -> None:
        labels = np.frombuffer(msg.data, np.uint16).reshape(msg.height, msg.width)
        self.masks[stamp_text(msg.header.stamp)] = labels.copy()

    def _take_bearings(self, msg: ObjectBearingArray) -> None:
        self.bearings[stamp_text(msg.header.stamp)] = {item.object_id: item for item in msg.objects}

    def of(self, stamp: str) -> np.ndarray:
        wait_for(lambda: stamp in self.masks and stamp in self.bearings, 20, f"the truth of {stamp}")
        return self.masks[stamp]

    def azimuth(self, stamp: str, obj_id: int) -> float:
        self.of(stamp)
        return math.degrees(self.bearings[stamp][obj_id].azimuth)


@pytest.fixture(scope="module")
def truth() -> Iterator[Truth]:
    rclpy.init()
    made = Truth()
    yield made
    made.spinning.close()
    made.node.destroy_node()
    rclpy.try_shutdown()


@pytest.fixture(scope="module")
def play(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Camera, node and page as `make play` starts them."""
    folder = tmp_path_factory.mktemp("play")
    arguments = ["--scene", "--seed", str(SEED), "--width", str(WIDTH), "--rate", str(RATE)]
    arguments += ["--model", "panosam2_nano", "--port", "0", "--out", str(folder / "out")]
    with Process("panosam2_ros.demo.play", *arguments, log=folder / "log.txt") as process:
        wait_for(lambda: "page: open" in process.output or not process.running, 90, "the page")
        wait_for(lambda: truth.bearings, 90, "the node, for which the camera waits")
        yield process


def address(process: Process) -> str:
    found = re.search(r"page: open (\S+)", process.output)
    assert found is not None, process.output
    return found[1]


def apart(a: float, b: float) -> float:
    """Return the angle between two azimuths, degrees."""
    return abs((a - b + 180) % 360 - 180)


def crosses(mask: np.ndarray) -> bool:
    """Return whether a mask is on both sides of the seam, and not all around below the camera."""
    columns = mask.any(0)
    return bool(columns[0] and columns[-1]) and int(columns.sum()) < WIDTH // 3


def beside(mask: np.ndarray) -> bool:
    """Return whether a mask is away from the seam."""
    return not mask[:, [0, -1]].any()


def middle(mask: np.ndarray) -> tuple[float, float]:
    """Return the pixel of a mask that is farthest from its border."""
    far = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    v, u = np.unravel_index(int(np.argmax(far)), far.shape)
    return float(u), float(v)


def largest(labels: np.ndarray, wanted: Callable[[np.ndarray], bool]) -> int:
    """Return the id of the largest object that is as wanted; 0 where there is none of some size."""
    sizes = {int(i): int((labels == i).sum()) for i in np.unique(labels) if i and wanted(labels == i)}
    return max(sizes, key=lambda i: sizes[i]) if sizes and max(sizes.values()) > 400 else 0


def held_with(
    visit: Visit, truth: Truth, wanted: Callable[[np.ndarray], bool]
) -> tuple[str, int, np.ndarray]:
    """Hold a picture that shows an object as wanted; return its stamp, the object's true id and its mask."""
    for _ in range(240):
        stamp = visit.hold()
        labels = truth.of(stamp)
        if chosen := largest(labels, wanted):
            return stamp, chosen, labels == chosen
        visit.go_on()
        time.sleep(0.5)
    raise AssertionError("the scene showed no such object")


def box_of(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return the box of a mask across the seam; its right edge lies beyond the image."""
    turned = np.roll(mask, WIDTH // 2, 1)
    columns, rows = np.flatnonzero(turned.any(0)), np.flatnonzero(mask.any(1))
    return columns[0] + WIDTH // 2, rows[0], columns[-1] + WIDTH // 2, rows[-1]


def until_shown(visit: Visit, obj_id: int, prompt: Callable[[], Any]) -> Any:
    """Prompt until an object is listed; return what ``prompt`` did.

    On a busy machine the page may wait for an image at that moment, which veils the picture, or the image
    that is held may have expired; and not in every image the network finds something.
    """
    row, refused = f'#objects li[data-id="{obj_id}"]', "nothing was sent"
    for _ in range(8):
        sent, done = len(visit.sent), prompt()
        for _ in range(20):
            visit.page.wait_for_timeout(100)
            if len(visit.sent) > sent:
                break
        else:
            visit.go_on()
            continue
        visit.page.wait_for_selector(f"{row}, #notice:visible")
        if visit.page.query_selector(row):
            return done
        refused = visit.page.inner_text("#notice")
        visit.page.click("#notice-close")
        visit.go_on()
    raise AssertionError(f"object {obj_id} was never found: {refused}")


def tracks(visit: Visit, truth: Truth, obj_id: int, true_id: int, moved: float) -> list[tuple[float, float]]:
    """Return azimuths of an object in the list and in truth, until the latter has moved so far; by stamp."""
    found: dict[str, tuple[float, float]] = {}
    end = time.monotonic() + 90
    while time.monotonic() < end:
        row = next((row for row in visit.rows() if row["id"] == str(obj_id)), None)
        if row is not None and row["state"] == "visible" and row["stamp"] not in found:
            found[row["stamp"]] = float(row["azimuth"]), truth.azimuth(row["stamp"], true_id)
            true = [azimuth for _, azimuth in found.values()]
            if len(found) >= 4 and max(apart(true[0], each) for each in true) >= moved:
                return list(found.values())
        time.sleep(0.05)
    raise AssertionError(f"object {obj_id} did not move, or was not visible: {found}")


def profile(rule: str) -> set[str]:
    """Return what the security policy allows."""
    (found,) = ElementTree.parse(POLICY).getroot().findall("./enclaves/enclave/profiles/profile")
    assert (found.get("ns"), found.get("node")) == ("/", "panosam2_web")
    return {e.text or "" for group in found for e in group if group.get(rule) == "ALLOW"}


async def asked_of(page: str, *commands: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the answers to commands, as a browser asks and gets them."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{page}socket", origin=page.rstrip("/")) as socket,
    ):
        answers: list[dict[str, Any]] = []
        for number, command in enumerate(commands, 1):
            await socket.send_json({"id": number, **command})
            while len(answers) < number:
                message = await asyncio.wait_for(socket.receive(), 60)
                values = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {}
                answers += [values] if values.get("type") == "answer" else []
                if values.get("type") != "answer":
                    await socket.send_str('{"call": "seen"}')
        return answers


def test_every_call_is_answered_by_the_node_and_allowed_by_the_security_policy(
    play: Process, truth: Truth
) -> None:
    box = {"call": "prompt", "box": [500.0, 100.0, 20.0, 160.0], "label": "x"}
    calls = [{"call": "objects"}, {"call": "remove", "object_ids": [999]}, {"call": "save", "name": "../x"}]
    calls += [{"call": "load", "name": "never saved"}, box | {"object_id": 77}, {"call": "reset"}]
    objects, removed, saved, loaded, prompted, forgotten = asyncio.run(asked_of(address(play), *calls))
    assert objects["ok"] and objects["objects"] == [] and objects["max_objects"] > 0
    assert (removed["name"], removed["code"]) == (prompted["name"], prompted["code"]) == ("UNKNOWN_OBJECT", 2)
    assert saved["name"] == loaded["name"] == "INVALID" and "../x" in saved["message"]
    assert forgotten["ok"] and "epoch" in forgotten["message"]

    node = truth.node
    has = {
        "publish": node.get_publisher_names_and_types_by_node,
        "subscribe": node.get_subscriber_names_and_types_by_node,
        "reply": node.get_service_names_and_types_by_node,
        "request": node.get_client_names_and_types_by_node,
    }
    watched = {f"/panosam2/{name}" for name in ("panorama", "masks", "bearings")}  # while a browser looks
    for rule, names in has.items():
        allowed = profile(rule) - {"/clock"} - watched  # /clock: only with use_sim_time

        found: set[str] = set()
        end = time.monotonic() + 10
        while found != allowed and time.monotonic() < end:  # discovery may lack some for a while, or for good
            with contextlib.suppress(RuntimeError):  # the node is not discovered yet
                found |= {name for name, _ in names("panosam2_web", "/")} - watched
            time.sleep(0.1)
        assert found <= allowed, f"{rule}: {sorted(found - allowed)} is not allowed"


@pytest.mark.faults
def test_without_the_package_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    for name in [name for name in sys.modules if name.startswith("panosam2_ros.ros.web.")]:
        if name.endswith(("page_server", "browser_session")):
            monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as error:
        web_node.main(["panosam2_web"])
    line = str(error.value)
    assert "pip install 'aiohttp>=3.8'" in line and "apt install python3-aiohttp" in line and "\n" not in line


@pytest.mark.faults
def test_a_port_in_use_and_a_short_token_are_named_in_one_line(play: Process) -> None:
    def made(**settings: Any) -> web_node.WebNode:
        given = [Parameter(name, value=value) for name, value in settings.items()]
        return web_node.WebNode(parameter_overrides=given, cli_args=["--ros-args", "-r", "__node:=second"])

    with pytest.raises(ValueError, match="needs 16"):
        made(token="short")
    port = int(address(play).rsplit(":", 1)[1].rstrip("/"))
    node = made(port=port)
    has = {
        "publish": {"/rosout", *(each.topic_name for each in node.publishers)},  # rcl's own is not listed
        "reply": {each.service_name for each in node.services},
    }
    for rule, names in has.items():  # all that the policy allows is needed, too
        assert {name.replace("/second/", "/panosam2_web/") for name in names} == profile(rule), rule
    spinning = SpinThread(node)
    try:
        with pytest.raises(SystemExit, match=rf"port {port}.*in use.*next_free_port"):
            asyncio.run(web_node.serve(node, spinning, page_server))
    finally:
        spinning.close()
        node.close()
        node.destroy_node()


@pytest.mark.slow
def test_what_is_clicked_and_dragged_is_tracked_as_the_scene_says(
    play: Process, truth: Truth, browser: Any
) -> None:
    visit = Visit(browser, address(play))
    page = visit.page

    # a click makes an object, in the image that was seen
    def click() -> tuple[str, float, float]:
        stamp, _, mask = held_with(visit, truth, beside)
        u, v = middle(mask)
        page.fill("#label", "clicked")
        page.mouse.click(*visit.place(u, v))
        return stamp, u, v

    stamp, u, v = until_shown(visit, 1, click)
    assert visit.sent[-1]["stamp"] == stamp and visit.sent[-1]["label"] == "clicked"
    assert visit.sent[-1]["points"] == [[pytest.approx(u, abs=0.6), pytest.approx(v, abs=0.6), 1]]
    assert "1 clicked" in page.inner_text('#objects li[data-id="1"] .title')
    visit.go_on()

    # a drag over the right edge makes a box that crosses the seam
    def drag() -> tuple[int, tuple[float, float, float, float]]:
        _, across, mask = held_with(visit, truth, crosses)
        left, top, right, bottom = box_of(mask)
        page.fill("#label", "on the seam")
        visit.drag((left, top), (right, bottom))
        return across, (left, top, right, bottom)

    across, (left, top, right, bottom) = until_shown(visit, 2, drag)
    box = visit.sent[-1]["box"]
    assert box == [pytest.approx(x, abs=1.0) for x in (left, top, right - WIDTH, bottom)] and box[0] > box[2]
    visit.go_on()

    # its bearing is the scene's, and moves with it
    found = tracks(visit, truth, 2, across, MOVED)
    assert np.median([apart(*pair) for pair in found]) < NEAR
    (shown, true), (shown_later, true_later) = found[0], found[-1]
    assert apart(true, true_later) >= MOVED and apart(shown_later - shown, true_later - true) < MOVED / 2

    # a negative click corrects the selected object, in the image that was seen
    page.click('#objects li[data-id="1"] .pick')
    page.keyboard.press("m")
    stamp, _, _ = held_with(visit, truth, beside)
    v, u = np.argwhere(~cv2.dilate(np.uint8(truth.of(stamp) > 0), np.ones((9, 9))).astype(bool))[0]
    page.mouse.click(*visit.place(u, v + 30))
    page.wait_for_selector("#hint:has-text('Corrected 1'), #notice:visible")
    asked = visit.sent[-1]
    assert asked["object_id"] == 1 and asked["points"][0][2] == 0 and asked["stamp"] == stamp
    visit.go_on()

    # what the node refuses is shown as it is
    page.fill("#file-name", "never-saved")
    page.click('#files button[data-call="load"]')
    page.wait_for_selector("#notice:visible")
    assert re.fullmatch(r"[A-Z_]+ \(\d\)", page.inner_text("#notice-title"))
    assert "never-saved" in page.inner_text("#notice-text")

    # a second browser has the same objects; what one forgets, both have forgotten
    other = Visit(browser, address(play), width=390, height=800)
    other.page.wait_for_selector('#objects li[data-id="2"]')
    assert {row["id"] for row in other.rows()} == {row["id"] for row in visit.rows()} == {"1", "2"}
    assert other.page.evaluate("document.documentElement.scrollWidth") <= 390  # fits a phone
    page.click('#objects li[data-id="2"] .drop')
    for each in (visit, other):
        each.page.wait_for_selector('#objects li[data-id="2"]', state="detached")
        assert [row["id"] for row in each.rows()] == ["1"]
        assert each.complaints == []
        each.page.context.close()


@contextmanager
def server_with_token(token: str) -> Iterator[tuple[str, page_server.PageServer]]:
    """Serve the page beyond this machine, with a node that knows one object and has no image."""

    def answered(command: dict[str, Any]) -> dict[str, Any]:
        known = bearing_values(ObjectBearing(object_id=7, label="mug", state=3), Header())
        objects = [{**known, "colour": "#ff0000"}]
        return {"type": "answer", "id": command["id"], "ok": True, "objects": objects, "stamp": "0.0"}

    async def start() -> int:
        server.watched = lambda _: server.publish("state", json.dumps({"type": "state", **no_image}))
        return await server.start("127.0.0.1", 0)

    no_image = {"level": "error", "summary": "No image for 9 s", "remedy": "start it", "images": False}
    loop = asyncio.new_event_loop()
    server = page_server.PageServer(access_rules("0.0.0.0", 0, token), answered, max_clients=2)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        port = asyncio.run_coroutine_threadsafe(start(), loop).result(20)
        yield f"http://127.0.0.1:{port}/", server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(20)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)


def test_a_token_opens_the_page_from_the_address_or_typed_and_leaves_the_address(browser: Any) -> None:
    token = "correct horse battery"
    with server_with_token(token) as (page_address, server):
        for start in (f"{page_address}#token={token}", page_address):
            context = browser.new_context()
            page = context.new_page()
            page.goto(start)
            if start == page_address:
                page.wait_for_selector("#token-form:visible")
                page.fill("#token", "wrong")
                page.keyboard.press("Enter")
                page.wait_for_selector("#token-error:has-text('printed at its start')")
                page.fill("#token", token)
                page.keyboard.press("Enter")
            wait_for(lambda: server.sessions, 20, "the socket, which only the token opens")
            page.wait_for_selector("#token-form", state="hidden")
            assert page.url == page_address
            assert page.evaluate("document.cookie") == ""  # no script sees it
            # without an image it shows what is known, and what is wrong with the remedy
            page.wait_for_selector("#veil:has-text('No image for 9 s'):has-text('start it')")
            page.wait_for_selector('#objects li[data-id="7"]:has-text("7 mug"):has-text("lost")')
            context.close()
            wait_for(lambda: not server.sessions, 20, "its end")


@pytest.mark.faults
def test_the_page_says_that_the_connection_is_lost(play: Process, browser: Any) -> None:
    visit = Visit(browser, address(play))
    visit.page.wait_for_selector("#veil", state="hidden")
    play.stop(signal.SIGINT, 40)
    visit.page.wait_for_selector("#veil:visible")
    assert "Connection lost" in visit.page.inner_text("#veil-title")


def test_ctrl_c_ends_camera_node_and_page(play: Process) -> None:
    if play.running:  # there is no browser, so that the test before this one was skipped
        play.stop(signal.SIGINT, 40)
    assert play.wait(1) == 128 + signal.SIGINT
    assert "ended: camera, node and page" in play.output
    domain = os.environ["ROS_DOMAIN_ID"]
    assert f"ROS_DOMAIN_ID={domain}" in play.output
