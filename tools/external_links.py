"""List the links of the documents that lead elsewhere: ``python -m tools.external_links``.

Tests look at the form of these links only. With --check each address is asked for, over the network; the exit
status is 1 where one does not answer.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
OWN = "https://github.com/panosam2-ros/panosam2_ros"
_LINK = re.compile(r"\]\(<?(https?://[^\s)>]+)|(?:href|src)=\"(https?://[^\"]+)\"|<(https?://[^\s>]+)>")
_TIMEOUT = 20.0  # s


def problem(address: str) -> str:
    """Return what is wrong with the form of an address; empty: nothing."""
    parts = urlsplit(address)
    if parts.scheme != "https":
        return f"{address}: use https"
    if not re.fullmatch(r"([\w-]+\.)+[a-z]{2,}", parts.hostname or ""):
        return f"{address}: no whole host name"
    if re.search(r"\s|[.,;:]$", address):
        return f"{address}: a space or a mark of punctuation belongs to it"
    if address.startswith((f"{OWN}/blob/", f"{OWN}/tree/")):
        return f"{address}: name files of this repository by relative links"
    return ""


def external_links(root: Path = ROOT) -> dict[str, list[str]]:
    """Return all external addresses in tracked Markdown files: address, places."""
    listed = ["git", "ls-files", "-z", "*.md"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for name in filter(None, names.split("\0")):
        for number, line in enumerate((root / name).read_text().splitlines(), 1):
            for match in _LINK.finditer(line):
                found.setdefault(next(filter(None, match.groups())), []).append(f"{name}:{number}")
    return dict(sorted(found.items()))


def answer(address: str) -> str:
    """Ask for an address; return its status, or why there is none."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError as error:
        return str(error)


def main() -> int:
    """Run the command; return the exit status."""
    parser = argparse.ArgumentParser("tools.external_links", description=__doc__)
    parser.add_argument("--check", action="store_true", help="ask for each address, over the network")
    check, failed = parser.parse_args().check, 0
    for address, places in external_links().items():
        got = answer(address) if check else ""
        failed += bool(got) and not got.startswith("2")
        print(*filter(None, [got, address, *places]), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
