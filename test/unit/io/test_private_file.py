"""Files that only their owner may read: no link is followed, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from panosam2_ros.io.private_file import write_private_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.faults
def test_links_at_the_partial_files_name_are_not_followed(tmp_path: Path) -> None:
    """Neither at the name that earlier versions used, nor at any other."""
    treasure, path = tmp_path / "treasure", tmp_path / "memory.safetensors"
    treasure.write_text("precious")
    (tmp_path / "memory.safetensors.part").symlink_to(treasure)
    (tmp_path / "memory.safetensors.previous").symlink_to(treasure)
    for content in (b"one", b"two"):
        write_private_file(path, content, previous=tmp_path / "memory.safetensors.previous")
    assert treasure.read_text() == "precious" and path.read_bytes() == b"two"
    assert (tmp_path / "memory.safetensors.previous").read_bytes() == b"one"
    path.unlink()
    path.symlink_to(treasure)
    write_private_file(path, b"three")
    assert treasure.read_text() == "precious" and path.read_bytes() == b"three"


@pytest.mark.faults
@pytest.mark.parametrize("hard_links", [True, False])
def test_only_the_owner_may_read_them(
    hard_links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", none)
    own = tmp_path / "own"
    path, previous = own / "memory", own / "memory.previous"
    before = os.umask(0)
    try:
        for content in (b"one", b"two"):
            write_private_file(path, content, previous=previous)
    finally:
        os.umask(before)
    assert (mode(own), mode(path), mode(previous)) == (0o700, 0o600, 0o600)
    assert (path.read_bytes(), previous.read_bytes()) == (b"two", b"one")


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    write_private_file(tmp_path / "memory", b"")
    assert mode(tmp_path) == 0o755


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f"{name}.part" for name in ("memory.aaaa", "memory.bbbb", "memory2.cccc"))
    for partial in (old, new, other):
        partial.write_text("half")
    hours_ago = time.time() - 2 * 3600
    for partial in (old, other):
        os.utime(partial, (hours_ago, hours_ago))
    write_private_file(tmp_path / "memory", b"whole")
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)
