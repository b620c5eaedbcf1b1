"""Places from bearings alone, taken from several places of a moving camera.

An object that stands still is where its bearings meet. The estimate weighs each bearing by its covariance.
Its state says whether it is known: not with too little parallax, nor where the bearings do not meet because
the object moves. Bearings cannot tell an object that moves in parallel with the camera, at a constant share
of its speed, from one that stands still farther away or nearer.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from panosam2_ros.geometry.sphere import Floats, normalised

_LOSS_SCALE = 2.5  # standard deviations beyond which a bearing counts less (soft L1)
_OUTLIER = 13.8  # chi-squared of two dimensions, 99.9 %
_MEDIAN_SQUARE = 1.386  # of chi-squared of two dimensions
_LEAST_SIGMA = 1e-4  # rad; a smaller standard deviation of a bearing is not believed
_FARTHEST = 1e4  # m; a place farther away is not known
_EXPECTED_SPEED = 3.0  # m/s, of objects that move
_MOTION = 12.8  # chi-squared of three dimensions, 99.5 %: what a velocity must gain for the object to move
_JUMP = 1_000_000_000  # ns back in time from which earlier bearings are of another time
_PAIRS = 12  # of bearings whose meeting points are tried
_MOST_STEPS = 30  # of the solver


@dataclass(frozen=True)
class TriangulationConfig:
    """When a triangulated place is known, and what is remembered."""

    least_views: int = 4
    least_parallax: float = math.radians(3.0)  # rad between the outermost bearings
    most_relative_error: float = 0.25  # standard deviation of the range as a share of it
    least_step: float = 0.05  # m that the camera moves between two remembered bearings
    most_views: int = 48  # remembered of one object
    memory: float = 60.0  # s after which a bearing is forgotten; 0: never
    most_outliers: float = 0.3  # share of bearings that do not meet, from which the object moves
    most_inflation: float = 3.0  # of the bearings' standard deviations, from which the object moves
    body: float = 0.25  # of the object's angular radius, by which the direction of its middle wanders


class TriangulationState(enum.Enum):
    """What is known of a place."""

    KNOWN = "known"
    TOO_FEW = "seen from too few places: the camera has to move"
    NO_PARALLAX = "too little parallax: the camera has to move across the bearing"
    UNCERTAIN = "the range is not known well enough yet: the camera has to move farther"
    MOVING = "the bearings do not meet: the object moves, or odometry or masks are worse than they say"


@dataclass(frozen=True, eq=False)
class BearingView:
    """One bearing of an object, in a fixed frame."""

    stamp: int  # ns
    origin: Floats  # [3] m, of the camera
    direction: Floats  # [3] unit vector
    covariance: Floats  # [3, 3] rad^2, of the direction
    radius: float  # rad, half the object's angular size


@dataclass(frozen=True, eq=False)
class Triangulated:
    """The place where bearings meet, as far as they do."""

    state: TriangulationState
    position: Floats  # [3] m; NaN where there is none
    covariance: Floats  # [3, 3] m^2; NaN where there is none
    views: int
    parallax: float  # rad
    outliers: int


class BearingTrail:
    """The bearings of one object from several places of the camera, a bounded number of them."""

    def __init__(self, config: TriangulationConfig) -> None:
        self._config = config
        self._views: list[BearingView] = []
        self._solved: Triangulated | None = None

    def __len__(self) -> int:
        return len(self._views)

    def add(self, view: BearingView) -> None:
        """Remember a bearing, unless the camera has hardly moved since the last one that is remembered.

        Errors of bearings from one place are alike: many of them are worth no more than one.
        """
        config = self._config
        if self._views and view.stamp < self._views[-1].stamp - _JUMP:
            self._views.clear()  # time has jumped back, as at the start of a bag
        if self._views:
            last = self._views[-1]
            if view.stamp <= last.stamp or np.linalg.norm(view.origin - last.origin) < config.least_step:
                return
        if config.memory:
            oldest = view.stamp - int(config.memory * 1e9)
            self._views = [v for v in self._views if v.stamp >= oldest]
        self._views.append(view)
        if len(self._views) > config.most_views:
            del self._views[self._most_crowded()]
        self._solved = None

    def _most_crowded(self) -> int:
        """Return the view, neither first nor last, whose neighbours are nearest to each other."""
        origins = np.array([v.origin for v in self._views])
        return int(np.argmin(np.linalg.norm(origins[2:] - origins[:-2], axis=1))) + 1

    def solve(self) -> Triangulated:
        """Compute where the bearings meet; what was computed stays until another bearing is remembered."""
        if self._solved is None:
            self._solved = triangulate(self._views, self._config)
        return self._solved


def triangulate(views: Iterable[BearingView], config: TriangulationConfig) -> Triangulated:
    """Find the point that bearings meet in, by least squares of their angular errors, robust to outliers."""
    seen = list(views)
    parallax = _parallax(np.array([v.direction for v in seen])) if seen else 0.0
    if len(seen) < config.least_views:
        return _nowhere(TriangulationState.TOO_FEW, seen, parallax)
    if parallax < config.least_parallax:
        return _nowhere(TriangulationState.NO_PARALLAX, seen, parallax)
    origins = np.array([v.origin for v in seen])
    white = np.array([_whitening(v, config.body) for v in seen])
    still = _StillObject(origins, white)
    best = _least_squares(still, _first_guess(seen, still), loss="soft_l1").x
    squares = still.squares(best)
    spread = max(float(np.median(squares)) / _MEDIAN_SQUARE, 1.0)
    good = squares <= _OUTLIER * spread
    moves = _moves(still, np.array([v.stamp - seen[-1].stamp for v in seen]) * 1e-9, best)
    if good.sum() >= config.least_views:
        best = _least_squares(_StillObject(origins[good], white[good]), best).x
    covariance = _covariance(_StillObject(origins[good], white[good]), best, seen[-1].origin) * spread
    state = TriangulationState.MOVING
    if not moves and good.mean() >= 1 - config.most_outliers and spread <= config.most_inflation**2:
        state = _judge(seen[-1], best, covariance, config)
    return Triangulated(state, best, covariance, len(seen), parallax, int((~good).sum()))


def _judge(
    newest: BearingView, best: Floats, covariance: Floats, config: TriangulationConfig
) -> TriangulationState:
    """Return whether the range of a place from the newest camera is known well enough."""
    offset = best - newest.origin
    distance = float(np.linalg.norm(offset))
    along = offset / max(distance, 1e-9)
    known = np.isfinite(covariance).all() and distance < _FARTHEST
    error = math.sqrt(float(along @ covariance @ along)) if known else math.inf
    # a point behind the camera is none
    if error > config.most_relative_error * distance or along @ newest.direction <= 0:
        return TriangulationState.UNCERTAIN
    return TriangulationState.KNOWN


def _nowhere(state: TriangulationState, seen: list[BearingView], parallax: float) -> Triangulated:
    return Triangulated(state, np.full(3, np.nan), np.full((3, 3), np.nan), len(seen), parallax, 0)


def _parallax(directions: Floats) -> float:
    """Return the largest angle, rad, between directions [N, 3]."""
    return float(np.arccos(np.clip((directions @ directions.T).min(), -1.0, 1.0)))


def _whitening(view: BearingView, body: float) -> Floats:
    """Return [2, 3], which makes an error of the direction one of unit variance in its tangent plane."""
    wander = (body * view.radius) ** 2 + _LEAST_SIGMA**2
    values, vectors = np.linalg.eigh(view.covariance + wander * np.eye(3))
    # the eigenvector nearest to the direction is left out: errors along it are none
    across = np.argsort(np.abs(vectors.T @ view.direction))[:2]
    return np.asarray(vectors[:, across].T / np.sqrt(values[across])[:, None])


def _first_guess(seen: list[BearingView], still: _StillObject) -> Floats:
    """Return the best, by the median of the squared errors, of where all lines or pairs of them meet."""
    origins, directions = np.array([v.origin for v in seen]), np.array([v.direction for v in seen])
    half = len(seen) // 2
    pairs = [[i, i + half] for i in range(0, half, max(half // _PAIRS, 1))]
    guesses = [_meeting(origins[chosen], directions[chosen]) for chosen in [list(range(len(seen))), *pairs]]
    return min(guesses, key=lambda guess: float(np.median(still.squares(guess))))


def _meeting(origins: Floats, directions: Floats) -> Floats:
    """Return the point nearest to lines [N, 3]."""
    across = np.eye(3) - np.einsum("ni,nj->nij", directions, directions)
    little = 1e-6 * np.eye(3)  # for lines that are parallel
    right = np.einsum("nij,nj->i", across, origins) + little @ origins.mean(0)
    return np.asarray(np.linalg.solve(across.sum(0) + little, right))


@dataclass(frozen=True, eq=False)
class _StillObject:
    """The whitened errors of bearings of a point [3], and their derivatives."""

    origins: Floats  # [N, 3] m
    white: Floats  # [N, 2, 3]

    def residuals(self, point: Floats) -> Floats:
        """Return the errors [2 N] of a point [3], or of one point [N, 3] for each bearing."""
        unit, _ = self._units(point)
        return np.asarray(np.einsum("nai,ni->na", self.white, unit).ravel())

    def jacobian(self, point: Floats) -> Floats:
        """Return the derivatives [2 N, 3] of the errors."""
        unit, distance = self._units(point)
        across = (np.eye(3) - np.einsum("ni,nj->nij", unit, unit)) / distance[:, None, None]
        return np.asarray(np.einsum("nai,nij->naj", self.white, across).reshape(-1, 3))

    def squares(self, point: Floats) -> Floats:
        """Return the squared errors [N]."""
        return np.asarray((self.residuals(point).reshape(-1, 2) ** 2).sum(1))

    def _units(self, point: Floats) -> tuple[Floats, Floats]:
        offset = point - self.origins
        distance = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        return offset / distance[:, None], distance


@dataclass(frozen=True, eq=False)
class _MovingObject:
    """The same for an object at a constant velocity, which is not expected to be fast."""

    still: _StillObject
    times: Floats  # [N] s

    def residuals(self, state: Floats) -> Floats:
        """Return the errors [2 N + 3] of a position and velocity [6]."""
        errors = self.still.residuals(state[:3] + self.times[:, None] * state[3:])
        return np.concatenate([errors, state[3:] / _EXPECTED_SPEED])

    def jacobian(self, state: Floats) -> Floats:
        """Return the derivatives [2 N + 3, 6]."""
        place = self.still.jacobian(state[:3] + self.times[:, None] * state[3:])
        prior = np.concatenate([np.zeros((3, 3)), np.eye(3) / _EXPECTED_SPEED], 1)
        moved = place * np.repeat(self.times, 2)[:, None]
        return np.concatenate([np.concatenate([place, moved], 1), prior])


def _moves(still: _StillObject, times: Floats, best: Floats) -> bool:
    """Return whether a constant velocity explains the bearings much better than the point ``best``."""
    moving = _MovingObject(still, times)
    fitted = _least_squares(moving, np.concatenate([best, np.zeros(3)]), loss="cauchy")
    standing = _least_squares(still, best, loss="cauchy")
    squares = still.squares(fitted.x[:3] + times[:, None] * fitted.x[3:])
    spread = max(float(np.median(squares)) / _MEDIAN_SQUARE, 1.0)
    return bool(2 * (standing.cost - fitted.cost) > _MOTION * spread)


def _least_squares(errors: _StillObject | _MovingObject, start: Floats, *, loss: str = "linear") -> Any:
    return least_squares(
        errors.residuals,
        start,
        jac=errors.jacobian,
        loss=loss,
        f_scale=_LOSS_SCALE,
        x_scale="jac",
        max_nfev=_MOST_STEPS,
    )


def _covariance(still: _StillObject, point: Floats, camera: Floats) -> Floats:
    """Return the covariance [3, 3] of a point, as of one that is farther by a standard deviation.

    A place that seems too near also seems better known than it is.
    """
    near = _inverse(still.jacobian(point))
    if not np.isfinite(near).all():
        return near
    along = normalised(point - camera)
    return _inverse(still.jacobian(point + math.sqrt(float(along @ near @ along)) * along))


def _inverse(jacobian: Floats) -> Floats:
    """Return the covariance [3, 3] of what has these derivatives; infinite where a direction stays open."""
    information = jacobian.T @ jacobian
    if np.linalg.matrix_rank(information) < 3:
        return np.full((3, 3), np.inf)
    return np.asarray(np.linalg.inv(information))
