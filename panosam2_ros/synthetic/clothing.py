"""Clothing of people in training scenes: faces of MakeHuman's garment shells, and their colours.

Positions are those of the resting body of mean shape in metres: x to its left, y to its back, z up,
0 at the hips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from panosam2_ros.geometry.sphere import Floats

Faces = NDArray[np.int64]  # [F, 4] vertices
_SHOULDER, _WRIST = 0.16, 0.45  # m from the middle, of the resting arm
_SKIN = np.array([[250, 217, 190], [231, 183, 146], [190, 134, 95], [141, 90, 58], [84, 54, 38]], float)
_HAIR = np.array([
    [24, 20, 18], [61, 42, 30], [112, 78, 48], [180, 146, 92], [150, 148, 146], [128, 58, 32],
], float)  # fmt: skip
_PLAIN = np.array([
    [22, 22, 25], [52, 54, 60], [104, 106, 110], [172, 172, 170], [236, 235, 230], [28, 36, 66],
    [52, 78, 120], [96, 124, 160], [92, 80, 62], [160, 138, 104], [62, 72, 50], [96, 36, 40],
], float)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mesh:
    """The body and its garment shells, of the mean shape at rest."""

    positions: Floats  # [V, 3]
    arm: NDArray[np.bool_]  # [V] whether a vertex hangs on an arm
    body: Faces
    eyes: Faces
    tights: Faces  # a shell round everything but the head
    skirt: Faces
    hair: Faces


@dataclass(frozen=True, eq=False)
class Layer:
    """One garment, or the skin."""

    name: str
    faces: Faces
    colours: NDArray[np.uint8]  # [V, 3]
    offset: float  # m, distance from its shell


def dress(rng: Generator, mesh: Mesh, *, skirts: bool) -> list[Layer]:
    """Draw a person's skin, hair and clothes; ``skirts``: whether a skirt may be among them."""
    skin = _mix_neighbours(rng, _SKIN)
    layers = [
        _plain_layer("skin", mesh, mesh.body, skin, 0),
        _plain_layer("eyes", mesh, mesh.eyes, np.full(3, 60.0), 0),
    ]
    if rng.random() < 0.92:
        layers.append(_hair_layer(rng, mesh))
    waist, inside = rng.uniform(-0.08, 0.12), mesh.positions[mesh.tights].mean(1)
    legs = inside[:, 2] < waist + 0.02
    skirted = skirts and rng.random() < 0.25
    if skirted:
        whole = mesh.positions[mesh.skirt].mean(1)[:, 2]
        long = mesh.skirt[whole > rng.uniform(-0.7, -0.2)]
        layers.append(_cloth_layer(rng, "skirt", mesh, long, (0.0, 0.02)))
    if not skirted or rng.random() < 0.4:
        hem = rng.uniform(-0.45, -0.2) if rng.random() < 0.25 else rng.uniform(-0.8, -0.7)
        trousers = mesh.tights[legs & (inside[:, 2] > hem) & ~_on_arm(mesh)]
        layers.append(_cloth_layer(rng, "trousers", mesh, trousers, (0.0, 0.03), patterned=0.15))
    sleeve = rng.choice([rng.uniform(0.0, 0.3), rng.uniform(0.3, 0.5), rng.uniform(0.9, 1.0)])
    reach = (abs(inside[:, 0]) - _SHOULDER) / (_WRIST - _SHOULDER)
    upper = np.where(_on_arm(mesh), reach < sleeve, inside[:, 2] > waist)
    layers.append(_cloth_layer(rng, "top", mesh, mesh.tights[upper], (0.003, 0.04)))
    if rng.random() < 0.85:
        shoes = mesh.tights[(inside[:, 2] < rng.uniform(-0.8, -0.68)) & ~_on_arm(mesh)]
        layers.append(_plain_layer("shoes", mesh, shoes, _PLAIN[rng.integers(len(_PLAIN))], 0.012))
    return layers


def _on_arm(mesh: Mesh) -> NDArray[np.bool_]:
    """Return which faces of the tights lie on an arm, [F]."""
    return np.asarray(mesh.arm[mesh.tights].mean(1) > 0.5)


def _mix_neighbours(rng: Generator, colours: Floats) -> Floats:
    """Draw a mixture of two neighbouring colours."""
    first, share = rng.integers(len(colours) - 1), rng.random()
    return np.asarray(colours[first] * share + colours[first + 1] * (1 - share))


def _plain_layer(name: str, mesh: Mesh, faces: Faces, colour: Floats, offset: float) -> Layer:
    """Return a layer of one colour."""
    colours = np.broadcast_to(colour, mesh.positions.shape)
    return Layer(name, faces, np.clip(colours, 0, 255).astype(np.uint8), offset)


def _hair_layer(rng: Generator, mesh: Mesh) -> Layer:
    """Draw hair of some length, or a cap."""
    lowest = mesh.positions[mesh.hair].mean(1)[:, 2]
    long = rng.uniform(0.25, 0.6) if rng.random() < 0.4 else rng.uniform(0.6, 0.68)
    colour = _mix_neighbours(rng, _HAIR) if rng.random() < 0.85 else _sample_colour(rng)
    colour = colour * rng.uniform(0.7, 1.2)
    return _plain_layer("hair", mesh, mesh.hair[lowest > long], colour, rng.uniform(0, 0.012))


def _sample_colour(rng: Generator) -> Floats:
    """Draw a colour: mostly a muted one of ``_PLAIN``, sometimes any."""
    if rng.random() < 0.6:
        return np.asarray(_PLAIN[rng.integers(len(_PLAIN))] * rng.uniform(0.8, 1.2, 3))
    return np.asarray(rng.uniform(0, 255, 3))


def _cloth_layer(
    rng: Generator,
    name: str,
    mesh: Mesh,
    faces: Faces,
    offset: tuple[float, float],
    *,
    patterned: float = 0.5,
) -> Layer:
    """Draw a garment with darker and brighter folds; ``patterned``: how likely it has a second colour."""
    base, other = _sample_colour(rng), _sample_colour(rng)
    share = np.zeros(len(mesh.positions))
    if rng.random() < patterned:
        share = _sample_pattern(rng)(mesh.positions)
    colours = base + share[:, None] * (other - base)
    folds = 1 + rng.uniform(0, 0.25) * _waves(rng, mesh.positions, 14, 40)
    shaded = np.clip(colours * folds[:, None], 0, 255).astype(np.uint8)
    return Layer(name, faces, shaded, rng.uniform(*offset))


def _sample_pattern(rng: Generator) -> Callable[[Floats], Floats]:
    """Draw a function that returns the share of a second colour at positions [V, 3], 0..1 [V]."""
    period, part = rng.uniform(0.04, 0.16), rng.uniform(0.25, 0.6)
    across, height = rng.uniform(-0.08, 0.08), rng.uniform(0.25, 0.42)

    def stripes(at: Floats) -> Floats:
        return np.asarray((at[:, 2] / period) % 1 < part, float)

    def pleats(at: Floats) -> Floats:
        return np.asarray((at[:, 0] / period) % 1 < part, float)

    def checks(at: Floats) -> Floats:
        return np.asarray((stripes(at) + pleats(at)) / 2)

    def blotches(at: Floats) -> Floats:
        return np.asarray(_waves(rng, at, 10, 50) > rng.uniform(-0.1, 0.3), float)

    def print_on_chest(at: Floats) -> Floats:
        beside = np.hypot(at[:, 0] - across, at[:, 2] - height) < 0.05 + period / 2
        return np.asarray(beside & (at[:, 1] < 0), float)

    def halves(at: Floats) -> Floats:
        return np.asarray(at[:, 2] > height, float)

    kinds = [stripes, pleats, checks, blotches, print_on_chest, halves]
    return kinds[rng.integers(len(kinds))]


def _waves(rng: Generator, at: Floats, low: float, high: float) -> Floats:
    """Draw smooth noise [V] of about -1..1 at positions [V, 3]; wave numbers in rad/m."""
    towards = rng.normal(size=(6, 3))
    towards *= rng.uniform(low, high, (6, 1)) / np.linalg.norm(towards, axis=1, keepdims=True)
    return np.asarray(np.sin(at @ towards.T + rng.uniform(0, 2 * math.pi, 6)).mean(1) * 1.7)
