"""Packages of Debian, whose contents are material of training scenes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def unpack_package(name: str, folder: Path) -> Path:
    """Download a package with apt-get and unpack it into ``folder``, unless that was done; return ``folder``.

    Raises subprocess.CalledProcessError where one of the two fails, and FileNotFoundError without apt-get.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "usr/share/doc" / name).is_dir():
        subprocess.run(["apt-get", "download", name], cwd=folder, check=True)
        (archive,) = folder.glob(f"{name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=folder, check=True)
    return folder
