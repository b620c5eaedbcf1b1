"""Downloads that are resumed, checked by SHA-256 and atomic: a file is complete or not there.

Ours, because torch.hub and pooch start again from the first byte after an interruption, which matters for
checkpoints of up to 900 MB over a robot's network.
"""

from __future__ import annotations

import fcntl
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from panosam2_ros.io.package_files import sha256

_CHUNK = 1 << 20


def download(
    url: str,
    path: Path,
    digest: str,  # SHA-256, hex
    *,
    size: int | None = None,  # bytes, where it is known
    hint: str = "",  # how the user chooses the folder of ``path``
) -> None:
    """Download a file to ``path`` unless it is there, and check its SHA-256.

    An interrupted download is resumed by the next call. Raises ValueError for a file with other
    contents and ConnectionError where it cannot be fetched; both messages name the remedy.
    """
    if path.exists():
        _check_digest(path, digest)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".part")) as partial:
            if path.exists():  # another process has fetched it meanwhile
                _check_digest(path, digest)
                return
            _download_partial(url, path, partial, hint)
            _check_complete(path, partial, digest, size)
            partial.rename(path)
    except PermissionError as error:
        raise ConnectionError(
            f"{path} cannot be written: {error}" + (f" ({hint})" if hint else "")
        ) from error


@contextmanager
def _locked(partial: Path) -> Iterator[Path]:
    """Have a partial file for this process alone, and wait while another one fetches it.

    The lock goes with the process, however that ends. An empty file is removed again.
    """
    while True:
        with open(partial, "ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process is fetching {partial.stem}: waiting for it", file=sys.stderr)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_file(partial, file.fileno()):  # it was renamed or removed meanwhile
                continue
            try:
                yield partial
            finally:
                if partial.exists() and not partial.stat().st_size:
                    partial.unlink()
            return


def _is_file(path: Path, descriptor: int) -> bool:
    """Return whether a path names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _download_partial(url: str, path: Path, partial: Path, hint: str) -> None:
    """Fetch the rest of a partial file; raise ConnectionError where that fails."""
    try:
        _fetch(url, partial, path.name)
    except OSError as error:  # URLError and timeouts are OSErrors
        raise ConnectionError(
            f"cannot fetch {url}: {error}. Start again to resume the download, or put the file at {path}"
            + (f" ({hint})" if hint else "")
        ) from error


def _check_complete(path: Path, partial: Path, digest: str, size: int | None) -> None:
    """Raise ConnectionError for a file that is too short; raise ValueError for a wrong one and remove it."""
    have = partial.stat().st_size
    if size is not None and have < size:
        raise ConnectionError(
            f"the download of {path.name} ended after {have} of {size} bytes; start again to resume it"
        )
    try:
        _check_digest(partial, digest)
    except ValueError:
        partial.unlink()
        raise


def _fetch(url: str, partial: Path, title: str) -> None:
    """Append to ``partial`` what it lacks of ``url``, with a progress bar."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable: the file is already complete
            return
        raise
    with response:
        have = have if response.status == 206 else 0  # the server may not support ranges
        total = have + int(response.headers.get("Content-Length", 0))
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=title) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _check_digest(path: Path, digest: str) -> None:
    """Raise ValueError for a file with another SHA-256."""
    if (found := sha256(path)) != digest:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) has SHA-256 {found}, {digest} was expected: it is damaged "
            "or another file; delete it and start again"
        )
