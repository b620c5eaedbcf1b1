"""Markdown as GitHub reads it, made into what the site's generator reads as the same.

Python-Markdown wants four columns for whatever belongs to an item of a list, and an empty line before a list;
CommonMark wants neither. Links out of docs/ lead to the repository from the site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping

from markdown_it import MarkdownIt
from markdown_it.token import Token

_INDENT = 4
# a link or picture of Markdown, or of HTML: what stands before the target, the target
_TARGET = re.compile(r"(\]\(<?|(?:href|src|srcset)=\")([^)>\s\"]+)")
_BADGE = re.compile(r"\[?!\[[^\]]*\]\(https?://[^)]*\)(?:\]\([^)]*\))?[ \t]*\n?")


def parse(text: str) -> list[Token]:
    """Return the tokens of a page."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def with_wide_lists(text: str) -> str:
    """Indent the content of lists by four columns a level, and put empty lines where a list begins."""
    lines = text.splitlines()
    depth = [0] * len(lines)  # columns of all enclosing items but the one that begins here
    width = [0] * len(lines)  # of these, as they are
    begins, before = set[int](), dict[int, int]()  # lists and items; the newest item of each level
    for token in parse(text):
        if token.map is None or token.type not in ("list_item_open", "bullet_list_open", "ordered_list_open"):
            continue
        first, end = token.map
        if token.type != "list_item_open":
            begins.add(first)
            before.pop(token.level + 1, None)
            continue
        if not all(line.strip() for line in lines[before.get(token.level, first) : first]):
            begins.add(first)  # the item before has several paragraphs or blocks
        before[token.level] = first
        marker = re.match(r"[ ]*(?:[-*+]|\d+[.)])[ ]*", lines[first][width[first] :])
        own = len(marker[0]) if marker else 0
        for number in range(first + 1, end):
            depth[number] += _INDENT
            width[number] += own
    made: list[str] = []
    for number, line in enumerate(lines):
        if number in begins and number and lines[number - 1].strip():
            made.append("")
        indent = len(line) - len(line.lstrip(" "))
        # a lazy line stands farther left than the item that it belongs to
        made.append(" " * depth[number] + line[min(indent, width[number]) :] if line.strip() else line)
    return "\n".join(made) + "\n"


def map_targets(text: str, change: Callable[[str], str]) -> str:
    """Change the targets of all links and pictures outside of code blocks."""
    lines = text.splitlines(keepends=True)
    code = {n for t in parse(text) if t.type in ("fence", "code_block") and t.map for n in range(*t.map)}
    for number, line in enumerate(lines):
        if number not in code:
            lines[number] = _TARGET.sub(lambda m: m[1] + change(m[2]), line)
    return "".join(lines)


def without_badges(text: str) -> str:
    """Leave out pictures of other hosts: the site asks nobody for anything."""
    return _BADGE.sub("", text)


def site_target(
    target: str,
    page: str,  # path in the checkout
    *,
    pages: Mapping[str, str],  # of files outside of docs/ that are pages of the site: file, page
    repository: str,
    is_folder: Callable[[str], bool],
) -> str:
    """Return where a link of a page leads on the site: relative to that page, or in the repository."""
    file, hash_, anchor = target.partition("#")
    if not file or re.match(r"[a-z]+:", target):
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file))
    at = posixpath.dirname(pages.get(page, page.removeprefix("docs/")))
    if path in pages:
        return posixpath.relpath(pages[path], at or ".") + hash_ + anchor
    if path.startswith("docs/"):
        return posixpath.relpath(path.removeprefix("docs/"), at or ".") + hash_ + anchor
    kind = "tree" if is_folder(path) else "blob"
    return f"{repository}/{kind}/main/{path}{hash_}{anchor}"
