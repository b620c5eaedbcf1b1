"""Results of sequences: plain numbers that add up and that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from panosam2_ros.evaluation.metrics import QUALITIES

EVERY = "every"  # the tally of all pairs in which the truth is visible
# Tallies of those of them in which, in this very frame, ...
CONDITIONS = {
    "on_seam": "the true mask lies on both sides of the seam",
    "near_pole": "the truth's centroid lies beyond 66.5 degrees of latitude",
    "reappearance": "the object came back at most 20 frames ago after 10 hidden ones or more",
}


@dataclass(frozen=True)
class Tally:
    """Sums of scores over pairs."""

    pairs: int = 0
    sums: tuple[float, ...] = (0.0,) * len(QUALITIES)  # in the order of ``QUALITIES``

    def __add__(self, other: Tally) -> Tally:
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return Tally(self.pairs + other.pairs, sums)


@dataclass(frozen=True)
class ObjectResult:
    """One object of one sequence; counts are of pairs of this object and a frame."""

    obj_id: int
    tallies: Mapping[str, Tally]  # EVERY and CONDITIONS; without those that never held
    davis_frames: int  # of the means as DAVIS takes them: absent frames too, but not the last
    davis_sums: tuple[float, float]  # J, F
    bearing_errors_deg: tuple[float, ...]  # truth visible and report visible
    bearing_errors_on_target_deg: tuple[float, ...]  # ... and the mask on its object
    absent: int  # the truth is not visible
    false_positives: int  # ... but there is a mask
    missed: int  # the truth is visible but there is no mask
    reported_visible: int
    reported_while_absent: int  # ... but the truth is not visible
    reported_elsewhere: int  # ... and the truth is, but the mask has J_sphere < 0.1
    ellipses: int  # truth visible and report visible, with a covariance
    ellipses_on_target: int  # ... and the mask on its object
    covered: int  # ellipses of 95 % that hold the true direction
    covered_on_target: int
    id_switches: int  # times that the mask moved onto another object or look-alike
    frames_on_another: int

    @property
    def visible_pairs(self) -> int:
        return self.tallies.get(EVERY, Tally()).pairs


@dataclass(frozen=True)
class SequenceResult:
    """One sequence."""

    name: str
    attributes: tuple[str, ...]
    frames: int  # that were given, the prompted one included
    objects: tuple[ObjectResult, ...]

    def tally(self, name: str = EVERY) -> Tally:
        """All objects' sums."""
        return sum((o.tallies.get(name, Tally()) for o in self.objects), Tally())

    def to_json(self) -> dict[str, Any]:
        """For json.dumps."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SequenceResult:
        """The inverse of ``to_json``, also after a round through a file."""
        objects = tuple(_object(o) for o in data["objects"])
        return cls(data["name"], tuple(data["attributes"]), data["frames"], objects)


def _object(data: Mapping[str, Any]) -> ObjectResult:
    tallies = {k: Tally(t["pairs"], tuple(t["sums"])) for k, t in data["tallies"].items()}
    lists = ("davis_sums", "bearing_errors_deg", "bearing_errors_on_target_deg")
    tuples = {key: tuple(data[key]) for key in lists}
    return ObjectResult(**{**data, **tuples, "tallies": tallies})
