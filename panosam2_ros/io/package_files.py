"""Locations of the files that are installed with the package: models, configuration, the demo's images."""

from __future__ import annotations

import hashlib
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def package_roots() -> list[Path]:
    """List the folders that may hold the package's files, in the order of the search."""
    roots = [PACKAGE]
    # an editable install: the checkout itself, which alone has package.xml beside the package
    if (PACKAGE.parent / "package.xml").is_file():
        roots.append(PACKAGE.parent)
    # the prefix of PREFIX/lib/pythonX.Y/site-packages, where `pip install --user` puts the files as well
    own = PACKAGE.parents[3:4] if PACKAGE.parent.name in ("site-packages", "dist-packages") else ()
    prefixes = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    roots += [Path(p) / "share" / PACKAGE.name for p in (*map(str, own), *prefixes, sys.prefix)]
    return list(dict.fromkeys(roots))


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hex; hashlib.file_digest needs Python 3.11."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def package_file(
    *parts: str,  # e.g. "models", "panosam2_nano.safetensors"
) -> Path:
    """Find the first existing file or folder of that name; raise FileNotFoundError that lists all places."""
    tried = [root.joinpath(*parts) for root in package_roots()]
    for path in tried:
        if path.exists():
            return path
    places = "".join(f"\n  {path}" for path in tried)
    raise FileNotFoundError(
        f"{'/'.join(parts)} is not installed. Looked for{places}\n"
        "Run `make` in the checkout, or source the setup file of the workspace that was built with colcon."
    )


def package_version() -> str:
    """Read the version in package.xml, the one place that has it."""
    return ElementTree.parse(package_file("package.xml")).getroot().findtext("version", default="").strip()
