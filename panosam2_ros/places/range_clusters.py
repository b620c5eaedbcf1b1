"""Which points inside an object's mask are its own: the nearest dense cluster that ends where the mask ends.

A background or an occluder that a misaligned mask takes in goes on outside the mask, at the same range; the
object does not. So every cluster of ranges inside the mask is compared with the ranges in a ring round it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats
from panosam2_ros.places.mask_window import MaskWindow
from panosam2_ros.places.projected_points import ProjectedPoints

_CORE_DENSITY = 0.05  # of the densest range: where fewer points are, a cluster ends
_RING = 3.0  # multiples of the alignment's error: how far outside the mask the ring ends
# By which a cluster's share inside exceeds that in the ring: of a mask that has an interior, and of one that
# is thinner than the misalignment.
_CONTRAST, _THIN_CONTRAST = 1.2, 2.0
_RIVAL = 0.5  # of the largest difference of the two shares, from which a cluster may be the object, too
_ENOUGH = 0.5  # share inside from which a cluster needs no contrast, as of a thing that is flush with a wall


@dataclass(frozen=True)
class RangeConfig:
    """How points become clusters."""

    alignment_error: float = 0.01  # rad by which camera and range sensor may be misaligned
    range_noise: float = 0.03  # m, standard deviation of one range
    gap: float = 0.25  # m without points that separate two clusters, at short range
    gap_share: float = 0.015  # of the range, added to that
    least_points: int = 3  # of an object's own
    least_share: float = 0.15  # of the points inside the mask, weighted, that a cluster needs


@dataclass(frozen=True, eq=False)
class OwnPoints:
    """The points of one object."""

    index: NDArray[np.int64]  # [N] among the projected points
    depth: Floats  # [N] rad from the mask's edge
    nearest: float  # m
    farthest: float  # m
    share: float  # of the points inside the mask, weighted
    share_outside: float  # of the points in the ring: what of it goes on outside the mask


@dataclass(frozen=True)
class _Cluster:
    """Ranges that belong together."""

    nearest: float  # m
    farthest: float  # m
    share: float
    share_outside: float
    count: int

    @property
    def contrast(self) -> float:
        return self.share - self.share_outside


def own_points(window: MaskWindow, points: ProjectedPoints, config: RangeConfig) -> OwnPoints | None:
    """Find the points that are an object's own; None where there are too few or none stands out."""
    band = points.in_rows(window.top, window.top + window.height - 1)
    depths = window.depths(points.rows[band], points.columns[band]).astype(float)
    ranges = points.ranges[band]
    margin, deepest = config.alignment_error, float(window.depth.max())
    # points of a thing that is thinner than the misalignment may all lie beside its mask
    beside = min(max(1.5 * margin - deepest, 0.0), margin)
    inside = np.flatnonzero(depths > -beside)
    if len(inside) < config.least_points:
        return None
    ring = ranges[(depths < -margin) & (depths > -_RING * margin)]
    weights = _interior_weights(depths[inside] + beside, deepest + beside, margin)
    clusters = _clusters(ranges[inside], weights, ring, config)
    chosen = _choose(clusters, config, thin=beside > 0)
    if chosen is None:
        return None
    own = inside[(ranges[inside] >= chosen.nearest) & (ranges[inside] <= chosen.farthest)]
    return OwnPoints(
        own + band.start,
        depths[own],
        chosen.nearest,
        chosen.farthest,
        chosen.share,
        chosen.share_outside,
    )


def _interior_weights(depths: Floats, deepest: float, margin: float) -> Floats:
    """Return weights [N], 0..1: small at the mask's edge, where misaligned points may be another thing's."""
    weights = np.clip(depths / min(2 * margin, deepest), 0.0, 1.0) ** 2
    if deepest > 2 * margin:
        weights[depths < margin] *= 0.01  # not 0: the interior may have no points at all
    return np.asarray(weights)


def _clusters(ranges: Floats, weights: Floats, ring: Floats, config: RangeConfig) -> list[_Cluster]:
    """Split ranges [N] into clusters, nearest first."""
    order = np.argsort(ranges)
    ordered, weight = ranges[order], weights[order]
    # in units of the gap, which grows with the range
    scaled = np.log(config.gap + config.gap_share * ordered) / config.gap_share
    total = np.concatenate([[0.0], np.cumsum(weight)])
    first, last = (np.searchsorted(scaled, scaled + side) for side in (-0.5, 0.5))
    density = total[last] - total[first]
    core = np.flatnonzero(density >= _CORE_DENSITY * density.max())
    breaks = np.flatnonzero(np.diff(scaled[core]) > 1.0) + 1
    found = []
    for part in np.split(core, breaks):
        near, far = float(ordered[part[0]]), float(ordered[part[-1]])
        slack = 0.5 * (config.gap + config.gap_share * near)
        low, high = np.searchsorted(ordered, [near - slack, far + slack])
        share = float(total[high] - total[low]) / max(float(total[-1]), 1e-12)
        outside = float(((ring >= near - slack) & (ring <= far + slack)).mean()) if len(ring) else 0.0
        found.append(_Cluster(near - slack, far + slack, share, outside, int(high - low)))
    return found


def _choose(clusters: list[_Cluster], config: RangeConfig, *, thin: bool) -> _Cluster | None:
    """Return the cluster that stands out most inside the mask, or a nearer one that does nearly as much.

    None where none does, and where several do in a mask that is too thin to tell them apart.
    """
    large = [c for c in clusters if c.count >= config.least_points and c.share >= config.least_share]
    contrast = _THIN_CONTRAST if thin else _CONTRAST
    standing_out = [c for c in large if c.share > contrast * c.share_outside]
    if not standing_out:
        return next((cluster for cluster in large if cluster.share >= _ENOUGH and not thin), None)
    best = max(cluster.contrast for cluster in standing_out)
    rivals = [cluster for cluster in standing_out if cluster.contrast >= _RIVAL * best]
    return None if thin and len(rivals) > 1 else rivals[0]
