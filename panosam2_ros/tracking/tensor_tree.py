"""The tensors of nested dataclasses, in order, and such dataclasses with other tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import TypeVar

from torch import Tensor

T = TypeVar("T")


def tensors_of(value: object) -> list[Tensor]:
    """Return all tensors of a tensor, or of a dataclass whose fields may be dataclasses."""
    if isinstance(value, Tensor):
        return [value]
    if not is_dataclass(value):
        return []
    return [tensor for item in fields(value) for tensor in tensors_of(getattr(value, item.name))]


def with_tensors(value: T, tensors: Iterator[Tensor]) -> T:
    """Return the value with other tensors, in the order of ``tensors_of``."""
    if isinstance(value, Tensor):
        return next(tensors)  # type: ignore[return-value]
    if not is_dataclass(value) or isinstance(value, type):
        return value
    values = {item.name: with_tensors(getattr(value, item.name), tensors) for item in fields(value)}
    return type(value)(**values)
