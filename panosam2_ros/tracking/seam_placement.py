"""Where the network's own seam goes, so that no tracked object lies on it.

Our own addition, without training: for networks whose encoder is not periodic. Off by default,
because where the seam goes depends on all objects together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_CLEARANCE, WANTED_CLEARANCE = (
    2,
    4,
)  # tokens: an object nearer than the first makes the seam move, to where all are as far as the second


class SeamPlacer:
    """Decides when to roll panoramas, and by how much, with hysteresis."""

    def roll_tokens(
        self,
        occupied: NDArray[np.bool_],  # [w] token columns of all objects, as the network sees them
    ) -> int:
        """Return token columns to roll right by; 0 while the seam has room, or where there is room nowhere.

        The seam lies before column 0.
        """
        width = occupied.size
        columns = np.flatnonzero(occupied)
        if not columns.size or min(columns[0], width - 1 - columns[-1]) >= MIN_CLEARANCE:
            return 0
        gaps = np.diff(columns, append=columns[0] + width) - 1
        widest = int(np.argmax(gaps))
        if gaps[widest] < 2 * WANTED_CLEARANCE:
            return 0
        middle = columns[widest] + 1 + gaps[widest] // 2
        return int(-middle % width)
