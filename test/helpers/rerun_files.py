"""What a recording of Rerun contains, by its own reader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

# frame (None: holds for all), stamp in ns (None likewise) and value, in the order of the frames
Rows = list[tuple[Any, Any, Any]]


def recorded(path: Path) -> dict[str, dict[str, Rows]]:
    """Values of every component, such as ``Arrows3D:vectors``, by the path of the entity."""
    chunk = pytest.importorskip(
        "rerun.chunk", reason="needs rerun-sdk: pip install rerun-sdk", exc_type=ImportError
    )
    found: dict[str, dict[str, Rows]] = defaultdict(lambda: defaultdict(list))
    for part in chunk.RrdReader(path).stream().to_chunks():
        columns = part.to_record_batch()
        names = columns.schema.names
        rows = columns.num_rows
        frames = columns["frame"].to_pylist() if "frame" in names else [None] * rows
        stamps = columns["stamp"].cast("int64").to_pylist() if "stamp" in names else [None] * rows
        for name in names:
            if ":" in name:
                values = zip(frames, stamps, columns[name].to_pylist(), strict=True)
                found[part.entity_path][name] += [row for row in values if row[2] is not None]
    for components in found.values():
        for rows_of in components.values():
            rows_of.sort(key=lambda row: -1 if row[0] is None else row[0])
    return found
