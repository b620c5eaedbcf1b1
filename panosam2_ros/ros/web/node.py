"""Node `panosam2_web`: a page for a browser that shows the live panorama and takes prompts.

It uses the public topics and services of panosam2_node only. See docs/browser.md.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image

from panosam2_ros.msg import ObjectBearingArray
from panosam2_ros.ros.cli.node_arguments import check_node_arguments
from panosam2_ros.ros.client import Client, ClientError
from panosam2_ros.ros.dds import keep_buffers
from panosam2_ros.ros.diagnostics.findings import WARN, Finding
from panosam2_ros.ros.diagnostics.statistics import Statistics, diagnostics_msg
from panosam2_ros.ros.diagnostics.throttle import Throttle, line
from panosam2_ros.ros.panorama_snapshot import SNAPSHOT_PARAMETERS
from panosam2_ros.ros.parameter_access import declare_settings, unknown_parameters
from panosam2_ros.ros.spin import end_process, exit_with, ros_running, starting
from panosam2_ros.ros.waiting import SpinThread
from panosam2_ros.ros.web.access import AccessRules, access_rules
from panosam2_ros.ros.web.browser_commands import BrowserCommands
from panosam2_ros.ros.web.frame_encoder import FrameEncoder
from panosam2_ros.ros.web.live_topics import LiveTopics
from panosam2_ros.ros.web.tracker_health import TrackerHealth
from panosam2_ros.ros.web.web_parameters import TOKEN_VARIABLE, WebParameters, described_web_parameters

_DESCRIPTION = "Serve a page that shows a tracking node's panorama in a browser and takes prompts."
_WATCH = 0.1  # s between two looks at whether a signal came
_STATE_PERIOD = 0.5  # s between two states that browsers get
_ASK_PERIOD = 5.0  # s between two looks at the tracking node's parameters
_ERROR_STAYS = 5.0  # s for which the last error shows


class WebNode(Node):
    """Subscribes while a browser is there; the server asks it, and it hands frames to the server."""

    def __init__(self, **options: Any) -> None:
        super().__init__("panosam2_web", **options)
        self.settings = now = declare_settings(self, WebParameters)
        if unknown := unknown_parameters(self):
            self.get_logger().warning(unknown)
        self.rules = access_rules(
            now.host, now.port, now.token or os.environ.get(TOKEN_VARIABLE, ""), now.allowed_hosts
        )
        self.encoded: Callable[[bytes], None] = lambda _: None  # called on the encoder's thread
        self.values: Callable[[], dict[str, int]] = dict  # counts of the server, for diagnostics
        self.health = TrackerHealth(self.resolve_service_name(now.tracker), now.input_timeout)
        self._throttle, self._statistics = Throttle(), Statistics()
        self._encoder = FrameEncoder(now, lambda frame: self.encoded(frame), self._failed)
        self._topics = LiveTopics(self, now.tracker, self._taken)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._take_diagnostics, 10)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(now.diagnostics_period, self._report, clock=steady)

    def watch(self, looking: bool) -> None:  # noqa: FBT001 - the server's callback
        """Subscribe to panoramas where somebody looks at them, and unsubscribe where nobody does."""
        if looking:
            self.health.looking()
            self._topics.start()
        else:
            self._topics.stop()

    def ask_parameters(self, client: Client) -> None:
        """Ask the tracking node how its panorama is to be read; waits for the answer."""
        try:
            self._encoder.tracker_parameters = client.parameters(*SNAPSHOT_PARAMETERS)
        except ClientError as error:
            if self._throttle.due("parameters", str(error)):
                self.get_logger().warning(line(str(error)))

    def close(self) -> None:
        """End the encoder."""
        self._encoder.stop()

    def _taken(self, panorama: Image, masks: Image | None, bearings: ObjectBearingArray | None) -> None:
        self.health.image_came()
        self._statistics.processed(0.0)
        self._encoder.offer(panorama, masks, bearings)

    def _take_diagnostics(self, message: DiagnosticArray) -> None:
        self.health.take(message)

    def _failed(self, text: str) -> None:
        self.health.problem = text
        self._statistics.failed(line(text))
        if self._throttle.due("panorama", text):
            self.get_logger().error(line(f"the panorama cannot be shown: {text}"))

    def _report(self) -> None:
        counts = self.values()
        found = []
        if self._statistics.error_age < _ERROR_STAYS:
            found.append(Finding(WARN, self._statistics.last_error))
        values = {
            "state": "serving" if counts.get("browsers") else "waiting for browsers",
            "device": "cpu",
            "rate": f"{self._statistics.rate():.2f}",
            **{name: str(value) for name, value in counts.items()},
            "last_error": self._statistics.last_error,
        }
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(diagnostics_msg(stamp, name, found, values, task="web"))


class _Delivery:
    """Hands the newest frame to the event loop; frames do not pile up where the loop is busy."""

    def __init__(self, loop: asyncio.AbstractEventLoop, publish: Callable[[bytes], None]) -> None:
        self._loop, self._publish = loop, publish
        self._lock = threading.Lock()
        self._frame: bytes | None = None

    def deliver(self, frame: bytes) -> None:
        """Take a frame, on any thread."""
        with self._lock:
            scheduled, self._frame = self._frame is not None, frame
        if not scheduled and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hand_over)

    def _hand_over(self) -> None:
        with self._lock:
            frame, self._frame = self._frame, None
        if frame is not None:
            self._publish(frame)


async def serve(node: WebNode, spinning: SpinThread, served: Any) -> None:
    """Serve browsers until ROS ends; ``served``: the module of the server, which needs aiohttp."""
    settings, rules = node.settings, node.rules
    client = Client(node, settings.tracker, timeout=settings.service_timeout, waiting=spinning)
    commands = BrowserCommands(client)
    server = served.PageServer(rules, commands.answer, max_clients=settings.max_clients)
    server.watched = node.watch
    loop = asyncio.get_running_loop()
    node.encoded = _Delivery(loop, lambda frame: server.publish("frame", frame)).deliver
    node.values = lambda: {
        "browsers": len(server.sessions),
        "browsers_refused": server.refused,
        "frames_sent": server.counts.sent,
        "frames_replaced": server.counts.replaced,
    }
    try:
        port = await server.start(settings.host, settings.port, next_free=settings.next_free_port)
    except OSError as error:
        exit_with(
            f"cannot listen at {settings.host}, port {settings.port}: {error.strerror or error}; set the "
            "parameters host and port, or next_free_port"
        )
    _announce(settings, rules, port)
    asker = ThreadPoolExecutor(1, thread_name_prefix="parameters")
    asking, asked, told = None, 0.0, 0.0
    try:
        while node.context.ok():
            now = time.monotonic()
            if server.sessions and (asking is None or asking.done()) and now - asked > _ASK_PERIOD:
                asked, asking = now, asker.submit(node.ask_parameters, client)
            if now - told > _STATE_PERIOD:
                told = now
                server.publish("state", json.dumps({"type": "state", **node.health.values()}))
            await asyncio.sleep(_WATCH)
    finally:
        asker.shutdown(wait=False, cancel_futures=True)
        await server.stop()


def _announce(settings: WebParameters, rules: AccessRules, port: int) -> None:
    """Print the address; not by the log, which /rosout would carry to everybody with the token."""
    host = socket.gethostname() if settings.host in ("0.0.0.0", "::", "") else settings.host
    host = f"[{host}]" if ":" in host else host
    secret = f"#token={rules.token}" if rules.token else ""
    if settings.port not in (0, port):
        print(f"port {settings.port} is in use: taking {port}")
    print(f"panosam2_web: open http://{host}:{port}/{secret}", flush=True)


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM ends it."""
    check_node_arguments("panosam2_web", _DESCRIPTION, described_web_parameters(), args)
    try:
        served = importlib.import_module("panosam2_ros.ros.web.page_server")
    except ImportError as error:
        exit_with(
            f"the package aiohttp is needed: pip install 'aiohttp>=3.8', or apt install python3-aiohttp "
            f"({error})"
        )
    keep_buffers()
    with ros_running(args):
        with starting():
            node = WebNode()
        spinning = SpinThread(node)
        try:
            asyncio.run(serve(node, spinning, served))
        finally:
            spinning.close()
            node.close()
            node.destroy_node()
    end_process()  # threads may still wait for services


if __name__ == "__main__":
    main()
