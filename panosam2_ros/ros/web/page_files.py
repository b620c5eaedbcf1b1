"""The files of the page, as they are in the package; nothing else is ever served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PAGES = Path(__file__).parent / "pages"
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page."""

    content: bytes
    content_type: str


def page_files() -> dict[str, PageFile]:
    """Read the files of the page, by their path in an address; ``/`` is the page itself."""
    found = {
        f"/{path.name}": PageFile(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(PAGES.iterdir())
        if path.suffix in _TYPES
    }
    if "/index.html" not in found:
        raise FileNotFoundError(f"{PAGES}/index.html is not installed: install the package again")
    return {"/": found["/index.html"], **found}
