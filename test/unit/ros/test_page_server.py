"""The server of the page: a real one on a free port, without ROS behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

pytest.importorskip("aiohttp", reason="needs the extra web: pip install aiohttp")
pytest.importorskip("rclpy", reason="needs ROS 2: make, or source a workspace")
pytest.importorskip("panosam2_ros.msg", reason="needs the compiled messages: make, or colcon build")

import aiohttp
from yarl import URL

from panosam2_ros.ros.web import page_server
from panosam2_ros.ros.web.access import access_rules
from panosam2_ros.ros.web.browser_session import LARGEST_MESSAGE, MOST_WAITING
from panosam2_ros.ros.web.outbox import MOST_UNSEEN, Outbox, OutboxCounts
from panosam2_ros.ros.web.page_files import PAGES, page_files
from panosam2_ros.ros.web.page_server import PageServer

TOKEN = "correct horse battery"
BIG = 300_000  # bytes, of a frame


def answered(command: dict[str, Any]) -> dict[str, Any]:
    return {"type": "answer", "id": command["id"], "ok": True, "echo": command["call"]}


class Visitor:
    """A browser, or what pretends to be one."""

    def __init__(self, server: PageServer, port: int, session: Any) -> None:
        self.server, self.port, self.session = server, port, session
        self.origin = f"http://127.0.0.1:{port}"

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        address = URL(self.address(path), encoded=True)
        async with self.session.get(address, headers=headers, allow_redirects=False) as response:
            return response.status, (await response.read()).decode(errors="replace"), response.headers

    async def login(self, token: Any, origin: str | None = None) -> tuple[int, Any]:
        headers = {"Origin": origin or self.origin}
        async with self.session.post(
            self.address("/login"), data=json.dumps({"token": token}), headers=headers
        ) as got:
            return got.status, got.cookies

    def socket(self, origin: str | None = "", **more: Any) -> Any:
        return self.session.ws_connect(
            self.address("/socket"), origin=self.origin if origin == "" else origin, **more
        )

    async def refused(self, origin: str | None = "", **headers: str) -> int:
        """Return the status with which a WebSocket is refused."""
        with pytest.raises(aiohttp.WSServerHandshakeError) as error:
            async with self.socket(origin, headers=headers):
                pass
        return int(error.value.status)


@contextlib.asynccontextmanager
async def served(token: str = "", answer: Any = answered, clients: int = 2) -> AsyncIterator[Visitor]:
    server = PageServer(access_rules("127.0.0.1", 0, token), answer, max_clients=clients)
    port = await server.start("127.0.0.1", 0)
    # cookies of an address, which browsers keep too
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        try:
            yield Visitor(server, port, session)
        finally:
            await server.stop()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_only_files_of_the_page_are_served_with_headers_that_keep_others_out() -> None:
    async def visit() -> None:
        async with served() as visitor:
            for path in page_files():
                status, text, headers = await visitor.get(path)
                assert status == 200 and text
                assert "default-src 'self'" in headers["Content-Security-Policy"]
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert "://" not in text.replace("http://www.w3.org/2000/svg", ""), "a request to elsewhere"
            for path in (
                "/../node.py",
                "/%2e%2e/node.py",
                "/..%2fnode.py",
                "/pages",
                "//etc/passwd",
                "/x.js",
            ):
                status, text, headers = await visitor.get(path)
                assert status == 404 and "import" not in text and "root:" not in text
                assert "Content-Security-Policy" in headers

    run(visit)


def test_every_file_of_the_page_is_known() -> None:
    assert {path.name for path in PAGES.iterdir()} == {p[1:] for p in page_files() if p != "/"}


def test_a_foreign_name_of_the_host_gets_nothing() -> None:
    async def visit() -> None:
        async with served() as visitor:
            for path in ("/", "/app.js", "/session", "/socket"):
                status, text, _ = await visitor.get(path, Host=f"evil.example:{visitor.port}")
                assert status == 403 and "allowed_hosts" in text
            assert await visitor.refused("http://evil.example", Host="evil.example") == 403

    run(visit)


def test_a_foreign_page_cannot_open_a_socket() -> None:
    async def visit() -> None:
        async with served() as visitor:
            for origin in ("http://evil.example", "http://127.0.0.1:1", "null", None):
                assert await visitor.refused(origin) == 403
            async with visitor.socket() as socket:
                await socket.send_str('{"call": "objects", "id": 4}')
                assert (await socket.receive_json())["echo"] == "objects"

    run(visit)


def test_without_the_token_nothing_is_shown_and_the_right_one_becomes_a_cookie() -> None:
    async def visit() -> None:
        async with served(TOKEN) as visitor:
            assert json.loads((await visitor.get("/session"))[1]) == {"authorised": False}
            assert await visitor.refused() == 401
            for wrong in (TOKEN[:-1], "", None, [TOKEN], 3):
                assert (await visitor.login(wrong))[0] == 401
            assert (await visitor.login(TOKEN, "http://evil.example"))[0] == 403
            assert await visitor.refused() == 401
            assert (await visitor.get("/socket", Cookie=f"panosam2_web_0={TOKEN}", Origin=visitor.origin))[
                0
            ] == 401
            status, cookies = await visitor.login(TOKEN)
            (cookie,) = cookies.values()
            assert status == 200 and cookie["httponly"] and cookie["samesite"] == "Strict"
            assert TOKEN not in cookie.value
            async with visitor.socket() as socket:
                await socket.send_str('{"call": "objects"}')
                assert (await socket.receive_json())["ok"]

    run(visit)


def test_more_browsers_than_allowed_are_told_so_and_one_that_goes_makes_room() -> None:
    async def visit() -> None:
        async with served(clients=2) as visitor:
            seen: list[bool] = []
            visitor.server.watched = seen.append
            first, second = await visitor.socket(), await visitor.socket()
            async with visitor.socket() as third:
                message = await third.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE and message.data == 1013
                assert "2 browsers" in message.extra
            await first.close()
            await until(lambda: len(visitor.server.sessions) == 1)
            async with visitor.socket() as fourth:
                await fourth.send_str('{"call": "objects"}')
                assert (await fourth.receive_json())["ok"]
            await second.close()
            await until(lambda: not visitor.server.sessions)
            assert seen == [True, False] and visitor.server.refused == 1

    run(visit)


@pytest.mark.faults
def test_a_browser_that_does_not_read_gets_two_frames_and_no_queue() -> None:
    async def visit() -> None:
        async with served() as visitor:
            silent = await visitor.socket()
            await until(lambda: visitor.server.sessions)
            (session,) = visitor.server.sessions
            async with visitor.socket() as quick:
                for number in range(100):
                    visitor.server.publish("frame", number.to_bytes(4, "big") + bytes(BIG))
                    got = await quick.receive_bytes()
                    assert int.from_bytes(got[:4], "big") == number  # the slow one does not delay it
                    await quick.send_str('{"call": "seen"}')
            waiting = sum(len(item) for item in session.outbox._waiting.values())
            assert waiting == BIG + 4  # the newest alone
            assert visitor.server.counts.sent <= 100 + MOST_UNSEEN
            await silent.close()

    run(visit)


@pytest.mark.faults
def test_a_browser_that_acknowledges_slowly_gets_the_newest_each_time() -> None:
    async def visit() -> None:
        async with served() as visitor, visitor.socket() as slow:
            await until(lambda: visitor.server.sessions)
            got = []
            for number in range(60):
                visitor.server.publish("frame", number.to_bytes(4, "big"))
                await asyncio.sleep(0.002)
                if number % 10 == 9:
                    got.append(int.from_bytes((await slow.receive_bytes())[:4], "big"))
                    await slow.send_str('{"call": "seen"}')
                    await asyncio.sleep(0.02)
            assert got[:2] == [0, 1]  # MOST_UNSEEN at the start; from then on what was newest at each seen
            assert got[2:] == [9, 19, 29, 39]

    run(visit)


def test_kinds_wait_beside_each_other_and_take_turns() -> None:
    async def visit() -> None:
        counts = OutboxCounts()
        box = Outbox(counts)
        for number in range(5):
            box.offer("frame", str(number))
            box.offer("state", f"s{number}")
        assert [await box.next(), await box.next()] == ["4", "s4"]
        waits = asyncio.ensure_future(box.next())
        box.offer("frame", "5")
        await asyncio.sleep(0.02)
        assert not waits.done()
        box.acknowledge()
        assert await waits == "5" and (counts.sent, counts.replaced) == (3, 8)
        for _ in range(9):  # more than was sent: no credit for later
            box.acknowledge()
        box.offer("a", "a"), box.offer("b", "b"), box.offer("c", "c")
        assert [await box.next(), await box.next()] == ["a", "b"]
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(box.next(), 0.05)

    run(visit)


@pytest.mark.faults
@pytest.mark.parametrize(
    "message",
    [
        "",
        "[]",
        "{}",
        '{"call": 3}',
        '{"call": "seen", "id": -1}',
        '{"call": "seen", "id": true}',
        "[" * 50_000,
        b"x",
    ],
)
def test_messages_that_are_no_commands_end_the_connection(message: str | bytes) -> None:
    async def visit() -> None:
        async with served() as visitor, visitor.socket() as socket:
            await (socket.send_bytes if isinstance(message, bytes) else socket.send_str)(message)
            closed = await socket.receive()
            assert closed.type is aiohttp.WSMsgType.CLOSE and closed.data == 1008
            await until(lambda: not visitor.server.sessions)

    run(visit)


@pytest.mark.faults
def test_messages_and_bodies_without_end_are_refused_before_they_are_read() -> None:
    async def visit() -> None:
        async with served(TOKEN) as visitor:
            assert (await visitor.login("x" * 10_000))[0] == 413
            await visitor.login(TOKEN)
            async with visitor.socket() as socket:
                await socket.send_str('{"call": "' + "x" * LARGEST_MESSAGE + '"}')
                closed = await socket.receive()
                assert closed.type is aiohttp.WSMsgType.CLOSE and closed.data == 1009

    run(visit)


@pytest.mark.faults
def test_a_flood_of_commands_is_answered_one_by_one_and_busy_beyond_a_few() -> None:
    gate = threading.Event()

    def slow(command: dict[str, Any]) -> dict[str, Any]:
        gate.wait(30)
        return answered(command)

    async def visit() -> None:
        async with served(answer=slow) as visitor, visitor.socket() as socket, visitor.socket() as other:
            for number in range(100):
                await socket.send_str(json.dumps({"call": "objects", "id": number}))
            # one is carried out, unless it was not taken yet when the queue was full
            busy = [await socket.receive_json() for _ in range(100 - MOST_WAITING - 1)]
            assert {answer["name"] for answer in busy} == {"BUSY"}
            visitor.server.publish("state", "{}")
            assert await other.receive_str() == "{}"  # others are served meanwhile
            gate.set()
            rest = [await socket.receive_json() for _ in range(MOST_WAITING + 2)]  # the state, too
            done = [each["id"] for each in rest if each.get("ok")]
            assert done == sorted(done) and len(done) >= MOST_WAITING and done[0] == 0
            assert {each.get("name", "BUSY") for each in rest} == {"BUSY"}

    try:
        run(visit)
    finally:
        gate.set()


def test_the_next_free_port_is_taken_only_where_that_is_asked_for() -> None:
    async def visit() -> None:
        async with served() as visitor:
            rules = access_rules("127.0.0.1", 0, "")
            second = PageServer(rules, answered, max_clients=1)
            with pytest.raises(OSError, match="in use"):
                await second.start("127.0.0.1", visitor.port)
            third = PageServer(rules, answered, max_clients=1)
            port = await third.start("127.0.0.1", visitor.port, next_free=True)
            assert visitor.port < port <= visitor.port + page_server._NEXT_PORTS
            await second.stop(), await third.stop()

    run(visit)
