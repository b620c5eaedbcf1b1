"""Tracked text files: no addresses of registries, no paths of one machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.process import ROOT

# with spaces, so that this file is not found
HOSTS = (
    "pypi org", "pythonhosted org", "download pytorch org", "npmjs com", "npmjs org", "anaconda org",
    "crates io", "rubygems org", "docker io", "ghcr io", "deb debian org", "archive ubuntu com",
    "packages ros org",
)  # fmt: skip
REGISTRIES = [host.replace(" ", ".") for host in HOSTS]
PLACES = ["/" + place for place in ("work/", "root/", "home/", "Users/")]


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git knows; skips where there is no repository."""
    done = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def lines() -> Iterator[tuple[str, str]]:
    """Return place and text of every line of the tracked text files."""
    for path in tracked():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
                yield f"{path.relative_to(ROOT)}:{number}", line


ADDRESS = re.compile("|".join(re.escape(host) for host in REGISTRIES))
# not preceded by what makes it a part of a longer path or of an address
FOLDER = re.compile(r"(?<![\w.~}*-])(" + "|".join(map(re.escape, PLACES)) + ")")


def test_no_file_names_the_address_of_a_package_registry() -> None:
    found = [f"{where}: {m[0]}" for where, line in lines() if (m := ADDRESS.search(line))]
    assert found == [], "name the package instead"


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert [f"{where}: {m[0]}" for where, line in lines() if (m := FOLDER.search(line))] == []


def test_patterns_find_what_is_refused() -> None:
    assert ADDRESS.search(f"pip install --index-url https://{REGISTRIES[2]}/whl/cpu")
    assert FOLDER.search(f"see {PLACES[0]}notes.txt") and not FOLDER.search(f"~{PLACES[0]}notes.txt")
