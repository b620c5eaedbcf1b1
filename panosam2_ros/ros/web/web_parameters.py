"""The parameters of the node `panosam2_web`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from panosam2_ros.geometry.equirect import LEAST_WIDTH
from panosam2_ros.ros.parameters import Change, _declared

TOKEN_VARIABLE = "PANOSAM2_WEB_TOKEN"


@dataclass(frozen=True)
class WebParameters:
    """A snapshot of all parameters of `panosam2_web`."""

    host: str = _declared(
        "127.0.0.1",
        "address to listen at; any but a loopback address needs a token; 0.0.0.0: all of IPv4",
        Change.START,
    )
    port: int = _declared(8360, "TCP port; 0: any that is free", Change.START, span=(0, 65535))
    next_free_port: bool = _declared(
        False, "take the next port that is free, of twenty, where the port is in use", Change.START
    )
    token: str = _declared(
        "",
        "secret that a browser must know, 16 characters or more; empty: that of the environment variable "
        f"{TOKEN_VARIABLE}, which other users of the machine cannot read; where that is empty too, none on a "
        "loopback address, elsewhere a new one that the log shows once",
        Change.START,
    )
    allowed_hosts: str = _declared(
        "",
        "further names under which browsers may reach the page, separated by commas, such as robot.example; "
        "IP addresses and the machine's own name are allowed where the host is no loopback address",
        Change.START,
    )
    tracker: str = _declared(
        "panosam2", "name of the tracking node, relative to this node's namespace", Change.START
    )
    image_width: int = _declared(
        1280, "columns at most of the panorama that browsers get", Change.START, span=(LEAST_WIDTH, 4096)
    )
    jpeg_quality: int = _declared(80, "of that panorama", Change.START, span=(10, 100))
    max_rate: float = _declared(15.0, "Hz at most of panoramas", Change.START, span=(0.1, 60.0))
    max_clients: int = _declared(
        8, "browsers at a time; others are told that there are too many", Change.START, span=(1, 64)
    )
    service_timeout: float = _declared(
        20.0,
        "s for a service of the tracking node, and again for its answer",
        Change.START,
        span=(0.1, 600.0),
    )
    input_timeout: float = _declared(
        5.0, "s without images until the page says that none come", Change.START, span=(0.1, 600.0)
    )
    diagnostics_period: float = _declared(
        1.0, "s between messages on /diagnostics", Change.START, span=(0.05, 60.0)
    )


def described_web_parameters() -> dict[str, tuple[Any, str]]:
    """Return default and meaning of every parameter, by name."""
    return {item.name: (item.default, item.metadata["description"]) for item in fields(WebParameters)}
