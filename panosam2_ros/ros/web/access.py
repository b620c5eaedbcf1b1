"""Who may use the page: names of the host, origins of pages, and a token. Nothing here knows ROS or HTTP."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

SHORTEST_TOKEN = 16  # characters
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


class AccessError(ValueError):
    """Settings with which nobody should be served; the message says why, and the remedy."""


@dataclass(frozen=True)
class AccessRules:
    """What a request must show.

    The name of the host protects from DNS rebinding: a foreign page whose name suddenly leads here still
    sends its own name. The origin protects from foreign pages that open a WebSocket here, which browsers
    permit. The token protects from everybody else who reaches the port.
    """

    port: int
    names: frozenset[str]  # in lower case
    any_address: bool  # IP addresses are names too: no DNS leads to them
    token: str  # empty: none is asked for

    @property
    def cookie_name(self) -> str:
        """The name of the cookie that shows the token; one for each port, which cookies do not tell apart."""
        return f"panosam2_web_{self.port}"

    @property
    def cookie_value(self) -> str:
        """What the cookie holds; the token does not follow from it."""
        return hmac.new(self.token.encode(), b"panosam2_web cookie", hashlib.sha256).hexdigest()

    def allows_host(self, host: str) -> bool:
        """Return whether a Host header names this server, whatever the port: it may be forwarded."""
        name = _name(host)
        return name in self.names or (self.any_address and _is_address(name))

    def allows_origin(self, origin: str | None, host: str) -> bool:
        """Return whether an Origin header names the same host and port as the Host header."""
        if not origin:
            return False  # browsers send it with every WebSocket and every POST
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()

    def accepts_token(self, given: str) -> bool:
        """Return whether a token is the right one, in a time that does not depend on it."""
        return hmac.compare_digest(given.encode(errors="replace"), self.token.encode())

    def accepts_cookie(self, given: str | None) -> bool:
        """Return whether a cookie shows that its browser knows the token, or none is asked for."""
        if not self.token:
            return True
        return hmac.compare_digest((given or "").encode(errors="replace"), self.cookie_value.encode())


def access_rules(host: str, port: int, token: str, further: str = "") -> AccessRules:
    """Return the rules for a server that listens at ``host``.

    A token is made where none is given and the host is no loopback address. ``further``: allowed names,
    separated by commas. Raises AccessError for a token of fewer than 16 characters.
    """
    if token and len(token) < SHORTEST_TOKEN:
        raise AccessError(
            f"the token has {len(token)} characters and needs {SHORTEST_TOKEN}: leave it empty for a new one"
        )
    names = {*_LOOPBACK_NAMES, *(_name(each.strip()) for each in further.split(",") if each.strip())}
    local = is_loopback(host)
    if not local:
        names |= {host.lower(), *_own_names()}
        token = token or secrets.token_urlsafe(24)
    return AccessRules(port, frozenset(names), any_address=not local, token=token)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address to listen at."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    short = name.split(".")[0]
    return {name, short, f"{short}.local"}


def _name(host: str) -> str:
    """Return the name in a Host header, in lower case, without port and brackets."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
