"""Worker processes that end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """Have this worker process end as soon as its parent has, also where that was killed.

    Workers otherwise wait for ever: for room in a queue that nobody reads, or for work that nobody sends.
    Called in a process of ``multiprocessing``; elsewhere it does nothing.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)  # an ordinary exit would wait for that queue

    threading.Thread(target=watch, name="end with parent", daemon=True).start()
