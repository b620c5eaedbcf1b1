"""One browser: what it is sent, newest first, and what it asks, one command after the other."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from aiohttp import WSMsgType, web

from panosam2_ros.ros.web.browser_commands import CommandError, read_command, refused_values
from panosam2_ros.ros.web.outbox import Outbox, OutboxCounts

MOST_WAITING = 8  # commands of one browser
LARGEST_MESSAGE = 1 << 16  # bytes that a browser may send at a time
HEARTBEAT = 15.0  # s; a browser that does not answer is gone
_PATIENCE = 10.0  # s for a browser to take an answer
_BAD_MESSAGE = 1008  # close code: what came breaks the rules

AnswerCommand = Callable[[dict[str, Any]], dict[str, Any]]


class BrowserSession:
    """Serves one WebSocket until it is closed."""

    def __init__(
        self, socket: web.WebSocketResponse, answer: AnswerCommand, executor: Executor, counts: OutboxCounts
    ) -> None:
        self.outbox = Outbox(counts)
        self._socket, self._answer, self._executor = socket, answer, executor
        self._commands: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self._closing: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Send and answer until the browser or the network ends it."""
        tasks = [asyncio.ensure_future(each) for each in (self._send(), self._work())]
        try:
            await self._receive()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close_soon(self) -> None:
        """Tell the browser that the server goes, without waiting for it."""
        self._closing = asyncio.ensure_future(self._abort())

    async def _receive(self) -> None:
        async for message in self._socket:
            if message.type is not WSMsgType.TEXT:
                await self._socket.close(code=_BAD_MESSAGE, message=b"commands are text")
                return
            try:
                command = read_command(message.data)
            except CommandError as error:
                await self._socket.close(code=_BAD_MESSAGE, message=str(error).encode()[:120])
                return
            if command["call"] == "seen":
                self.outbox.acknowledge()
                continue
            try:
                self._commands.put_nowait(command)
            except asyncio.QueueFull:
                text = f"{MOST_WAITING} commands of this browser wait already"
                await self._tell(refused_values(command, "BUSY", text))

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            command = await self._commands.get()
            await self._tell(await loop.run_in_executor(self._executor, self._answer, command))

    async def _tell(self, answer: dict[str, Any]) -> None:
        """Send an answer; close the connection of a browser that does not take it."""
        try:
            await asyncio.wait_for(self._socket.send_str(json.dumps(answer)), _PATIENCE)
        except (asyncio.TimeoutError, ConnectionError, RuntimeError):  # RuntimeError: it is closing
            await self._abort()

    async def _send(self) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                item = await self.outbox.next()
                if isinstance(item, bytes):
                    await self._socket.send_bytes(item)
                else:
                    await self._socket.send_str(item)
        await self._abort()

    async def _abort(self) -> None:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._socket.close(), 1.0)
