"""When an object's remembered colours do not count: after its light changed, and after a long veto.

Colours are learned from frames in which the object was seen, and a mask of other colours is vetoed
(``propagation.py``). Together the two would lock out an object whose light changes. So a change of the whole
image's light is noticed, and a veto ends that the network has contradicted for long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.propagation_result import HostAnswer
from panosam2_ros.tracking.track import TrackedObject

# Logarithm of the ratio of two images' brightness from which the light changed and not what is in it: the
# largest between two frames of val, in which light drifts and objects of up to 120 degrees move, is 0.033.
LIGHT_STEP = math.log(1.25)
# A veto ends after so long (s) in which the network saw the object, with at least this presence logit, in
# every frame that looked where it should be. Of such vetoes in val, most of them right, none is over 0.5 s.
LONGEST_VETO, CONTRADICTION = 1.5, 2.0


def light_changed(before: float | None, brightness: float) -> bool:
    """Return whether the brightness (0..255) of two images tells of another light; None: there was none."""
    return before is not None and abs(math.log((brightness + 1) / (before + 1))) > LIGHT_STEP


def outdated_colours(objects: Sequence[TrackedObject], stamp: int, *, relit: bool) -> list[bool]:
    """Return for each object whether its remembered colours do not count in the image of ``stamp`` (ns).

    ``relit``: its light differs from that of the image before it.
    """
    return [_vetoed_for(item, stamp) >= LONGEST_VETO or (relit and _seen(item)) for item in objects]


def note_vetoes(
    objects: Sequence[TrackedObject], answer: HostAnswer, away: Sequence[bool], stamp: int
) -> None:
    """Remember since when objects have been vetoed against the network's word.

    A frame in which an object was searched elsewhere, ``away``, says nothing of that.
    """
    contradicted = (answer.network_scores > CONTRADICTION) & (answer.scores <= 0)
    for item, vetoed, elsewhere in zip(objects, contradicted, away, strict=True):
        if not elsewhere:
            item.vetoed_since = (item.vetoed_since or stamp) if vetoed else None


def _vetoed_for(item: TrackedObject, stamp: int) -> float:
    """Return for how long (s) an object has been vetoed against the network's word."""
    return 0.0 if item.vetoed_since is None else (stamp - item.vetoed_since) * 1e-9


def _seen(item: TrackedObject) -> bool:
    return item.motion.state is TrackState.VISIBLE
