"""The places of all objects of a stream of images: by ranges where there are any, else by triangulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.object_place import (
    MaskedObject,
    ObjectPlace,
    PlaceSource,
    SeenBox,
    place_by_range,
    sight_axes,
)
from panosam2_ros.places.projected_points import ProjectedPoints
from panosam2_ros.places.range_clusters import RangeConfig
from panosam2_ros.places.triangulation import (
    BearingTrail,
    BearingView,
    Triangulated,
    TriangulationConfig,
    TriangulationState,
)

NO_POINTS = "no points inside its mask stand out as its own"


@dataclass(frozen=True, eq=False)
class SeenObject:
    """A visible object of one image, in the camera's optical axes."""

    obj_id: int
    direction: Floats  # [3] unit vector
    covariance: Floats  # [3, 3] rad^2, of the direction
    width: float  # rad, angular extents
    height: float  # rad


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where a camera is in a fixed frame."""

    rotation: Floats  # [3, 3] from optical axes to the fixed frame's
    position: Floats  # [3] m


@dataclass(frozen=True, eq=False)
class PlaceInput:
    """One image and what is known of it."""

    stamp: int  # ns
    objects: Sequence[SeenObject]  # those that are visible
    known_ids: frozenset[int]  # of all objects, also those that are not visible
    up: Floats  # [3] unit vector, optical axes
    labels: NDArray[np.uint16] | None = None  # [H, W]; None: no ranges can be used
    grid: Equirect | None = None  # of the labels
    points: ProjectedPoints | None = None  # None: no ranges
    camera: CameraPose | None = None  # None: no odometry


@dataclass(frozen=True, eq=False)
class PlaceResult:
    """The places of an image, from the camera in optical axes, and why other objects have none."""

    places: list[ObjectPlace] = field(default_factory=list)
    missing: dict[int, str] = field(default_factory=dict)  # by object id


class PlaceEstimator:
    """Places objects image by image; remembers a bounded number of bearings of each."""

    def __init__(self, ranges: RangeConfig, triangulation: TriangulationConfig) -> None:
        self._ranges, self._triangulation = ranges, triangulation
        self._trails: dict[int, BearingTrail] = {}

    @property
    def remembered(self) -> int:
        """Bearings that are remembered, of all objects."""
        return sum(len(trail) for trail in self._trails.values())

    def forget(self) -> None:
        """Forget all bearings."""
        self._trails.clear()

    def update(self, image: PlaceInput) -> PlaceResult:
        """Place every visible object of an image."""
        self._trails = {i: trail for i, trail in self._trails.items() if i in image.known_ids}
        result = PlaceResult()
        for seen in image.objects:
            solved = self._triangulate(seen, image)
            place = self._by_range(seen, image)
            if place is None and solved is not None and image.camera is not None:
                place = _triangulated_place(seen, solved, image.camera, image.up)
            if place is not None:
                result.places.append(place)
            else:
                result.missing[seen.obj_id] = _reason(solved, has_points=image.points is not None)
        return result

    def _by_range(self, seen: SeenObject, image: PlaceInput) -> ObjectPlace | None:
        if image.labels is None or image.grid is None or image.points is None:
            return None
        masked = MaskedObject(seen.obj_id, image.labels == seen.obj_id, seen.direction, seen.covariance)
        return place_by_range(masked, image.grid, image.points, image.up, self._ranges)

    def _triangulate(self, seen: SeenObject, image: PlaceInput) -> Triangulated | None:
        """Remember the bearing and return where all meet; None without odometry."""
        if image.camera is None:
            return None
        turn = image.camera.rotation
        radius = min(seen.width, seen.height) / 2
        view = BearingView(
            image.stamp,
            image.camera.position,
            turn @ seen.direction,
            turn @ seen.covariance @ turn.T,
            radius,
        )
        trail = self._trails.setdefault(seen.obj_id, BearingTrail(self._triangulation))
        trail.add(view)
        return trail.solve()


def _reason(solved: Triangulated | None, *, has_points: bool) -> str:
    """Return why an object has no place."""
    by_range = NO_POINTS if has_points else "no ranges"
    return f"{by_range}; {solved.state.value if solved else 'no odometry to triangulate with'}"


def _triangulated_place(
    seen: SeenObject, solved: Triangulated, camera: CameraPose, up: Floats
) -> ObjectPlace | None:
    """Return a triangulated place from the camera in optical axes; None where it is not known.

    The depth of its box is 0: bearings do not tell it.
    """
    if solved.state is not TriangulationState.KNOWN:
        return None
    back = camera.rotation.T
    position = back @ (solved.position - camera.position)
    size = 2 * float(np.linalg.norm(position)) * np.tan(np.minimum([seen.width, seen.height], 2.5) / 2)
    box = SeenBox(position, sight_axes(seen.direction, up), np.array([0.0, *size]))
    covariance = back @ solved.covariance @ camera.rotation
    return ObjectPlace(seen.obj_id, PlaceSource.TRIANGULATION, position, covariance, box)
