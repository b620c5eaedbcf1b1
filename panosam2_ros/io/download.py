"""Files from the network: resumable, checked, whole or not there."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

from tqdm import tqdm

from panosam2_ros.io.package_files import sha256

_CHUNK = 1 << 20


def download(
    url: str,
    path: Path,
    digest: str,  # SHA-256, hex
    size: int | None = None,  # bytes, where it is known
    hint: str = "",  # how the user chooses the folder of ``path``
) -> None:
    """Make sure that ``path`` is the file with this SHA-256, fetching it if it is not there.

    An interrupted download goes on where it stopped. Raises ValueError for a file of another
    content, ConnectionError where it cannot be fetched; both say what to do.
    """
    if path.exists():
        _check(path, digest)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    try:
        _fetch(url, partial, path.name)
    except OSError as error:  # URLError and timeouts are OSErrors
        raise ConnectionError(
            f"cannot fetch {url}: {error}. Start again to go on where it stopped, or put the file at {path}"
            + (f" ({hint})" if hint else "")
        ) from error
    have = partial.stat().st_size
    if size is not None and have < size:
        raise ConnectionError(
            f"{path.name} ended after {have} of {size} bytes; start again to go on from there"
        )
    try:
        _check(partial, digest)
    except ValueError:
        partial.unlink()
        raise
    partial.rename(path)


def _fetch(url: str, partial: Path, title: str) -> None:
    """Fetch ``url`` into ``partial``, from where that ends."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=30)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to fetch
            return
        raise
    with response:
        have = have if response.status == 206 else 0  # the server may not know ranges
        total = have + int(response.headers.get("Content-Length", 0))
        with (
            open(partial, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=title) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def _check(path: Path, digest: str) -> None:
    if (found := sha256(path)) != digest:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) has SHA-256 {found}, {digest} was expected: it is damaged "
            "or another file; delete it and start again"
        )
