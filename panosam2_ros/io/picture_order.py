"""Stamps of the packets of a video stream, brought to their pictures, which may come out in another order."""

from __future__ import annotations

from typing import Any

MOST_DELAY = 16  # pictures that a decoder holds back, by the standards of H.264 and HEVC


class PictureOrder:
    """The stamps of the packets whose pictures have not come out yet.

    A picture has the stamp of its packet. Drivers that stamp packets as they leave the encoder stamp those of
    B frames in the order of decoding: then pictures take the stamps in rising order.
    """

    def __init__(self) -> None:
        self._number = 0
        self._waiting: dict[int, tuple[int, Any]] = {}  # by number: stamp, tag
        self._last: int | None = None  # stamp of the newest picture
        self._rising = True  # stamps of packets, since the last clear
        self._by_stamp = False
        self._newest_stamp: int | None = None
        self._newest_out = 0  # number

    def add(self, stamp: int, tag: Any) -> int:
        """Note a packet; return its number, which its picture brings back."""
        self._number += 1
        self._waiting[self._number] = stamp, tag
        if self._newest_stamp is not None and stamp < self._newest_stamp:
            self._rising, self._by_stamp = False, False
        self._newest_stamp = stamp
        return self._number

    def place(self, number: int | None) -> tuple[int, Any] | None:
        """Return stamp and tag of a picture that came out; None where it is later than one before it."""
        own = self._waiting.pop(number, None) if number is not None else None
        if own is None or number is None:
            return None
        self._newest_out = max(self._newest_out, number)
        if self._last is not None and own[0] < self._last and self._rising:
            self._by_stamp = True
            return None  # pictures after it have its place already
        if self._by_stamp and self._waiting:
            least = min(self._waiting, key=lambda n: self._waiting[n][0])
            if self._waiting[least][0] < own[0]:
                own, self._waiting[least] = self._waiting[least], own
        self._last = own[0]
        return own

    def before(self, number: int | None) -> int:
        """Forget the packets before a key frame; return how many they are."""
        gone = [each for each in self._waiting if number is not None and each < number]
        for each in gone:
            del self._waiting[each]
        return len(gone)

    def forget(self, number: int | None) -> None:
        """Expect no picture of a packet."""
        if number is not None:
            self._waiting.pop(number, None)

    def drop_stale(self) -> int:
        """Forget the packets whose pictures cannot come any more; return how many they are."""
        stale = [number for number in self._waiting if number <= self._number - MOST_DELAY - 1]
        for number in stale:
            del self._waiting[number]
        return len(stale)

    @property
    def silent(self) -> bool:
        """Whether no picture has come out for as long as decoders hold one back."""
        return self._number - self._newest_out > MOST_DELAY

    def clear(self) -> int:
        """Forget all packets, since the decoder begins anew; return how many pictures are missing."""
        gone = len(self._waiting)
        self._waiting.clear()
        self._last, self._newest_stamp, self._newest_out = None, None, self._number
        self._rising = True
        return gone
