"""The HTTP server of the page: its files, the token, and one WebSocket for each browser."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp import web

from panosam2_ros.ros.web.access import AccessRules
from panosam2_ros.ros.web.browser_session import HEARTBEAT, LARGEST_MESSAGE, AnswerCommand, BrowserSession
from panosam2_ros.ros.web.outbox import OutboxCounts
from panosam2_ros.ros.web.page_files import page_files

_NEXT_PORTS = 20
_END = 2.0  # s for connections to close
_TOO_MANY = 1013  # close code: try again later
_LARGEST_BODY = 4096  # bytes, of a request
_HEADERS = {
    # everything is of this server: a page that got foreign markup into it could load and send nothing
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class PageServer:
    """Serves browsers; everything runs on the thread of one event loop, commands on threads of their own."""

    def __init__(self, rules: AccessRules, answer: AnswerCommand, *, max_clients: int) -> None:
        self.sessions: set[BrowserSession] = set()
        self.watched: Callable[[bool], None] = lambda _: None  # told when the first comes and the last goes
        self.counts = OutboxCounts()
        self.refused = 0  # browsers, since there were too many
        self._rules, self._answer, self._max_clients = rules, answer, max_clients
        self._files = page_files()
        self._executor = ThreadPoolExecutor(max_clients, thread_name_prefix="command")
        self._runner: web.AppRunner | None = None
        self._newest: dict[str, bytes | str] = {}

    def application(self) -> web.Application:
        """Return the application with all its routes."""
        made = web.Application(middlewares=[self._guard()], client_max_size=_LARGEST_BODY)
        made.add_routes(
            [
                *(web.get(path, self._file) for path in self._files),
                web.get("/session", self._session),
                web.post("/login", self._login),
                web.get("/socket", self._socket),
            ]
        )
        return made

    async def start(self, host: str, port: int, *, next_free: bool = False) -> int:
        """Listen; return the port. Raises OSError where that is impossible."""
        self._runner = web.AppRunner(self.application(), access_log=None)
        await self._runner.setup()
        last = port + _NEXT_PORTS if next_free and port else port
        for each in range(port, min(last, 65535) + 1):
            try:
                await web.TCPSite(self._runner, host, each).start()
                break
            except OSError as error:
                if error.errno != errno.EADDRINUSE or each == last:
                    raise
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close all connections."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for session in list(self.sessions):
            session.close_soon()
        if self._runner is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._runner.cleanup(), _END)

    def publish(self, kind: str, item: bytes | str) -> None:
        """Offer an item to all browsers, and to those that come later until a newer one is there."""
        if self.sessions:  # what comes when the last has gone would be old when the next one comes
            self._newest[kind] = item
        for session in self.sessions:
            session.outbox.offer(kind, item)

    # --- requests

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: _Handler) -> web.StreamResponse:
            if not self._rules.allows_host(request.headers.get("Host", "")):
                return _refused(
                    "this name of the host is not allowed: open the address that panosam2_web printed, or "
                    "name the host in its parameter allowed_hosts"
                )
            try:
                response = await handler(request)
            except web.HTTPException as error:
                error.headers.update(_HEADERS)
                raise
            if not response.prepared:
                response.headers.update(_HEADERS)
            return response

        return guard

    async def _file(self, request: web.Request) -> web.Response:
        file = self._files[request.path]
        return web.Response(body=file.content, content_type=file.content_type, charset="utf-8")

    async def _session(self, request: web.Request) -> web.Response:
        """Tell a page whether it needs a token; it cannot read why a WebSocket is refused."""
        return web.json_response({"authorised": self._authorised(request)})

    async def _login(self, request: web.Request) -> web.Response:
        """Exchange the token for a cookie that scripts cannot read and other sites cannot send."""
        if not self._same_origin(request):
            return _refused("this is asked for by another site's page")
        try:
            given = json.loads(await request.text())["token"]
        except (ValueError, KeyError, TypeError):
            return _refused("the body is JSON with a token", status=400)
        if not isinstance(given, str) or not self._rules.accepts_token(given):
            await asyncio.sleep(0.3)  # a guess takes longer than the right one, which is no secret
            return _refused("the token is not the one that panosam2_web printed at its start", status=401)
        response = web.json_response({"authorised": True})
        response.set_cookie(
            self._rules.cookie_name, self._rules.cookie_value, httponly=True, samesite="Strict", path="/"
        )
        return response

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not self._same_origin(request):
            return _refused("a WebSocket is opened by the page of this server only")
        if not self._authorised(request):
            return _refused("the token is missing", status=401)
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=LARGEST_MESSAGE, compress=False)
        await socket.prepare(request)
        if len(self.sessions) >= self._max_clients:
            self.refused += 1
            text = f"{self._max_clients} browsers are connected already (parameter max_clients)"
            await socket.close(code=_TOO_MANY, message=text.encode())
            return socket
        await self._serve(BrowserSession(socket, self._answer, self._executor, self.counts))
        return socket

    async def _serve(self, session: BrowserSession) -> None:
        self.sessions.add(session)
        if len(self.sessions) == 1:
            self.watched(True)
        for kind, item in self._newest.items():
            session.outbox.offer(kind, item)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)
            if not self.sessions:
                self._newest.clear()  # old when the next one comes
                self.watched(False)

    def _same_origin(self, request: web.Request) -> bool:
        return self._rules.allows_origin(request.headers.get("Origin"), request.headers.get("Host", ""))

    def _authorised(self, request: web.Request) -> bool:
        return self._rules.accepts_cookie(request.cookies.get(self._rules.cookie_name))


def _refused(message: str, *, status: int = 403) -> web.Response:
    return web.json_response({"authorised": False, "message": message}, status=status)
