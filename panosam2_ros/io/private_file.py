"""Files that only their owner may read, written as a whole or not at all."""

from __future__ import annotations

import glob
import os
import tempfile
import time
from pathlib import Path

PARTIAL = ".part"
_ABANDONED = 3600.0  # s after which a partial file is that of a process that was killed


def write_private_file(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write a file atomically, with mode 0600; make its folder, with mode 0700, where there is none.

    The partial file is created exclusively under a name of its own, so that a link that lies there is never
    followed and two processes never write to the same one. ``previous``: the name that the file before gets.
    Raises OSError where the disk does not accept it; the existing file is then unchanged.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_abandoned(path)
    partial = _write_partial(path, content)
    try:
        if previous is not None and path.exists():
            _keep(path, previous)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _write_partial(path: Path, content: bytes) -> Path:
    """Write the content to a new file beside ``path``, and return that file."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=PARTIAL, dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _remove_abandoned(path: Path) -> None:
    """Remove partial files that processes left behind which were killed while they wrote ``path``."""
    for partial in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
        try:
            if time.time() - partial.lstat().st_mtime > _ABANDONED:
                partial.unlink()
        except OSError:  # somebody else removed it, or may
            continue


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, and keep the first one at all times."""
    previous.unlink(missing_ok=True)
    try:
        os.link(path, previous)
    except OSError:  # a file system without hard links
        _write_partial(path, path.read_bytes()).replace(previous)


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, without which a power failure may undo a rename."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
