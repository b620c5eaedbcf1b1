"""What waits to be sent to one browser: the newest of each kind, never a queue. Nothing here knows ROS."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

MOST_UNSEEN = 2  # sent and not yet acknowledged: one is drawn while the next is on its way


@dataclass
class OutboxCounts:
    """Counts of one browser or of several."""

    sent: int = 0
    replaced: int = 0  # by a newer one before their turn


class Outbox:
    """Holds the newest item of each kind until the browser has drawn what it was sent.

    Network and browser hold at most ``MOST_UNSEEN`` items, so that what a slow one shows is never old: an
    item that waits is replaced by a newer one of its kind. Used on the thread of one event loop.
    """

    def __init__(self, counts: OutboxCounts) -> None:
        self.counts = counts
        self._waiting: dict[str, bytes | str] = {}  # by kind, in the order in which they came
        self._unseen = 0
        self._change = asyncio.Event()

    def offer(self, kind: str, item: bytes | str) -> None:
        """Put an item in the place of an older one of its kind; never wait."""
        self.counts.replaced += kind in self._waiting
        self._waiting[kind] = item
        self._change.set()

    def acknowledge(self) -> None:
        """Note that the browser has drawn one item."""
        self._unseen = max(self._unseen - 1, 0)
        self._change.set()

    async def next(self) -> bytes | str:
        """Wait until the browser is ready; return the newest item of the kind that has waited longest."""
        while not self._waiting or self._unseen >= MOST_UNSEEN:
            self._change.clear()
            await self._change.wait()
        kind = next(iter(self._waiting))
        self._unseen += 1
        self.counts.sent += 1
        return self._waiting.pop(kind)
