"""What a planner saw in a run, on disk: memory stays bounded however long the run is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FRAMES, _SUMMARY = "frames.pickle", "summary.json"


@dataclass(frozen=True)
class Seen:
    """One object in one image, as a message told it."""

    obj_id: int
    label: str
    visible: bool
    state: int  # 1 visible, 2 occluded, 3 lost
    score: float
    direction: tuple[float, float, float]  # unit vector, optical axes


@dataclass(frozen=True)
class Bearings:
    """All objects in one image."""

    received: int  # ns, when the message came
    objects: tuple[Seen, ...]

    def find(self, obj_id: int) -> Seen | None:
        """The object of that id."""
        return next((seen for seen in self.objects if seen.obj_id == obj_id), None)


@dataclass(frozen=True)
class RunLengths:
    """A label image as runs of equal values in row order: small, and fast to make."""

    shape: tuple[int, int]
    starts: NDArray[np.int32]  # [R]
    values: NDArray[np.uint16]  # [R]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> RunLengths:
        """Encodes labels [H, W]."""
        flat = labels.reshape(-1)
        changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        starts = np.concatenate([[0], changes]).astype(np.int32)
        return cls((labels.shape[0], labels.shape[1]), starts, flat[starts].astype(np.uint16))

    def decode(self) -> NDArray[np.uint16]:
        """The labels [H, W]."""
        lengths = np.diff(self.starts, append=self.shape[0] * self.shape[1])
        return np.repeat(self.values, lengths).reshape(self.shape)


class RecordingWriter:
    """Appends (kind, stamp, value); several values of one frame may come in any order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / _FRAMES).open("wb")

    def put(self, kind: str, stamp: int, value: Any) -> None:
        """Stores a value; a later one of the same kind and stamp replaces it."""
        pickle.dump((kind, stamp), self._file, pickle.HIGHEST_PROTOCOL)
        pickle.dump(value, self._file, pickle.HIGHEST_PROTOCOL)

    def close(self, summary: dict[str, Any]) -> None:
        """Ends the recording."""
        self._file.close()
        (self._folder / _SUMMARY).write_text(json.dumps(summary))


class Recording:
    """Reads what a RecordingWriter wrote; only read folders of your own, pickles run code."""

    def __init__(self, folder: Path) -> None:
        self.summary: dict[str, Any] = json.loads((folder / _SUMMARY).read_text())
        self._file = (folder / _FRAMES).open("rb")
        self._places: dict[str, dict[int, int]] = {}
        for kind, stamp, place in self._scan():
            self._places.setdefault(kind, {})[stamp] = place

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
        """In order."""
        return sorted(self._places.get(kind, {}))

    def get(self, kind: str, stamp: int) -> Any:
        """A stored value, or None."""
        place = self._places.get(kind, {}).get(stamp)
        if place is None:
            return None
        self._file.seek(place)
        return pickle.load(self._file)

    def _scan(self) -> Iterator[tuple[str, int, int]]:
        while True:
            try:
                kind, stamp = pickle.load(self._file)
            except EOFError:
                return
            place = self._file.tell()
            pickle.load(self._file)
            yield kind, stamp, place
