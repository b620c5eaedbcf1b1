"""Results of sequences: plain numbers that can be added and written as JSON.

``pairs``, a key of written results, counts object-frames: one object in one frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from panosam2_ros.evaluation.metrics import MEASURES

EVERY = "every"  # the tally of all object-frames in which the object is truly visible
# Conditions on such object-frames, each with a tally of its own.
CONDITIONS = {
    "on_seam": "the true mask lies on both sides of the seam",
    "near_pole": "the centroid of the true mask lies beyond 66.5 degrees of latitude",
    "reappearance": "the object came back at most 20 frames ago after at least 10 hidden frames",
}


@dataclass(frozen=True)
class Tally:
    """Sums of measures over object-frames."""

    pairs: int = 0
    sums: tuple[float, ...] = (0.0,) * len(MEASURES)  # in the order of ``MEASURES``

    def __add__(self, other: Tally) -> Tally:
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Tally(self.pairs + other.pairs, sums)


@dataclass(frozen=True)
class ObjectResult:
    """Result of one object of one sequence; counts are of frames after the prompt."""

    obj_id: int
    tallies: Mapping[str, Tally]  # of EVERY and CONDITIONS; without empty ones
    davis_frames: int  # of the means as in DAVIS: also absent frames, but not the last one
    davis_sums: tuple[float, float]  # J, F
    bearing_errors_deg: tuple[float, ...]  # where the object is visible and reported as visible
    bearing_errors_on_target_deg: tuple[float, ...]  # ... and the mask is on its object
    absent: int  # the object is not visible
    false_positives: int  # ... but there is a mask
    missed: int  # the object is visible but there is no mask
    reported_visible: int
    covered_on_target: int
    reported_while_absent: int  # ... but the object is not visible
    reported_elsewhere: int  # ... and the object is visible, but the mask has J_sphere < 0.1
    ellipses: int  # reports with a covariance where the object is visible and reported as visible
    ellipses_on_target: int  # ... and the mask is on its object
    covered: int  # ellipses of 95 % that contain the true direction
    id_switches: int  # times that the mask moved onto another object or a distractor
    frames_on_another: int

    @property
    def visible_object_frames(self) -> int:
        """Number of object-frames in which the object is visible."""
        return self.tallies.get(EVERY, Tally()).pairs


@dataclass(frozen=True)
class SequenceResult:
    """Result of one sequence."""

    name: str
    attributes: tuple[str, ...]
    frames: int  # that were scored, the prompted one included
    objects: tuple[ObjectResult, ...]

    def tally(self, name: str = EVERY) -> Tally:
        """Return the sums of all objects."""
        return sum((o.tallies.get(name, Tally()) for o in self.objects), Tally())

    def to_json(self) -> dict[str, Any]:
        """Return a value for json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SequenceResult:
        """Invert ``to_json``, also after its value was written to a file and read again."""
        objects = tuple(_object(o) for o in data["objects"])
        return cls(data["name"], tuple(data["attributes"]), data["frames"], objects)


def _object(data: Mapping[str, Any]) -> ObjectResult:
    """Restore the result of an object from JSON."""
    tallies = {k: Tally(t["pairs"], tuple(t["sums"])) for k, t in data["tallies"].items()}
    lists = ("davis_sums", "bearing_errors_deg", "bearing_errors_on_target_deg")
    tuples = {key: tuple(data[key]) for key in lists}
    return ObjectResult(**{**data, **tuples, "tallies": tallies})
