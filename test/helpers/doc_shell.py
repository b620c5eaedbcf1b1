"""Commands of a shell block: splits it into simple commands, as far as documents need that."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

_SEPARATORS = {"&&", "||", ";", "|", "&", "|&"}
PREFIXES = {"sudo", "exec", "time", "nohup"}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
PLACEHOLDER = "PLACEHOLDER"  # of <what the reader puts in>


@dataclass(frozen=True)
class Command:
    """One simple command: a program and its words."""

    line: int  # within the block, from 0
    words: list[str]
    variables: dict[str, str] = field(default_factory=dict)  # that stand before it

    @property
    def program(self) -> str:
        """The program's name; empty for a line of assignments only."""
        return self.words[0] if self.words else ""


def syntax_error(text: str) -> str:
    """Return what bash says of a text that it does not read; empty: nothing."""
    done = subprocess.run(["bash", "-n"], input=without_placeholders(text), capture_output=True, text=True)
    return done.stderr.strip()


def without_placeholders(text: str) -> str:
    """Replace <words for the reader>, which a shell takes for files."""
    return re.sub(r"<[a-z][\w -]*>", PLACEHOLDER, text)


def commands(text: str) -> Iterator[Command]:
    """Yield all simple commands, those within $(...) first."""
    waiting, start = "", 0
    for number, line in enumerate(without_placeholders(text).splitlines()):
        start = start if waiting else number
        waiting += line
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        yield from _of_line(waiting, start)
        waiting = ""
    if waiting:
        yield from _of_line(waiting, start)


def _of_line(line: str, number: int) -> Iterator[Command]:
    line, inner = _without_substitutions(re.sub(r"\s\d?>&\d", "", line))
    for text in inner:
        yield from _of_line(text, number)
    reader = shlex.shlex(re.sub(r"(^|\s)#.*", "", line), posix=True, punctuation_chars="();<>|&")
    reader.whitespace_split, reader.commenters = True, ""
    words: list[str] = []
    for word in [*reader, ";"]:
        if word not in _SEPARATORS:
            words.append(word)
            continue
        if words:
            yield _command(words, number)
        words = []


def _without_substitutions(line: str) -> tuple[str, list[str]]:
    """Replace each $(...) by a word; return the line and what stood within."""
    inner = []
    while (begin := line.find("$(")) >= 0:
        depth, end = 1, begin + 2
        while depth and end < len(line):
            depth += {"(": 1, ")": -1}.get(line[end], 0)
            end += 1
        inner.append(line[begin + 2 : end - 1])
        line = f"{line[:begin]}SUBSTITUTED{line[end:]}"
    return line, inner


def _command(words: list[str], number: int) -> Command:
    variables: dict[str, str] = {}
    kept: list[str] = []
    skip = False
    for word in words:
        if skip or set(word) <= set("<>&"):  # of a redirection: its file, or the sign
            skip = not skip and set(word) <= set("<>&")
        elif not kept and (word in PREFIXES or _ASSIGNMENT.match(word)):
            name, equals, value = word.partition("=")
            variables |= {name: value} if equals else {}
        else:
            kept.append(word)
    if kept and kept[0] == "export":
        variables |= dict(word.split("=", 1) for word in kept[1:] if "=" in word)
    return Command(number, kept, variables)
