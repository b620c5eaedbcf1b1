"""Search regions: square views of a panorama, one around each object, that are a small network's input.

Ours, not the paper's. Trackers of perspective video search for their target in a region a few times its
size (SiamFC, Bertinetto et al. 2016, arXiv 1606.09549). Here the region lies on the sphere, north up: it
has no seam, no pole and no stretched rows, and an object has the same size in it at any distance, at the
camera's own resolution. It is a stereographic projection, which keeps the shapes of small things wherever
they are: a direction at the angle t from the centre is 2 tan(t / 2) away from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.image_pyramid import SUBPIXELS, ImagePyramid, sample
from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import (
    Floats,
    angle_between,
    cross,
    normalised,
    tangent_basis,
    vector_to_lonlat,
)
from panosam2_ros.geometry.stereographic import (
    pixel_directions,
    placement,
    sampling_places,
    side_of,
    to_plane,
)
from panosam2_ros.geometry.window import Logits, MaskPatch, Window

_Each = TypeVar("_Each", bound=np.generic)

# Chosen on every third sequence of val, MOST_FOV on the real video (pi on val), see experiments/journal.md.
TIMES = 3.4  # a region's side as a multiple of its object's mean extent, ...
TIMES_LONGEST = 2.2  # ... and at least of its longest
LEAST_FOV, MOST_FOV = 0.5, 2.4  # rad; things move by some degrees from frame to frame
FOLLOWING = 0.1  # fraction of a change of size that the region takes over in a frame
AHEAD = 0.25  # largest shift of a region towards the predicted direction, as a fraction of its side
WIDENING, WIDEST = 1.08, 2.5  # factors on the side: of each frame without the object, and of all together
_FITS = 1.05  # of an object's longest extent, at least, has a region that is zoomed
_WIDENED = 100  # frames after which a region has its largest side
# Assumed size of a clicked object; on val the masks of clicks score 0.60 with 15 degrees, 0.68 with 22, 28.
UNKNOWN_SIZE = math.radians(25)
DEFAULT_PATCH_SIZE = (
    96  # side, pixels, of the windows in which masks are published without boundary refinement
)
_POLAR = 0.06  # 1 - |sin(latitude)|, about 20 degrees: nearer to a pole the region keeps its orientation
_SURE = 1.6  # rad; a larger angle to north is corrected slowly, because either way round is as long
_MAX_TWIST = 0.3  # rad a frame, of that slow correction
_OUTSIDE = -9.0  # logit outside a region
_BEHIND = -0.9  # cosine of an angle to the centre that no region reaches; its antipode has no place in it


@dataclass(frozen=True, eq=False)
class TargetExtent:
    """The direction and the angular size of an object."""

    direction: Floats  # [3] unit vector, optical axes
    diameter: float  # rad, mean of width and height in a search region
    longest: float  # rad, the larger of both

    @classmethod
    def of_directions(cls, vectors: Floats, weights: Floats) -> TargetExtent:
        """Measure an object that covers the directions ``vectors`` [N, 3].

        ``weights`` [N] are their solid angles, in any unit.
        """
        mean = weights @ vectors
        length = float(np.linalg.norm(mean))
        direction = mean / length if length > 1e-9 else vectors[len(vectors) // 2]
        spans = np.ptp(to_plane(vectors @ _upright(direction).T), axis=0)
        wide, high = (4 * math.atan(span / 4) for span in spans.tolist())
        return cls(direction, (wide + high) / 2, max(wide, high))

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_], grid: Equirect) -> TargetExtent | None:
        """Measure an object by its mask [H, W] in a panorama; None for an empty mask."""
        rows, columns = np.nonzero(mask)
        if not rows.size:
            return None
        found = cls.of_directions(grid.pixel_to_vector(columns, rows), grid.pixel_solid_angles()[rows])
        pixel = 2 * math.pi / grid.width  # from pixel centres to pixel edges
        return replace(found, diameter=found.diameter + pixel, longest=found.longest + pixel)


@dataclass(frozen=True, eq=False)
class SearchRegion:
    """A square stereographic view of the sphere around an object."""

    axes: Floats  # [3, 3]: its right, down and forward, in optical axes
    diameter: float  # rad, as in ``TargetExtent``, smoothed
    longest: float
    _: KW_ONLY
    unseen: int = 0  # frames since the object was last seen
    zoom: float = 1.0  # share of the field of view that is shown

    @classmethod
    def around(cls, target: TargetExtent) -> SearchRegion:
        """Return the first region of an object."""
        return cls(_upright(target.direction), target.diameter, target.longest)

    @property
    def fov(self) -> float:
        """The field of view, rad, from the middle of one side to the middle of the opposite side."""
        side = max(TIMES * self.diameter, TIMES_LONGEST * self.longest, LEAST_FOV)
        wider = WIDENING ** min(self.unseen, _WIDENED)  # bounded, since an object may be unseen for hours
        return self.zoom * min(side * min(wider, WIDEST), MOST_FOV)

    def pixel_angle(self, size: int) -> float:
        """Return the angle, rad, that a pixel in the middle covers where the region has ``size`` pixels."""
        return side_of(self.fov) / size

    def next_region(self, target: TargetExtent | None, *, share: float = FOLLOWING) -> SearchRegion:
        """Return the region for the next frame; ``target`` None: the object was not seen in this one.

        ``share`` is the fraction of a change of size that the region takes over.
        """
        if target is None:
            return replace(self, unseen=self.unseen + 1)
        diameter = self.diameter * (target.diameter / self.diameter) ** share
        longest = self.longest * (target.longest / self.longest) ** share
        return SearchRegion(_recentred(self.axes, target.direction), diameter, longest)

    def predicted(self, direction: Floats) -> SearchRegion:
        """Move the region to the predicted direction [3] of its object, but by ``AHEAD`` of its side at most.

        A prediction farther away is more likely an error than a motion.
        """
        away, most = float(angle_between(self.axes[2], direction)), AHEAD * self.fov
        share = 1.0 if away <= most else most / away
        return self.recentred(self.axes[2] + share * (direction - self.axes[2]))

    def widest(self) -> SearchRegion:
        """Return the region of an object that was not seen for long, which is the widest one."""
        return replace(self, unseen=_WIDENED)

    def zoomed(self, zoom: float) -> SearchRegion | None:
        """Return the region with ``zoom`` times its field of view; None where its object would not fit."""
        closer = replace(self, zoom=zoom)
        return closer if zoom < 1 and closer.fov >= _FITS * self.longest else None

    def recentred(self, direction: Floats) -> SearchRegion:
        """Return the same region with another centre [3]."""
        return replace(self, axes=_recentred(self.axes, direction))

    def level(self, pyramid: ImagePyramid, size: int) -> tuple[ImageArray, float]:
        """Return the level of a pyramid that [size, size] pixels of this region are sampled from.

        Also returns its column offset.
        """
        return pyramid.at(1 / self.pixel_angle(size))

    def pixels(self, pyramid: ImagePyramid, size: int, *, vertical_fov: float = math.pi) -> ImageArray:
        """Sample an image in this region, [size, size, 3]."""
        image, offset = self.level(pyramid, size)
        u, v = self._samples(image.shape[1], image.shape[0], size, vertical_fov)
        u += round(offset * SUBPIXELS)
        return sample(image, u, v)

    def mask(self, mask: NDArray[_Each], size: int, *, vertical_fov: float = math.pi) -> NDArray[_Each]:
        """Sample a panorama's mask or labels [H, W] in this region, [size, size], by nearest neighbour."""
        u, v = self._samples(mask.shape[1], mask.shape[0], size, vertical_fov)
        rows, columns = ((x + SUBPIXELS // 2) // SUBPIXELS for x in (v, u))
        return np.asarray(mask[rows, columns % mask.shape[1]])

    def placement(self, width: int, height: int, *, vertical_fov: float = math.pi) -> Floats:
        """Return where this region lies in a panorama, as ``sampling_places`` takes it, in subpixels."""
        return placement(self.axes, self.fov, (width, height), vertical_fov=vertical_fov, steps=SUBPIXELS)

    def _samples(
        self, width: int, height: int, size: int, vertical_fov: float
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Compute the u and v of this region's pixels in a panorama, [size, size] each, in subpixels."""
        placed = torch.from_numpy(self.placement(width, height, vertical_fov=vertical_fov))[None]
        u, v = sampling_places(placed, size)
        return u[0].numpy(), v[0].numpy()

    def directions(self, size: int) -> Floats:
        """Return the unit vectors [size, size, 3], optical axes, of this region's pixels."""
        return pixel_directions(size, self.fov) @ self.axes

    def outside(self, size: int, vertical_fov: float) -> NDArray[np.bool_] | None:
        """Return which of this region's pixels, [size, size], lie above or below a panorama; None: none does.

        The panorama is ``vertical_fov`` rad high.
        """
        height = np.abs(pixel_directions(size, self.fov) @ self.axes[:, 1])  # sine of the latitude
        outside = np.asarray(height > math.sin(vertical_fov / 2))
        return outside if vertical_fov < math.pi and outside.any() else None

    def project(self, vectors: Floats, size: int) -> Floats:
        """Return the pixel indices x, y [..., 2] of directions [..., 3]; they may lie outside the region."""
        return np.asarray((to_plane(vectors @ self.axes.T) / side_of(self.fov) + 0.5) * size - 0.5)

    def target(self, mask: NDArray[np.bool_]) -> TargetExtent | None:
        """Measure an object by its mask [s, s] in this region; None for an empty mask."""
        if not mask.any():
            return None
        local = pixel_directions(len(mask), self.fov)[mask]
        found = TargetExtent.of_directions(local @ self.axes, (1 + local[:, 2]) ** 2)
        pixel = self.pixel_angle(len(mask))
        return replace(found, diameter=found.diameter + pixel, longest=found.longest + pixel)

    def patch(
        self, logits: Logits, size: int, *, finer: bool = False, vertical_fov: float = math.pi
    ) -> MaskPatch | None:
        """Resample logits [s, s] of this region to a window of the panorama, [size, size].

        ``finer``: to more pixels where those would be coarser than the region's. None where no logit is
        positive.
        """
        mask = logits > 0
        if not mask.any():
            return None
        window = self._window(mask, vertical_fov)
        if finer:
            size = max(size, math.ceil(window.height * vertical_fov / self.pixel_angle(len(mask))))
        at = (np.arange(size) + 0.5) / size
        lon = (window.left + at * window.width - 0.5) * (2 * math.pi)
        lat = (0.5 - window.top - at * window.height) * vertical_fov
        cosine = np.cos(lat)[:, None]
        level = np.stack([np.sin(lon), np.cos(lon)], -1) @ self.axes[:, ::2].T
        local = cosine[..., None] * level - (np.sin(lat)[:, None] * self.axes[:, 1])[:, None]
        places = (to_plane(local) / side_of(self.fov) + 0.5) * len(logits) - 0.5
        x, y = np.moveaxis(places.astype(np.float32), -1, 0)
        how = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": _OUTSIDE}
        return MaskPatch(np.asarray(cv2.remap(logits, x, y, cv2.INTER_LINEAR, **how), np.float32), window)

    def shown_in(self, other: SearchRegion, logits: Logits) -> Logits:
        """Resample logits [s, s] of this region to another region, [s, s]."""
        x, y = np.moveaxis(self.project(other.directions(len(logits)), len(logits)).astype(np.float32), -1, 0)
        how = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": _OUTSIDE}
        return np.asarray(cv2.remap(logits, x, y, cv2.INTER_LINEAR, **how), np.float32)

    def _window(self, mask: NDArray[np.bool_], vertical_fov: float) -> Window:
        """Return the panorama's window around a mask [s, s] in this region, which must not be empty."""
        vectors = pixel_directions(len(mask), self.fov)[mask] @ self.axes
        lon, lat = vector_to_lonlat(vectors)
        pixel = self.pixel_angle(len(mask))
        low, high = float(lat.min()) - pixel, float(lat.max()) + pixel
        for pole in (-1.0, 1.0):
            if self.shows(np.array([0.0, -pole, 0.0]), mask):
                low, high = min(low, pole * math.pi / 2), max(high, pole * math.pi / 2)
        fractions = np.sort(lon / (2 * math.pi) + 0.5)
        gaps = np.diff(fractions, append=fractions[0] + 1)
        widest = int(np.argmax(gaps))
        wide = 1 - float(gaps[widest]) + pixel / (2 * math.pi) / max(math.cos((low + high) / 2), 0.05)
        middle = float(fractions[(widest + 1) % len(fractions)]) + (1 - float(gaps[widest])) / 2
        centre = 0.5 - (low + high) / 2 / vertical_fov, middle
        window = Window.covering(centre, ((high - low) / vertical_fov, wide), vertical_fov)
        if window.width == 1:  # all columns, so there is no gap to put its ends in: centred on the mask
            window = replace(window, left=float(vector_to_lonlat(vectors.sum(0))[0]) / (2 * math.pi))
        return window

    def shows(self, direction: Floats, mask: NDArray[np.bool_]) -> bool:
        """Return whether a direction [3] falls on a pixel of a mask [s, s] in this region."""
        if float(direction @ self.axes[2]) < _BEHIND:
            return False
        x, y = np.rint(self.project(direction, len(mask))).clip(-1, len(mask)).astype(int)
        return bool(min(x, y) >= 0 and max(x, y) < len(mask) and mask[y, x])

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON types; what is kept is never zoomed."""
        kept = {name: value for name, value in vars(self).items() if name != "zoom"}
        return {**kept, "axes": self.axes.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SearchRegion:
        """Build a region from what ``to_dict`` returned."""
        return cls(**{**values, "axes": np.array(values["axes"], float)})


def _upright(direction: Floats) -> Floats:
    """Return the axes [3, 3] of a view in ``direction`` [3] with north up."""
    east, north = tangent_basis(direction)
    return np.stack([east, -north, direction])


def _recentred(axes: Floats, direction: Floats) -> Floats:
    """Rotate axes [3, 3] to look in ``direction`` [3], with north up.

    Near the poles, where north changes quickly, they keep their orientation about the line of sight.
    """
    forward = normalised(direction)
    right = axes[0] - forward * (forward @ axes[0])
    length = float(np.linalg.norm(right))
    if length < 1e-6:
        return _upright(forward)
    right = right / length
    down, east = cross(forward, right), _upright(forward)[0]
    angle = math.atan2(float(east @ down), float(east @ right))
    twist = angle * min((1 - abs(float(forward[1]))) / _POLAR, 1.0)
    if abs(angle) > _SURE:
        twist = min(max(twist, -_MAX_TWIST), _MAX_TWIST)
    right = math.cos(twist) * right + math.sin(twist) * down
    return np.stack([right, cross(forward, right), forward])
