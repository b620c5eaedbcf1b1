"""A base of dataclasses of tensors whose rows are objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

RowsT = TypeVar("RowsT", bound="ObjectRows")


class ObjectRows:
    """A dataclass of tensors [N, ...], and of dataclasses of such tensors; other fields are no rows."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def select(self: RowsT, rows: Tensor | slice) -> RowsT:
        """Return some rows, [M] int64 in this order or a slice, which is not copied."""
        return self._map(lambda parts: parts[0][rows])

    def append(self: RowsT, other: RowsT) -> RowsT:
        """Return these rows followed by those of another one."""
        return self._map(torch.cat, other)

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name; those of inner dataclasses as ``outer.inner``."""
        found: dict[str, Tensor] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if _is_table(value):
                found |= {f"{item.name}.{f.name}": getattr(value, f.name) for f in fields(value)}
            elif isinstance(value, Tensor):
                found[item.name] = value
        return found

    def with_tensors(self: RowsT, tensors: Mapping[str, Tensor]) -> RowsT:
        """Return the same with other tensors, by the names of ``tensors``."""
        values: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if _is_table(value):
                parts = (tensors[f"{item.name}.{f.name}"] for f in fields(value))
                values[item.name] = type(value)(*parts)
            else:
                values[item.name] = tensors.get(item.name, value)
        return type(self)(**values)

    @property
    def nbytes(self) -> int:
        """The size of all tensors, bytes."""
        return sum(x.nbytes for x in self.tensors().values())

    def _map(self: RowsT, function: Callable[[list[Tensor]], Tensor], *others: RowsT) -> RowsT:
        """Apply a function to the list of the tensors of each name, of this and the others."""
        each = [rows.tensors() for rows in (self, *others)]
        return self.with_tensors({name: function([own[name] for own in each]) for name in each[0]})


def _is_table(value: object) -> bool:
    """Return whether a field's value is a dataclass of tensors."""
    return is_dataclass(value) and all(isinstance(getattr(value, f.name), Tensor) for f in fields(value))
