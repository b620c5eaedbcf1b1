"""Keep what a planner received on disk, so that memory stays bounded however long a run is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

# a record: a line of JSON with the kind and length of what follows, then as many bytes
_FRAMES, _SUMMARY = "frames.records", "summary.json"


@dataclass(frozen=True)
class Seen:
    """One object in one image, as a message reported it."""

    obj_id: int
    label: str
    visible: bool
    state: int  # 1 visible, 2 occluded, 3 lost
    score: float
    direction: tuple[float, float, float]  # unit vector, optical axes
    covariance: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # rad^2, row-major, of direction (east, north)
    extent: tuple[float, float] = (0.0, 0.0)  # rad, horizontal and vertical
    angular_speed: float | None = None  # rad/s; None while unknown


@dataclass(frozen=True)
class Bearings:
    """All objects in one image."""

    received: int  # ns, when the message came
    objects: tuple[Seen, ...]

    def find(self, obj_id: int) -> Seen | None:
        """Return the object of that id, or None."""
        return next((seen for seen in self.objects if seen.obj_id == obj_id), None)

    def to_bytes(self) -> bytes:
        """Encode as JSON."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Bearings:
        """Decode what ``to_bytes`` returned."""
        stored = json.loads(content)
        objects = (Seen(**_with_tuples(item)) for item in stored["objects"])
        return cls(stored["received"], tuple(objects))


def _with_tuples(item: dict[str, Any]) -> dict[str, Any]:
    """Turn the lists that JSON makes of tuples back into those."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in item.items()}


@dataclass(frozen=True, eq=False)
class RunLengths:
    """A label image as runs of equal values in row order: small, and fast to make."""

    shape: tuple[int, int]
    starts: NDArray[np.int32]  # [R]
    values: NDArray[np.uint16]  # [R]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> RunLengths:
        """Encode labels [H, W]."""
        flat = labels.reshape(-1)
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        starts = np.concatenate([[0], changes]).astype(np.int32)
        return cls((labels.shape[0], labels.shape[1]), starts, flat[starts].astype(np.uint16))

    def decode(self) -> NDArray[np.uint16]:
        """Return the labels [H, W]."""
        lengths = np.diff(self.starts, append=self.shape[0] * self.shape[1])
        return np.repeat(self.values, lengths).reshape(self.shape)

    def to_bytes(self) -> bytes:
        """Encode as shape, starts and values."""
        return np.array(self.shape, np.int32).tobytes() + self.starts.tobytes() + self.values.tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> RunLengths:
        """Decode what ``to_bytes`` returned."""
        runs = (len(content) - 8) // 6  # 4 bytes of each start, 2 of each value, after the shape's 8
        height, width = np.frombuffer(content, np.int32, 2).tolist()
        starts = np.frombuffer(content, np.int32, runs, 8)
        return cls((height, width), starts, np.frombuffer(content, np.uint16, runs, 8 + 4 * runs))


Value: TypeAlias = bytes | Bearings | RunLengths
_TYPES = {kind.__name__: kind for kind in (Bearings, RunLengths)}


class RecordingWriter:
    """A file of (kind, stamp, value), in any order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / _FRAMES).open("wb")

    def put(self, kind: str, stamp: int, value: Value) -> None:
        """Store a value; a later one of the same kind and stamp replaces it."""
        content = value if isinstance(value, bytes) else value.to_bytes()
        record = {"kind": kind, "stamp": stamp, "type": type(value).__name__, "bytes": len(content)}
        self._file.write(json.dumps(record).encode() + b"\n" + content)

    def close(self, summary: dict[str, Any]) -> None:
        """End the recording."""
        self._file.close()
        (self._folder / _SUMMARY).write_text(json.dumps(summary))


class Recording:
    """A recording that a RecordingWriter wrote."""

    def __init__(self, folder: Path) -> None:
        self.summary: dict[str, Any] = json.loads((folder / _SUMMARY).read_text())
        self._file = (folder / _FRAMES).open("rb")
        self._places: dict[str, dict[int, tuple[int, dict[str, Any]]]] = {}
        for place, record in self._scan():
            self._places.setdefault(record["kind"], {})[record["stamp"]] = place, record

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    def stamps(self, kind: str) -> list[int]:
        """Return the stamps of a kind, ascending."""
        return sorted(self._places.get(kind, {}))

    def get(self, kind: str, stamp: int) -> Any:
        """Return a stored value, or None."""
        found = self._places.get(kind, {}).get(stamp)
        if found is None:
            return None
        place, record = found
        self._file.seek(place)
        content = self._file.read(record["bytes"])
        return _TYPES[record["type"]].from_bytes(content) if record["type"] in _TYPES else content

    def _scan(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield where every value begins, and its record."""
        while line := self._file.readline():
            record = json.loads(line)
            place = self._file.tell()
            yield place, record
            self._file.seek(place + record["bytes"])
