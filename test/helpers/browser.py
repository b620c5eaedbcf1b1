"""A real Chromium of the system, driven by Playwright, and what a page of ours must never do in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# of its own services, which look for updates; and what a container lacks
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def chromium() -> Iterator[Any]:
    """Yield a headless browser, for a fixture; skip the test where there is none."""
    pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"needs a browser, one of {', '.join(BROWSERS)}: apt install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


class Visit:
    """One page in a browser session of its own; ``complaints`` is empty unless something is wrong with it."""

    def __init__(self, browser: Any, address: str, width: int = 1280, height: int = 1000) -> None:
        context = browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(60_000)
        self.complaints: list[str] = []
        self.sent: list[dict[str, Any]] = []  # commands, without acknowledgements
        self.page = page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("console", self._heard)
        page.on("request", self._requested)
        page.on("websocket", lambda socket: socket.on("framesent", self._sent))
        self._address = address
        page.goto(address)
        page.wait_for_selector("#stage[data-stamp]")

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self._address.split("#")[0], "blob:")):
            self.complaints.append(f"request to {request.url}")

    def _sent(self, payload: Any) -> None:
        command = json.loads(payload)
        if command["call"] != "seen":
            self.sent.append(command)

    def rows(self) -> list[dict[str, str]]:
        """Return what the list of objects shows: id, stamp, azimuth, elevation, state."""
        found = self.page.eval_on_selector_all(
            "#objects li", "rows => rows.map((row) => ({ ...row.dataset }))"
        )
        return list(found)

    def hold(self) -> str:
        """Hold the picture; return its stamp."""
        if self.page.get_attribute("#freeze", "aria-pressed") == "false":
            self.page.click("#freeze")
        return str(self.page.get_attribute("#stage", "data-stamp"))

    def go_on(self) -> None:
        """Let the picture go on."""
        if self.page.get_attribute("#freeze", "aria-pressed") == "true":
            self.page.click("#freeze")

    def place(self, u: float, v: float) -> tuple[float, float]:
        """Return where a pixel of the image is on the page; columns may lie beyond the image."""
        box = self.page.locator("#marks").bounding_box()
        width, height = (
            int(self.page.get_attribute("#stage", f"data-{name}")) for name in ("width", "height")
        )
        return box["x"] + (u + 0.5) / width * box["width"], box["y"] + (v + 0.5) / height * box["height"]

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag from a pixel of the image to another."""
        mouse = self.page.mouse
        mouse.move(*self.place(*start))
        mouse.down()
        mouse.move(*self.place(*((a + b) / 2 for a, b in zip(start, end, strict=True))))
        mouse.move(*self.place(*end))
        mouse.up()
