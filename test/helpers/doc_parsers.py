"""Command lines of documents, judged by the programs' own parsers, which run until they have parsed."""

from __future__ import annotations

import argparse
import contextlib
import io
import runpy
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

# whether arguments may be missing, as where a text names an option
partial: ContextVar[bool] = ContextVar("partial", default=False)


class _ParsedError(BaseException):
    """Raised in place of what a program would do once its command line is parsed."""


def usage_error(module: str | Path, arguments: Sequence[str]) -> str:
    """Return what a module's own parser says against a command line; empty: nothing.

    ``module``: its name, or the path of a script.
    """
    with (
        _stopping_parsers(),
        _command_line(str(module), arguments),
        contextlib.redirect_stderr(io.StringIO()) as told,
        contextlib.redirect_stdout(told),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        try:
            if isinstance(module, Path):
                runpy.run_path(str(module), run_name="__main__")
            else:
                runpy.run_module(module, run_name="__main__")
        except _ParsedError:
            return ""
        except SystemExit as end:
            if end.code in (0, None):  # --help
                return ""
            last = told.getvalue().strip().splitlines()[-1:] or [str(end.code)]
            return last[0]
    return "it ended without parsing its command line"


@contextlib.contextmanager
def _stopping_parsers() -> Iterator[None]:
    """Stop at the first command line that is parsed."""
    own_args, own_known = argparse.ArgumentParser.parse_args, argparse.ArgumentParser.parse_known_args
    inside = [0]

    def stopped(own: Callable[..., Any]) -> Callable[..., Any]:
        def parse(parser: argparse.ArgumentParser, *args: Any, **options: Any) -> Any:
            if partial.get():
                _forgive(parser)
            inside[0] += 1
            try:
                result = own(parser, *args, **options)
            finally:
                inside[0] -= 1
            if inside[0]:  # parse_args calls parse_known_args, and a parser that of its command
                return result
            if own is own_known and (wrong := [word for word in result[1] if word != "--ros-args"]):
                parser.error(f"unrecognized arguments: {' '.join(wrong)}")
            raise _ParsedError

        return parse

    with contextlib.ExitStack() as stack:
        for name, own in (("parse_args", own_args), ("parse_known_args", own_known)):
            setattr(argparse.ArgumentParser, name, stopped(own))
            stack.callback(setattr, argparse.ArgumentParser, name, own)
        yield


def _forgive(parser: argparse.ArgumentParser) -> None:
    """Let arguments be missing: argparse has no public way to change what was declared."""
    for action in parser._actions:
        action.required = False
        if action.nargs == "+" or (action.nargs is None and not action.option_strings):
            action.nargs = "*" if action.nargs else "?"


@contextlib.contextmanager
def _command_line(program: str, arguments: Sequence[str]) -> Iterator[None]:
    before, sys.argv = sys.argv, [program, *arguments]
    try:
        yield
    finally:
        sys.argv = before
