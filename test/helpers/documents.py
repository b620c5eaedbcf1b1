"""The Markdown pages of the checkout: their links, pictures, anchors and fenced blocks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from helpers.process import ROOT

_ATTRIBUTES = {("a", "href"): "link", ("img", "src"): "picture", ("source", "srcset"): "picture"}


@dataclass(frozen=True)
class Link:
    """A link or picture of a page."""

    place: str  # file:line
    target: str
    kind: str  # "link" or "picture"
    text: str  # of a picture: its alternative text


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or an inline piece of code."""

    place: str  # file:line of its first line
    language: str
    text: str

    @property
    def page(self) -> str:
        """File name, below the checkout."""
        return self.place.rpartition(":")[0]


@cache
def files() -> frozenset[str]:
    """Return the files that git knows or would take, below the checkout; skip where it is no repository."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return frozenset(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def pages() -> list[Path]:
    """Return all Markdown pages."""
    return sorted(ROOT / name for name in files() if name.endswith(".md"))


@cache
def _tokens(path: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(path.read_text())


def _inline(path: Path) -> Iterator[tuple[int, Token]]:
    """Yield the line and token of all that stands in paragraphs, headings and cells, and of HTML."""
    for token in _tokens(path):
        line = token.map[0] + 1 if token.map else 1
        if token.type == "html_block":
            yield line, token
        for child in token.children or []:
            yield line, child
            line += child.type in ("softbreak", "hardbreak")


class _Html(HTMLParser):
    """Collects what HTML within Markdown links to, shows, and can be linked to by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str, str]] = []  # kind, target, text
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        for name, value in given.items():
            if kind := _ATTRIBUTES.get((tag, name)):
                self.links.append((kind, value.split()[0], given.get("alt", "")))


def links(path: Path) -> Iterator[Link]:
    """Yield all links and pictures of a page."""
    page = path.relative_to(ROOT)
    for line, token in _inline(path):
        found = []
        if token.type == "link_open":
            found = [("link", str(token.attrs["href"]), "")]
        elif token.type == "image":
            found = [("picture", str(token.attrs["src"]), token.content)]
        elif token.type in ("html_block", "html_inline"):
            found = _Html(token.content).links
        for kind, target, text in found:
            yield Link(f"{page}:{line}", unquote(target), kind, text)


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors of a page, as GitHub makes them of its headings, and those of its HTML."""
    found, times = set(), dict[str, int]()
    tokens = _tokens(path)
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(c.content for c in content.children or [] if c.type in ("text", "code_inline"))
            name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{name}-{times[name]}" if name in times else name)
            times[name] = times.get(name, 0) + 1
    for _, token in _inline(path):
        if token.type in ("html_block", "html_inline"):
            found |= _Html(token.content).ids
    return frozenset(found)


def blocks(path: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for token in _tokens(path):
        if token.type == "fence":
            line = (token.map or [0])[0] + 2
            yield Block(f"{path.relative_to(ROOT)}:{line}", token.info.split(" ")[0], token.content)


def inline_code(path: Path) -> Iterator[Block]:
    """Yield the pieces of code within the text of a page."""
    for line, token in _inline(path):
        if token.type == "code_inline":
            yield Block(f"{path.relative_to(ROOT)}:{line}", "", token.content)
