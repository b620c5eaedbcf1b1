"""Text from outside as terminals and logs may show it."""

from __future__ import annotations

from collections.abc import Iterable

MOST_CHARACTERS = 500  # of a message for people, which may quote what somebody sent


def printable(text: str, *, most: int = MOST_CHARACTERS) -> str:
    """Escape the characters of a text that are not printable, and cut it after ``most`` characters.

    Newlines, escape sequences of terminals, marks of writing direction and lone surrogates become
    ``\\\\n``, ``\\\\x1b`` and the like, as in Python's literals.
    """
    cut = text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def listed(values: Iterable[object], *, most: int = 20) -> str:
    """Return a list as text, with the first ``most`` of its values and the number of the others."""
    items = list(values)
    text = ", ".join(map(str, items[:most]))
    return f"[{text}]" if len(items) <= most else f"[{text} and {len(items) - most} more]"
