"""Message packages of the tests in this very process, and away again for the tests that do without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from helpers.message_packages import package_folders


@contextmanager
def compiled_modules(*packages: str) -> Iterator[None]:
    """Let this process import ``packages`` while the block runs."""
    folders = package_folders(*packages)
    known = set(sys.modules)
    sys.path[:0] = folders
    try:
        yield
    finally:
        for folder in folders:
            sys.path.remove(folder)
        tops = ("tf2_msgs", *packages)
        for name in set(sys.modules) - known:
            if name.split(".")[0] in tops:
                del sys.modules[name]
