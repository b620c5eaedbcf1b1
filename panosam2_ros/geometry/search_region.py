"""Search regions: what a small network sees of a panorama, a square round each object that moves with it.

Ours, not the paper's. Trackers of perspective video look for their target in a region some times as large as
it is (SiamFC, Bertinetto et al. 2016, arXiv 1606.09549). Here the region lies on the sphere, north up: it has
no seam, no pole and no stretched rows, and an object is as large in it whatever its distance, at the camera's
own resolution. It is a stereographic projection, which keeps the shapes of small things wherever they
are: a direction at the angle t from the middle is 2 tan(t / 2) away from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import ImagePyramid
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, angle_between, normalised, tangent_basis, vector_to_lonlat
from panosam2_ros.geometry.window import Logits, MaskPatch, Window

_Each = TypeVar("_Each", bound=np.generic)

# Chosen on every third sequence of val, MOST_FOV on the real video (pi on val), see experiments/journal.md.
TIMES = 3.4  # a region's side as a multiple of its object's mean extent, ...
TIMES_LONGEST = 2.2  # ... and at least of its longest
LEAST_FOV, MOST_FOV = 0.5, 2.4  # rad; things move by some degrees from frame to frame
FOLLOWING = 0.1  # share of a change of size that the region takes over in a frame
AHEAD = 0.25  # of its side, by which a region moves to where its object should be, at most
WIDENING, WIDEST = 1.08, 2.5  # a frame without the object, and all of them
_WIDENED = 100  # frames after which it is widest
UNKNOWN_SIZE = math.radians(25)  # of what was clicked at; val's first masks: 15 gives 0.60, 22 and 28 0.68
PATCH = 96  # side of the windows in which masks are published, pixels, where they are not redrawn
_POLAR = 0.06  # 1 - |sin(latitude)|, about 20 degrees: nearer to a pole up stays what it was
_SURE = 1.6  # rad; up that is more than that from north turns slowly: there is no shorter way
_TURN = 0.3  # rad a frame
_OUTSIDE = -9.0  # logit of what a region does not show
_PARTS = cv2.INTER_TAB_SIZE  # of a pixel, to which OpenCV samples


@dataclass(frozen=True)
class TargetExtent:
    """Where an object is and how large."""

    direction: Floats  # [3] unit vector, optical axes
    diameter: float  # rad, mean of width and height as a region sees it
    longest: float  # rad, the larger of both

    @classmethod
    def of_directions(cls, vectors: Floats, weights: Floats) -> TargetExtent:
        """Of what lies in ``vectors`` [N, 3]; ``weights`` [N]: solid angles in any unit."""
        mean = weights @ vectors
        length = float(np.linalg.norm(mean))
        direction = mean / length if length > 1e-9 else vectors[len(vectors) // 2]
        spans = np.ptp(_plane(vectors @ _upright(direction).T), axis=0)
        wide, high = (4 * math.atan(span / 4) for span in spans.tolist())
        return cls(direction, (wide + high) / 2, max(wide, high))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_], grid: Equirect) -> TargetExtent | None:
        """Of a panorama's mask [H, W]; None where it is empty."""
        rows, columns = np.nonzero(mask)
        if not rows.size:
            return None
        found = cls.of_directions(grid.pixel_to_vector(columns, rows), grid.pixel_solid_angles()[rows])
        pixel = 2 * math.pi / grid.width  # from the middles of pixels to their edges
        return replace(found, diameter=found.diameter + pixel, longest=found.longest + pixel)


@dataclass(frozen=True)
class SearchRegion:
    """A square view of the sphere."""

    axes: Floats  # [3, 3]: its right, down and forward, in optical axes
    diameter: float  # rad, as in ``TargetExtent``, smoothed
    longest: float
    unseen: int = 0  # frames without the object

    @classmethod
    def around(cls, target: TargetExtent) -> SearchRegion:
        """The first region of an object."""
        return cls(_upright(target.direction), target.diameter, target.longest)

    @property
    def fov(self) -> float:
        """Rad, from the middle of one side to that of the other."""
        side = max(TIMES * self.diameter, TIMES_LONGEST * self.longest, LEAST_FOV)
        wider = WIDENING ** min(self.unseen, _WIDENED)  # it may be away for hours
        return min(side * min(wider, WIDEST), MOST_FOV)

    def next_region(self, target: TargetExtent | None, share: float = FOLLOWING) -> SearchRegion:
        """The next frame's, after one in which the object was there, or was not seen.

        ``share``: of a change of size that it takes over.
        """
        if target is None:
            return replace(self, unseen=self.unseen + 1)
        diameter = self.diameter * (target.diameter / self.diameter) ** share
        longest = self.longest * (target.longest / self.longest) ** share
        return SearchRegion(_carried(self.axes, target.direction), diameter, longest)

    def predicted(self, direction: Floats) -> SearchRegion:
        """The same where its object should be now; what is far away is rather a mistake than a motion."""
        away, most = float(angle_between(self.axes[2], direction)), AHEAD * self.fov
        share = 1.0 if away <= most else most / away
        return self.recentred(self.axes[2] + share * (direction - self.axes[2]))

    def recentred(self, direction: Floats) -> SearchRegion:
        """The same with another middle [3]."""
        return replace(self, axes=_carried(self.axes, direction))

    def pixels(self, pyramid: ImagePyramid, size: int, vertical_fov: float = math.pi) -> ImageArray:
        """What it shows of an image, [size, size, 3]."""
        image, beside = pyramid.at(size / (4 * math.tan(self.fov / 4)))
        u, v = self._samples(image.shape[1], image.shape[0], size, vertical_fov)
        u += round(beside * _PARTS)
        whole = np.stack([u // _PARTS % image.shape[1], v // _PARTS], -1).astype(np.int16)
        parts = (v % _PARTS * _PARTS + u % _PARTS).astype(np.uint16)
        shown = cv2.remap(image, whole, parts, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        return np.asarray(shown, np.uint8)

    def mask(self, mask: NDArray[_Each], size: int, vertical_fov: float = math.pi) -> NDArray[_Each]:
        """What it shows of a panorama's mask or labels [H, W], [size, size]."""
        u, v = self._samples(mask.shape[1], mask.shape[0], size, vertical_fov)
        rows, columns = ((x + _PARTS // 2) // _PARTS for x in (v, u))
        return mask[rows, columns % mask.shape[1]]

    def _samples(
        self, width: int, height: int, size: int, vertical_fov: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where its pixels lie in a panorama, [size, size] each, in parts of one; rows end where it does.

        Whole numbers, so that of a panorama that is rolled by whole columns they differ by these alone.
        """
        lon, lat = vector_to_lonlat(self.directions(size))
        u = (lon / (2 * math.pi) + 0.5) * width - 0.5
        v = ((0.5 - lat / vertical_fov) * height - 0.5).clip(0, height - 1)
        return np.rint(u * _PARTS).astype(np.int64), np.rint(v * _PARTS).astype(np.int64)

    def directions(self, size: int) -> Floats:
        """Unit vectors [size, size, 3] of its pixels, optical axes."""
        return _local_directions(size, self.fov) @ self.axes

    def project(self, vectors: Floats, size: int) -> Floats:
        """Pixel indices x, y [..., 2] of directions [..., 3]; they may lie outside."""
        reach = 2 * math.tan(self.fov / 4)
        return np.asarray((_plane(vectors @ self.axes.T) / reach + 1) / 2 * size - 0.5)

    def target(self, mask: NDArray[np.bool_]) -> TargetExtent | None:
        """Where what was found in it is; ``mask`` [s, s]; None where it is empty."""
        rows, columns = np.nonzero(mask)
        if not rows.size:
            return None
        local = _local_directions(len(mask), self.fov)[rows, columns]
        found = TargetExtent.of_directions(local @ self.axes, (1 + local[:, 2]) ** 2)
        pixel = 4 * math.tan(self.fov / 4) / len(mask)
        return replace(found, diameter=found.diameter + pixel, longest=found.longest + pixel)

    def patch(self, logits: Logits, size: int, vertical_fov: float = math.pi) -> MaskPatch | None:
        """Its logits [s, s] in a window of the panorama, [size, size]; None where there is no mask."""
        mask = logits > 0
        if not mask.any():
            return None
        window = self._window(mask, vertical_fov)
        at = (np.arange(size) + 0.5) / size
        lon = (window.left + at * window.width - 0.5) * (2 * math.pi)
        lat = (0.5 - window.top - at * window.height) * vertical_fov
        cosine, sine = np.cos(lat)[:, None], np.sin(lat)[:, None]
        level = np.ones_like(lon)
        vectors = np.stack([cosine * np.sin(lon), -sine * level, cosine * np.cos(lon)], -1)
        x, y = np.moveaxis(self.project(vectors, len(logits)).astype(np.float32), -1, 0)
        how = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": _OUTSIDE}
        return MaskPatch(np.asarray(cv2.remap(logits, x, y, cv2.INTER_LINEAR, **how), np.float32), window)

    def _window(self, mask: NDArray[np.bool_], vertical_fov: float) -> Window:
        """The panorama's window round a mask in it."""
        vectors = self.directions(len(mask))[mask]
        lon, lat = vector_to_lonlat(vectors)
        pixel = 4 * math.tan(self.fov / 4) / len(mask)
        low, high = float(lat.min()) - pixel, float(lat.max()) + pixel
        for pole in (-1.0, 1.0):
            place = np.rint(self.project(np.array([0.0, -pole, 0.0]), len(mask)))
            x, y = place.clip(-1, len(mask)).astype(int)
            if min(x, y) >= 0 and max(x, y) < len(mask) and mask[y, x]:
                low, high = min(low, pole * math.pi / 2), max(high, pole * math.pi / 2)
        turns = np.sort(lon / (2 * math.pi) + 0.5)
        gaps = np.diff(turns, append=turns[0] + 1)
        widest = int(np.argmax(gaps))
        wide = 1 - float(gaps[widest]) + pixel / (2 * math.pi) / max(math.cos((low + high) / 2), 0.05)
        middle = float(turns[(widest + 1) % len(turns)]) + (1 - float(gaps[widest])) / 2
        share = (0.5 - (low + high) / 2 / vertical_fov, (high - low) / vertical_fov)
        window = Window.covering(share[0], middle, share[1], wide, vertical_fov)
        if window.width == 1:  # all round no gap says where to cut it open: where the least of it is
            window = replace(window, left=float(vector_to_lonlat(vectors.sum(0))[0]) / (2 * math.pi))
        return window

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**vars(self), "axes": self.axes.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchRegion:
        """What ``to_dict`` gave."""
        return cls(**{**values, "axes": np.array(values["axes"], float)})


def _plane(local: Floats) -> Floats:
    """Stereographic x, y [..., 2] of directions [..., 3] in a region's axes; its antipode is far out."""
    return np.asarray(local[..., :2] * (2 / np.maximum(1 + local[..., 2:], 1e-3)))


@lru_cache(maxsize=32)  # 20 MiB at 160 pixels; each is asked for several times in a frame
def _local(size: int, thousandths: int) -> Floats:
    across = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(across, across)
    radius = np.hypot(x, y)
    angle = 2 * np.arctan(radius * math.tan(thousandths / 4000))
    scale = np.sin(angle) / np.maximum(radius, 1e-9)
    return np.stack([x * scale, y * scale, np.cos(angle)], -1)


def _local_directions(size: int, fov: float) -> Floats:
    """Unit vectors [size, size, 3] of a region's pixels in its axes."""
    return _local(size, round(fov * 1000))


def _upright(direction: Floats) -> Floats:
    """Axes [3, 3] of a view of ``direction`` with north up."""
    east, north = tangent_basis(direction)
    return np.stack([east, -north, direction])


def _carried(axes: Floats, direction: Floats) -> Floats:
    """Axes that look at ``direction``: north up, but near the poles, where that turns quickly, as it was."""
    forward = normalised(direction)
    right = axes[0] - forward * (forward @ axes[0])
    length = float(np.linalg.norm(right))
    if length < 1e-6:
        return _upright(forward)
    right = right / length
    down, east = np.cross(forward, right), _upright(forward)[0]
    angle = math.atan2(float(east @ down), float(east @ right))
    turn = angle * min((1 - abs(float(forward[1]))) / _POLAR, 1.0)
    if abs(angle) > _SURE:
        turn = min(max(turn, -_TURN), _TURN)
    right = math.cos(turn) * right + math.sin(turn) * down
    return np.stack([right, np.cross(forward, right), forward])
