"""Fetching of the npm packages where it fails: one line, and no half a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from panosam2_ros.synthetic import npm_assets
from panosam2_ros.training.clip_sources import Sources

NPM = """npm error code ECONNREFUSED
npm error syscall connect
npm error FetchError: request to http://127.0.0.1:9/x failed, reason: connect ECONNREFUSED
npm error     at ClientRequest.<anonymous> (/usr/lib/node_modules/npm/index.js:130:14)
"""


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program npm that runs a shell script first in the path."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


@pytest.mark.faults
@pytest.mark.parametrize("second", [False, True])
def test_a_fetch_without_network_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: bool
) -> None:
    (tmp_path / "message").write_text(NPM)
    fails = f"cat {tmp_path}/message >&2; exit 1"
    if second:  # the first package comes, the network breaks off before the second
        (tmp_path / "package").mkdir()
        archive = "$4/pmndrs-assets-1.7.0.tgz"
        fails = f"case $2 in *pmndrs*) tar czf {archive} -C {tmp_path} package;; *) {fails};; esac"
    fake_npm(tmp_path, monkeypatch, fails)
    with pytest.raises(
        ConnectionError, match=r"could not fetch @.*: FetchError: request to .*npm pack"
    ) as raised:
        npm_assets.fetch_npm(tmp_path / "runs" / "sources")
    assert "\n" not in str(raised.value) and ("fluent" in str(raised.value)) == second
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.faults
def test_training_without_network_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_npm(tmp_path, monkeypatch, "echo npm error code ENOTFOUND >&2; exit 1")
    with pytest.raises(SystemExit, match=r"^no material for training: npm could not fetch .* status 1"):
        Sources(tmp_path / "sources", None).material()
    (tmp_path / "sources").mkdir()
    with pytest.raises(SystemExit, match=r"^no material for training: .* holds no unpacked"):
        Sources(tmp_path / "sources", None).material()
