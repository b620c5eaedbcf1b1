"""Python of documents that is not run: names, attributes and keywords that do not exist."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

# What a fragment may use without having made it: the text says where it comes from.
GIVEN = {"node", "client", "image", "tracker", "chair", "message", "msg", "stamp", "header", "self"}
_PACKAGES = ("panosam2_ros", "panosam2_ros.msg", "panosam2_ros.srv", "panosam2_ros.ros.client")


def undefined(text: str, known: set[str]) -> set[str]:
    """Return the names that a text uses and neither makes nor may expect."""
    made, used = set(dir(builtins)) | known, set[str]()
    for item in ast.walk(ast.parse(text)):
        if isinstance(item, ast.Name):
            (used if isinstance(item.ctx, ast.Load) else made).add(item.id)
        elif isinstance(item, ast.alias):
            made.add((item.asname or item.name).split(".")[0])
        elif isinstance(item, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            made.add(item.name)
        elif isinstance(item, ast.arg):
            made.add(item.arg)
        elif isinstance(item, ast.ExceptHandler) and item.name:
            made.add(item.name)
    return used - made


@cache
def public_names() -> dict[str, Any]:
    """Return the public names of our packages that documents use without an import."""
    found: dict[str, Any] = {"rclpy": importlib.import_module("rclpy")}
    for package in _PACKAGES:
        module = importlib.import_module(package)
        names = getattr(module, "__all__", None) or [name for name in dir(module) if name[0].isupper()]
        found |= {name: getattr(module, name) for name in names}
    return found


def problems(text: str, known: set[str]) -> Iterator[str]:
    """Yield what is wrong; ``known``: names that earlier blocks of the page made."""
    tree = ast.parse(text)
    have = dict(public_names())
    for item in ast.walk(tree):
        if isinstance(item, ast.Import | ast.ImportFrom):
            try:
                exec(compile(ast.Module([item], []), "import", "exec"), have)
            except ImportError as error:
                yield f"line {item.lineno}: {ast.unparse(item)}: {error}"
    for name in sorted(undefined(text, known | GIVEN | have.keys())):
        yield f"{name} is not defined: import it, or make it in an earlier block of the page"
    types = dict(_types(tree, have))
    for item in ast.walk(tree):
        if isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name):
            owner = have.get(item.value.id, types.get(item.value.id))
            if owner is not None and not _has(owner, item.attr):
                yield f"line {item.lineno}: {item.value.id} has no {item.attr}"
        if isinstance(item, ast.Call):
            yield from _keywords(item, have)


def _has(owner: Any, name: str) -> bool:
    fields = getattr(owner, "__dataclass_fields__", {})
    return hasattr(owner, name) or name in fields


def _value(item: ast.expr, have: dict[str, Any]) -> Any:
    """Return what `a` or `a.b` is; None where that is not known."""
    if isinstance(item, ast.Name):
        return have.get(item.id)
    if isinstance(item, ast.Attribute) and (owner := _value(item.value, have)) is not None:
        return getattr(owner, item.attr, None)
    return None


def _types(tree: ast.Module, have: dict[str, Any]) -> Iterator[tuple[str, type]]:
    """Yield variables that are made by calling a class: name, class."""
    for item in ast.walk(tree):
        if isinstance(item, ast.Assign) and isinstance(item.value, ast.Call):
            kind = _value(item.value.func, have)
            if isinstance(item.targets[0], ast.Name) and isinstance(kind, type):
                yield item.targets[0].id, kind


def _keywords(call: ast.Call, have: dict[str, Any]) -> Iterator[str]:
    """Yield which keywords a call has that the called does not take."""
    called = _value(call.func, have)
    given = [keyword.arg for keyword in call.keywords if keyword.arg]
    if called is None or not given:
        return
    if hasattr(called, "get_fields_and_field_types"):
        taken = set(called.get_fields_and_field_types())
    else:
        try:
            signature = inspect.signature(called).parameters
        except (TypeError, ValueError):
            return
        if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
            return
        taken = set(signature)
    for name in given:
        if name not in taken:
            others = ", ".join(sorted(taken))
            yield f"line {call.lineno}: {ast.unparse(call.func)} takes no {name}, but {others}"
