"""Solid models of furniture, plants, vehicles and people, rendered from all sides; only training uses them.

``python -m panosam2_ros.synthetic.mesh_assets --out runs/models`` fetches Debian's package
``sweethome3d-furniture`` 1.8-1 (820 models; BlendSwap CC0 and CC-BY 3.0, Kator Legaz and Reallusion
CC-BY 3.0 US, Scopia CC-BY 3.0) with apt-get and renders each from all sides with VTK, which has to be
installed: ``pip install vtk``. ``SOURCES.tsv`` in the folder names every model's author and licence.
The benchmarks do not use these models.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from panosam2_ros.simulation.assets import AssetLibrary
from panosam2_ros.synthetic.debian import unpack_package
from panosam2_ros.synthetic.multiview_sprites import draw_views, encode_strip
from panosam2_ros.synthetic.people import PREFIX
from panosam2_ros.synthetic.photographs import PHOTO_PREFIX
from panosam2_ros.synthetic.worker_process import end_with_parent

MESH_PACKAGE = "sweethome3d-furniture"
BEGUN, FATAL = ".begun", ".fatal"  # endings of files: being rendered; it ended the process that rendered it
_CATALOG = "PluginFurnitureCatalog.properties"
_CATALOGS = "usr/share/sweethome3d/furniture"


@dataclass(frozen=True)
class Model:
    """One entry of a catalogue."""

    archive: Path  # .sh3f, a zip
    entry: str  # path of the OBJ in it
    creator: str
    license: str

    @property
    def name(self) -> str:
        """File name of its strip, without the ending."""
        return f"{self.archive.stem}-{Path(self.entry).stem}".lower()


def with_models(library: AssetLibrary, folder: Path) -> AssetLibrary:
    """Return the library with the strips and photographs in a folder; raise ValueError where it has none."""
    strips = {path.stem: path for path in sorted(folder.glob("*.webp"))}
    if not strips:
        raise ValueError(
            f"{folder} holds no strips (*.webp); make them with "
            f"`python -m panosam2_ros.synthetic.mesh_assets --out {folder}`"
        )
    people = {name: path for name, path in strips.items() if name.startswith(PREFIX)}
    photos = {name: path for name, path in strips.items() if name.startswith(PHOTO_PREFIX)}
    models = {name: path for name, path in strips.items() if name not in people | photos}
    return replace(library, models=models, people=people, photos=photos)


def catalogue(archive: Path) -> Iterator[Model]:
    """Yield the models of a Sweet Home 3D library."""
    with zipfile.ZipFile(archive) as content:
        text = content.read(_CATALOG).decode("latin-1")
    general = re.search(r"^license=(.*)$", text, re.MULTILINE)
    for number, entry in re.findall(r"^model#(\d+)=/?(.*)$", text, re.MULTILINE):
        creator = re.search(rf"^creator#{number}=(.*)$", text, re.MULTILINE)
        own = re.search(rf"^license#{number}=(.*)$", text, re.MULTILINE) or general
        author, terms = (found[1].strip() if found else "" for found in (creator, own))
        yield Model(archive, entry.strip(), author, terms)


def draw(model: Model, out: Path) -> str:
    """Write a model's strip unless it exists; return a problem, or an empty string."""
    target, begun, fatal = (out / f"{model.name}{end}" for end in (".webp", BEGUN, FATAL))
    if target.exists():
        return ""
    if fatal.exists():
        return f"{model.name}: it ended the process that rendered it"
    begun.touch()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(model.archive) as content:
        around = model.entry.rsplit("/", 1)[0] + "/"
        content.extractall(folder, [n for n in content.namelist() if n.startswith(around)])
        try:
            strip = draw_views(Path(folder) / model.entry)
        except ValueError as error:
            begun.unlink()
            return f"{model.name}: {error}"
    begun.write_bytes(encode_strip(strip))
    begun.rename(target)  # complete, whenever the process ends
    return ""


def draw_all(models: Sequence[Model], out: Path, processes: int) -> list[str]:
    """Render all models and return the problems; restart VTK's process without the files that end it."""
    for model in models:
        (out / f"{model.name}{BEGUN}").unlink(missing_ok=True)  # of a run that was stopped
    while True:
        with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
            problems = pool.map(draw, models, [out] * len(models))
            try:
                return [problem for problem in tqdm(problems, total=len(models)) if problem]
            except BrokenProcessPool:
                pass
        for model in models:
            if (out / f"{model.name}{BEGUN}").exists():
                _draw_alone(model, out)


def _draw_alone(model: Model, out: Path) -> None:
    """Render a model alone, and mark it as fatal where that ends the process."""
    begun = out / f"{model.name}{BEGUN}"
    with ProcessPoolExecutor(1, initializer=end_with_parent) as pool:
        try:
            pool.submit(draw, model, out).result()
        except BrokenProcessPool:
            begun.rename(begun.with_name(f"{model.name}{FATAL}"))


def fetch(folder: Path) -> list[Path]:
    """Download and unpack Debian's package under ``folder`` unless it is there; return its catalogues."""
    return sorted(unpack_package(MESH_PACKAGE, folder).glob(f"{_CATALOGS}/*.sh3f"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("panosam2_ros.synthetic.mesh_assets", description=__doc__)
    add = parser.add_argument
    add("--out", type=Path, default=Path("runs/models"), help="folder of the strips (default: %(default)s)")
    add("--processes", type=int, default=2, help="that render side by side (default: %(default)s)")
    options = parser.parse_args(arguments)
    models = [m for archive in fetch(options.out / "package") for m in catalogue(archive)]
    entries = [(m.name, m.creator, m.license, m.archive.name) for m in models]
    rows = ["\t".join(row) for row in [("name", "creator", "license", "file"), *entries]]
    (options.out / "SOURCES.tsv").write_text("\n".join(rows) + "\n")
    for problem in draw_all(models, options.out, options.processes):
        print(problem)


if __name__ == "__main__":
    main()
