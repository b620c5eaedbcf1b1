"""Files of a tracker's memory, which survive restarts, crashes and full disks.

A file is a safetensors file of the memory bank's tensors. Its metadata are a JSON header, which names the
network, and a SHA-256 over both. It is written atomically, and the file before it is kept. Files of other
networks, damaged files, and files with other fields or values than this version writes are refused with the
reason.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from panosam2_ros.io.printable import listed, printable
from panosam2_ros.io.private_file import write_private_file
from panosam2_ros.memory.bank_values import check_values
from panosam2_ros.memory.frame_memory import FRAME_PERIOD
from panosam2_ros.memory.memory_bank import MemoryBank
from panosam2_ros.memory.memory_header import FORMATS, MAX_OBJ_ID, MemoryFileError, parse_header
from panosam2_ros.memory.slot_table import EMPTY, LONG_AGO

SUFFIX, PREVIOUS = ".safetensors", ".previous"
_OF = "/"  # between a kind of view and the name of a tensor
HEADER_KEY, DIGEST_KEY = "panosam2_memory", "sha256"
# Tensors that files of format 2 do not have, and what they are then.
_NEW = {
    "slot_reach": 0,
    "slot_known": 0,
    "mask_reach": 0,
    "identity": 0,
    "maskmem.stamp": LONG_AGO,
    "pointers.stamp": LONG_AGO,
    "keyframes.written": EMPTY,
    "keyframes.pixels": 0,
    "keyframes.masks": 0,
    "keyframes.reach": 0,
    "references.written": EMPTY,
    "references.keys": 0,
    "references.share": 0,
}
_MAX_HEADER, _MAX_OBJECT = 2**20, 2**14  # bytes; of an object in the header, with the longest label
_KINDS = ("panorama", "region")  # of views: that of an object without a region, that of one with a region
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class NetworkIdentity:
    """The network of a memory, which no other network can read."""

    model: str
    weights_sha256: str
    input_size: tuple[int, int]  # H, W


@dataclass(frozen=True)
class ObjectSnapshot:
    """The state of an object beside its row of the bank."""

    obj_id: int
    label: str
    motion: dict[str, Any]  # as of ``BearingMotionModel.to_dict``
    view: dict[str, Any] | None = None  # as of ``SearchRegion.to_dict``; None: of a network without regions
    last_view: dict[str, Any] | None = None  # the one of its last mask; None: unknown, or as above


@dataclass(frozen=True, eq=False)
class TrackerSnapshot:
    """The state of a tracker, from which another one can continue."""

    banks: Mapping[str, MemoryBank]  # by the kind of view, whose objects are the rows, in the order of ids
    objects: tuple[ObjectSnapshot, ...]  # in the order of ids
    epoch: int
    next_id: int
    _: KW_ONLY
    final: bool = False  # the last snapshot of a run, so that no id from next_id on was assigned after it
    first_column: tuple[int, int] = (0, 0)  # as of ``RotationEstimator``

    @property
    def bank(self) -> MemoryBank:
        """The memory of all objects; raises ValueError where they are seen in views of several kinds."""
        filled = [bank for bank in self.banks.values() if len(bank)]
        if len(filled) > 1:
            raise ValueError(f"the objects are seen in views of several kinds: {', '.join(self.banks)}")
        return filled[0] if filled else next(iter(self.banks.values()))


def memory_path(directory: Path, name: str) -> Path:
    """Return the file called ``name`` inside ``directory``; raise MemoryFileError for a name with a path."""
    if not _NAME.fullmatch(name):
        raise MemoryFileError(
            f"the name {name[:100]!r} is refused: give 1 to 100 letters, digits, _, - or . (not first), "
            "no path"
        )
    return directory / (name if name.endswith(SUFFIX) else name + SUFFIX)


def save_snapshot(path: Path, memory: TrackerSnapshot, network: NetworkIdentity) -> None:
    """Write a memory file atomically, readable by its owner only, and keep the one before.

    Raises OSError where the disk does not accept it; the existing file is then unchanged.
    """
    tensors = {
        f"{kind}{_OF}{name}": x.cpu().contiguous()
        for kind, bank in memory.banks.items()
        for name, x in bank.tensors().items()
    }
    header = _header(memory, network)
    content = save(tensors, {HEADER_KEY: header, DIGEST_KEY: _digest(header, tensors)})
    write_private_file(path, content, previous=path.with_name(path.name + PREVIOUS))


def _header(memory: TrackerSnapshot, network: NetworkIdentity) -> str:
    """Return the header of a memory file as JSON."""
    values = {
        "format": FORMATS[-1],
        "network": asdict(network),
        "rules": asdict(next(iter(memory.banks.values())).rules),
        "epoch": memory.epoch,
        "next_id": memory.next_id,
        "final": memory.final,
        "first_column": memory.first_column,
        "objects": [asdict(item) for item in memory.objects],
    }
    return json.dumps(values, allow_nan=False)


def load_snapshot(
    path: Path, like: Mapping[str, MemoryBank], network: NetworkIdentity, max_objects: int
) -> TrackerSnapshot:
    """Read what ``save_snapshot`` wrote.

    ``like``: an empty bank of the network that will use it for each kind of view.
    Raises MemoryFileError for a file that cannot be used and FileNotFoundError for one that does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no memory at {path}")
    row = max(sum(x.nbytes for x in _row_of(bank).values()) for bank in like.values())
    if (size := path.stat().st_size) > max_objects * (row + _MAX_OBJECT) + _MAX_HEADER:
        raise MemoryFileError(
            f"{path} has {size} bytes, more than {max_objects} objects (max_objects) can need"
        )
    header, tensors = _read(path)
    if header["format"] == 2:
        tensors = _of_format_2(header, tensors, like)
    _check_network(path, header, network, asdict(next(iter(like.values())).rules))
    objects = tuple(ObjectSnapshot(**item) for item in header["objects"])
    _check_objects(path, objects, header["next_id"], max_objects)
    if stray := sorted(name for name in tensors if _OF not in name):
        raise MemoryFileError(f"{path} has the tensors {printable(str(stray))} of no kind of view")
    banks = {kind: _bank(path, tensors, kind, bank) for kind, bank in like.items()}
    _check_rows(path, objects, banks)
    width, column = header.get("first_column", (0, 0))
    return TrackerSnapshot(
        banks,
        objects,
        header["epoch"],
        header["next_id"],
        final=header.get("final", False),
        first_column=(width, column),
    )


def _check_rows(path: Path, objects: tuple[ObjectSnapshot, ...], banks: Mapping[str, MemoryBank]) -> None:
    """Raise MemoryFileError unless every object has a row in the bank of its kind of view."""
    if (rows := sum(len(bank) for bank in banks.values())) != len(objects):
        raise MemoryFileError(
            f"{path} has {len(objects)} objects, {rows} of them in views of the kinds {', '.join(banks)}: "
            "run the node with the view (parameter view) that saved it, or start without memory"
        )
    for kind, bank in banks.items():
        count = sum(kind == _KINDS[item.view is not None] for item in objects)
        if count != len(bank):
            raise MemoryFileError(f"{path} has {count} objects in views of the kind {kind}, {len(bank)} rows")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors of a file; raise MemoryFileError for one that is damaged.

    The file is opened once: ``safe_open`` opens it twice, and a node may replace it in between.
    """
    try:
        content = path.read_bytes()
        tensors = load(content)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        reason = printable(f"{type(error).__name__}: {error}")  # a KeyError is of a type that torch lacks
        raise MemoryFileError(f"{path} is not a whole safetensors file: {reason}") from error
    end = 8 + int.from_bytes(content[:8], "little")  # safetensors begin with a length and as much JSON
    metadata = json.loads(content[8:end]).get("__metadata__", {})
    if HEADER_KEY not in metadata:
        raise MemoryFileError(f"{path} is no memory file: its metadata has no {HEADER_KEY!r}")
    text = metadata[HEADER_KEY]
    if metadata.get(DIGEST_KEY) != _digest(text, tensors):
        raise MemoryFileError(f"{path} was damaged: its contents do not have the SHA-256 that it states")
    try:
        return parse_header(text), tensors
    except MemoryFileError as error:
        raise MemoryFileError(
            f"{path} has other fields or values than this version writes: {error}; load another file, or "
            "start without memory"
        ) from error


def _of_format_2(
    header: Mapping[str, Any], tensors: Mapping[str, Tensor], like: Mapping[str, MemoryBank]
) -> dict[str, Tensor]:
    """Return the tensors of a file of format 2 as this version has them, and bring its rules up to date."""
    rules, kind = header["rules"], _KINDS[any(item.get("view") for item in header["objects"])]
    rules["anchor_period"] = rules.pop("anchor_interval", 0) * FRAME_PERIOD * 1e-9
    rules["keyframes"] = next(iter(like.values())).rules.keyframes
    own = {name: x for name, x in tensors.items() if not name.startswith("confident_")}
    if "frame" in own and kind in like:
        # how far views reached, when frames were and what they showed is not known
        wanted, count = like[kind].tensors(), own["frame"].numel()
        missing = {name: x.new_zeros(count, *x.shape[1:]) for name, x in wanted.items() if name in _NEW}
        own |= {name: x.cpu() + _NEW[name] for name, x in missing.items()}
    return {f"{kind}{_OF}{name}": x for name, x in own.items()}


def _digest(header: str, tensors: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 over the header and every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"|{name}|{x.dtype}|{tuple(x.shape)}|".encode())
        digest.update(x.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _check_network(
    path: Path, header: dict[str, Any], network: NetworkIdentity, rules: dict[str, Any]
) -> None:
    """Raise MemoryFileError for a file of another network or of other rules."""
    wanted = json.loads(json.dumps(asdict(network) | rules))
    found = header["network"] | header["rules"]
    for key, value in wanted.items():
        if found.get(key) != value:
            raise MemoryFileError(
                f"{path} was saved by another network: {key} is {printable(repr(found.get(key)), most=100)} "
                f"there and {value!r} here; "
                "run the node with the model that saved it, or start without memory"
            )


def _check_objects(path: Path, objects: tuple[ObjectSnapshot, ...], next_id: int, max_objects: int) -> None:
    """Raise MemoryFileError for ids that are not ascending and within bounds, and for too many objects."""
    ids = [item.obj_id for item in objects]
    if ids != sorted(set(ids)) or not all(0 < i < next_id <= MAX_OBJ_ID + 1 for i in ids):
        raise MemoryFileError(f"{path} has impossible ids {listed(ids)}, next {next_id}")
    if len(ids) > max_objects:
        raise MemoryFileError(
            f"{path} has {len(ids)} objects, allowed are {max_objects} (max_objects): increase max_objects "
            "or start without memory"
        )


def _row_of(like: MemoryBank) -> dict[str, Tensor]:
    """Return the tensors of a bank of one object on the meta device, without values."""
    return {name: x.new_empty(1, *x.shape[1:], device="meta") for name, x in like.tensors().items()}


def _bank(path: Path, tensors: Mapping[str, Tensor], kind: str, like: MemoryBank) -> MemoryBank:
    """Return the bank of a kind of view, ``like`` where the file has none.

    Raises MemoryFileError unless its tensors are those of ``like``, with equally many rows.
    """
    prefix = kind + _OF
    own = {name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)}
    if not own:
        return like
    rows = _row_of(like)
    if own.keys() != rows.keys():
        others = printable(str(sorted(own.keys() ^ rows.keys())))
        raise MemoryFileError(f"{path} lacks or adds the tensors {others}")
    for name, row in rows.items():
        found, shape = own[name], (own["frame"].numel(), *row.shape[1:])
        if found.shape != shape or found.dtype != row.dtype:
            raise MemoryFileError(
                f"{path}: {name} is {found.dtype} {tuple(found.shape)}, needed is {row.dtype} {shape}"
            )
    try:
        check_values(own)
    except MemoryFileError as error:
        raise MemoryFileError(f"{path}: {prefix}{error}") from error
    return like.with_tensors({name: x.to(like.frame.device) for name, x in own.items()})
