"""Storage files of ROS bags: found in folders, unpacked, and opened by the package ``rosbags``."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from panosam2_ros.io.stream_messages import DEFINITIONS
from panosam2_ros.io.video import IMAGE_SUFFIXES, VideoError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader

# what can save the messages of a file that is damaged
_REMEDIES = {
    ".mcap": "mcap recover {0} -o recovered.mcap",
    ".db3": "sqlite3 {0} .recover | sqlite3 recovered.db3",
    ".bag": "rosbag reindex {0}",
}
_MAX_REASON = 100  # characters
_COMPRESSED = (".zstd", ".zst")


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """Return a key that orders names as people count: numbers in them by their value."""
    parts = re.split(r"(\d+)", path.stem.lower())  # text and digits take turns
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def is_bag(path: Path) -> bool:
    """Tell whether a path is a file of a bag, or a folder with one but without images."""
    if not path.is_dir():
        return bool(_kind(path))
    if (path / "metadata.yaml").is_file():
        return True
    suffixes = {item.suffix.lower() for item in path.iterdir()}
    return bool(_storage_files(path)) and not suffixes & set(IMAGE_SUFFIXES)


def _kind(path: Path) -> str:
    """Return the suffix of a storage file in lower case, without that of a compression; empty for others."""
    name = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    return name.suffix.lower() if name.suffix.lower() in _REMEDIES else ""


def _storage_files(folder: Path) -> list[Path]:
    """List the storage files of a folder in natural order; of two kinds only those of ROS 2."""
    files = sorted((p for p in folder.iterdir() if p.is_file() and _kind(p)), key=natural_order)
    ros2 = [path for path in files if _kind(path) != ".bag"]
    return ros2 or files


class BagFiles:
    """The storage files of a bag that can be opened, also without ``metadata.yaml``."""

    def __init__(self, path: Path) -> None:
        """Find and try the files; raise VideoError, with remedies, where none can be opened."""
        self.path = path
        self.notes: list[str] = []
        self.unreadable: list[str] = []  # a sentence for each file that cannot be opened
        self._temporary: TemporaryDirectory[str] | None = None
        # the metadata that list a bag's contents lie in its folder, beside its files
        folder = path.parent if path.is_file() else path
        self._paths = [folder]
        if (folder / "metadata.yaml").is_file():
            if (reason := _reason([folder])) is None:
                return
            self.notes.append(f"metadata.yaml cannot be used ({reason}): ros2 bag reindex {folder} renews it")
        self._paths = []
        for file in [path] if path.is_file() else _storage_files(path):
            self._try(file)
        if not self._paths:
            reasons = self.unreadable or [f"{path} has no file of a bag ({', '.join(_REMEDIES)})"]
            raise VideoError("; ".join(reasons[:5]))

    def _try(self, file: Path) -> None:
        """Add a file, or the reason why it cannot be opened."""
        try:
            usable = self._usable(file)
            reason = _reason([usable])
        except VideoError:  # without rosbags
            raise
        except Exception as error:  # of the decompressor
            reason = f"{type(error).__name__}: {error}"[:_MAX_REASON]
        if reason is None:
            self._paths.append(usable)
        else:
            self.unreadable.append(f"{file} cannot be opened: {reason}; {_remedy(file)}")
        if (log := file.with_name(f"{file.name}-wal")).is_file() and log.stat().st_size:
            self.notes.append(f"messages in {log} are not read: sqlite3 {file} 'PRAGMA wal_checkpoint' first")

    def _usable(self, file: Path) -> Path:
        """Return a path of a file that ``rosbags`` takes: unpacked, and with its suffix in lower case."""
        kind = _kind(file)
        if file.suffix == kind:
            return file
        self._temporary = self._temporary or TemporaryDirectory(prefix="panosam2_bag_")
        usable = Path(self._temporary.name) / f"{len(list(Path(self._temporary.name).iterdir()))}{kind}"
        if file.suffix.lower() not in _COMPRESSED:
            usable.symlink_to(file.resolve())
            return usable
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd  # rosbags depends on it
        with zstd.open(file, "rb") as packed, usable.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        return usable

    @contextmanager
    def open(self) -> Iterator[AnyReader]:
        """Open the files together."""
        with _reader(self._paths) as reader:
            yield reader

    @property
    def remedy(self) -> str:
        """What can save the messages of the first file where it is damaged."""
        return _remedy(self._paths[0])


def _remedy(path: Path) -> str:
    """Name the command that saves the messages of a damaged file, or of the files of a folder."""
    file = path if path.is_file() else next(iter(_storage_files(path)), path)
    return f"try: {_REMEDIES.get(_kind(file), 'ros2 bag reindex {0}').format(file)}"


def _reason(paths: list[Path]) -> str | None:
    """Open and close files; return the reason where that fails."""
    try:
        with _reader(paths):
            return None
    except VideoError:  # without rosbags
        raise
    except Exception as error:  # rosbags, its decompressors and its database raise whatever they like
        return f"{type(error).__name__}: {error}"[:_MAX_REASON]


def _reader(paths: list[Path]) -> AnyReader:
    """Return a reader of files, to be entered; raise VideoError without rosbags."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise VideoError(f"{paths[0]} is a ROS bag: pip install rosbags ({error})") from error
    # Older bags do not contain their message definitions; those of images have never changed.
    types = get_typestore(Stores.ROS2_HUMBLE)
    for name, definition in DEFINITIONS.items():
        types.register(get_types_from_msg(definition, name))
    return AnyReader(paths, default_typestore=types)
