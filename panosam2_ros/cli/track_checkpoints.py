"""Checkpoints of a run: the tracker's memory every few frames, and the settings of the run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.io.json_file import write_json
from panosam2_ros.memory.memory_file import SUFFIX, load_snapshot, save_snapshot
from panosam2_ros.tracking.tracker import PanoTracker

_NAME = re.compile(r"frame-(\d+)" + re.escape(SUFFIX))


class OtherRunError(ValueError):
    """A folder that contains a run with other settings."""


class Checkpoints:
    """States of a tracker in a folder, by the next frame; only the newest is kept."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """Open a run's folder; raise OtherRunError for one with other settings."""
        self._folder, self._settings = folder, folder / "run.json"
        wanted = json.loads(json.dumps(settings, default=str))  # YAML reads labels like 2024-05-01 as dates
        if self._settings.exists():
            found = json.loads(self._settings.read_text())
            if other := [key for key in wanted if found.get(key) != wanted[key]]:
                raise OtherRunError(
                    f"{folder} contains a run with other settings ({', '.join(other)}): give another --out, "
                    "or remove the folder"
                )
        else:
            write_json(self._settings, wanted)

    def save(self, tracker: PanoTracker, frame: int) -> None:
        """Save the tracker's state after all frames before ``frame`` have been tracked and written."""
        before = self._found()
        if frame in before:
            return
        save_snapshot(self._folder / f"frame-{frame:06d}{SUFFIX}", tracker.snapshot(), tracker.network)
        for path in before.values():
            path.unlink()

    @property
    def next_frame(self) -> int:
        """The frame to resume with, 0 at the start."""
        return max(self._found(), default=0)

    def restore(self, tracker: PanoTracker, image: NDArray[np.uint8]) -> None:
        """Restore the tracker's state before ``next_frame``; ``image`` is the frame before it.

        Raises MemoryFileError for a state that cannot be used.
        """
        path, like = self._found()[self.next_frame], tracker.empty_banks()
        tracker.restore(load_snapshot(path, like, tracker.network, tracker.max_objects), image)

    def _found(self) -> dict[int, Path]:
        """List the saved states by their next frame."""
        matches = ((path, _NAME.fullmatch(path.name)) for path in self._folder.iterdir())
        return {int(match[1]): path for path, match in matches if match}
