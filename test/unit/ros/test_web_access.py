"""Who may use the page: names of hosts, origins, tokens."""

from __future__ import annotations

import pytest

from panosam2_ros.ros.web.access import AccessError, AccessRules, access_rules, is_loopback

TOKEN = "correct horse battery"


@pytest.mark.parametrize(
    ("host", "local"),
    [
        *((host, True) for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost", "LOCALHOST")),
        *(
            (host, False)
            for host in ("0.0.0.0", "::", "192.168.1.7", "robot.local", "", "127.0.0.1.evil.org")
        ),
    ],
)
def test_loopback_addresses_are_told_from_others(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_token_is_asked_for_beyond_the_machine_and_only_there_by_default() -> None:
    assert access_rules("127.0.0.1", 8360, "").token == ""
    made = [access_rules("0.0.0.0", 8360, "").token for _ in range(2)]
    assert made[0] != made[1] and all(len(token) >= 32 for token in made)
    assert access_rules("127.0.0.1", 8360, TOKEN).token == access_rules("::", 1, TOKEN).token == TOKEN
    with pytest.raises(AccessError, match="5 characters and needs 16"):
        access_rules("127.0.0.1", 8360, "short")


@pytest.mark.parametrize(
    ("header", "local", "beyond"),
    [
        ("localhost:8360", True, True),
        ("localhost:9000", True, True),  # forwarded by ssh -L 9000:127.0.0.1:8360
        ("127.0.0.1:8360", True, True),
        ("[::1]:8360", True, True),
        ("robot.example:8360", True, True),  # allowed_hosts
        ("192.168.1.7:8360", False, True),  # an address is no name that DNS could lead here
        ("evil.example:8360", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("localhost.evil.example:8360", False, False),
        ("localhost@evil.example:8360", False, False),
        ("[::1", False, False),
        ("", False, False),
    ],
)
def test_foreign_names_of_the_host_are_refused(header: str, local: bool, beyond: bool) -> None:
    further = "robot.example, other.example:80"
    assert access_rules("127.0.0.1", 8360, "", further).allows_host(header) is local
    assert access_rules("0.0.0.0", 8360, "", further).allows_host(header) is beyond


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:8360", "localhost:8360", True),
        ("http://LOCALHOST:8360", "localhost:8360", True),
        ("https://robot.example", "robot.example", True),  # a proxy speaks TLS
        ("http://evil.example", "localhost:8360", False),
        ("http://localhost:9999", "localhost:8360", False),  # another program's page on this machine
        ("http://localhost", "localhost:8360", False),
        ("null", "localhost:8360", False),  # a file, or a frame in a sandbox
        ("file://localhost:8360", "localhost:8360", False),
        ("http://localhost:8360@evil.example", "localhost:8360", False),
        ("http://[::1", "localhost:8360", False),
        ("", "localhost:8360", False),
        (None, "localhost:8360", False),
    ],
)
def test_only_its_own_page_may_ask(origin: str | None, host: str, allowed: bool) -> None:
    assert access_rules("127.0.0.1", 8360, "").allows_origin(origin, host) is allowed


def test_tokens_and_cookies_are_compared_whole() -> None:
    rules = access_rules("0.0.0.0", 8360, TOKEN)
    assert rules.accepts_token(TOKEN)
    assert not any(map(rules.accepts_token, ("", TOKEN[:-1], TOKEN + "x", "\ud800", "ü")))
    assert rules.accepts_cookie(rules.cookie_value) and TOKEN not in rules.cookie_value
    assert not any(map(rules.accepts_cookie, (None, "", TOKEN, rules.cookie_value[:-1], "\ud800")))
    other = AccessRules(8360, rules.names, True, TOKEN + "x")
    assert not other.accepts_cookie(rules.cookie_value)
    assert other.cookie_name != access_rules("0.0.0.0", 8361, TOKEN).cookie_name
    assert access_rules("127.0.0.1", 8360, "").accepts_cookie(None)
