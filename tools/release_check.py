"""A rehearsal of a release: build sdist and wheel, check them, install and run them in a fresh environment.

    make release-check                          # ARGS="--keep DIR" keeps what was built

It takes the committed files, builds with isolation as `pip` does, and installs the build of torch that this
environment has. It needs the package index, a compiler, and 3 GB in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# what both archives must not have
FOREIGN = re.compile(r"(^|/)(test|tools|experiments|docs|synthetic|datasets|evaluation|training|\.github)/")
WEIGHTS = ("panosam2_mobile.safetensors", "panosam2_nano.safetensors")
MAX_BYTES = 60_000_000  # PyPI takes 100 MB
# four frames with a red thing across the seam
VIDEO = """
import av, numpy as np
with av.open("walk.mp4", "w") as file:
    stream = file.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 640, 320, "yuv420p"
    for shift in range(4):
        image = np.full((320, 640, 3), (140, 160, 150), np.uint8)
        image[80:280, np.arange(610 + 4 * shift, 700 + 4 * shift) % 640] = (200, 30, 40)
        file.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
    file.mux(stream.encode())
"""
ROS = """
import panosam2_ros, rclpy
from panosam2_ros.msg import ObjectBearing
from rclpy.serialization import deserialize_message, serialize_message
data = serialize_message(ObjectBearing(object_id=7, label="cup"))
assert deserialize_message(data, ObjectBearing).label == "cup"
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command in an environment without this one's variables for Python and ROS; return its output.

    Raises SystemExit with the end of its output where it fails.
    """
    hidden = ("PYTHON", "VIRTUAL_ENV", "AMENT_", "ROS_", "LD_LIBRARY_PATH", "_ROS_WHEELS", "PANOSAM2_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    began = time.monotonic()
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**kept, **variables}, capture_output=True, text=True
    )
    shown = " ".join(Path(str(part)).name if str(part).startswith("/") else str(part) for part in command)
    print(f"{time.monotonic() - began:6.1f} s  {shown.strip().splitlines()[0][:100]}", flush=True)
    if done.returncode != 0:
        sys.exit(f"release-check: status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def contents(archive: Path) -> list[str]:
    """List the files in an sdist or wheel, without the sdist's first folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.namelist()
    with tarfile.open(archive) as sdist:
        return [name.partition("/")[2] for name in sdist.getnames()]


def check_contents(archive: Path) -> None:
    """Check that an archive holds weights and licence, and nothing that is not for users."""
    names, size = contents(archive), archive.stat().st_size
    print(f"          {archive.name}: {size / 1e6:.1f} MB, {len(names)} files", flush=True)
    missing = [w for w in (*WEIGHTS, "LICENSE") if not any(n.rpartition("/")[2] == w for n in names)]
    foreign = [n for n in names if FOREIGN.search(n)]
    if missing or foreign or size > MAX_BYTES:
        sys.exit(f"release-check: {archive.name}: {missing=}, {foreign=}, {size=} of at most {MAX_BYTES}")


def build(folder: Path, python: Path) -> tuple[Path, Path]:
    """Build an sdist of the committed files and a wheel of that sdist; return both."""
    checkout = folder / "checkout"
    checkout.mkdir()
    run("git", "archive", "-o", folder / "head.tar", "HEAD", cwd=ROOT)
    with tarfile.open(folder / "head.tar") as files:
        files.extractall(checkout, filter="data")
    run(python, "-m", "pip", "install", "-q", "build", "twine", cwd=folder)
    dist = folder / "dist"
    run(python, "-m", "build", "--outdir", dist, checkout, cwd=folder)
    (sdist,), (wheel,) = dist.glob("*.tar.gz"), dist.glob("*.whl")
    run(python, "-m", "twine", "check", "--strict", sdist, wheel, cwd=folder)
    return sdist, wheel


def try_out(folder: Path, python: Path, wheel: Path) -> None:
    """Install a wheel and run its commands, the quick start's Python and its messages."""
    pip: list[str | Path] = [python, "-m", "pip", "install", "-q"]
    scripts = python.parent
    torch = f"torch=={importlib.metadata.version('torch')}"
    run(*pip, wheel, torch, cwd=folder)
    run(python, "-c", VIDEO, cwd=folder)
    box = "--box=610,80,50,280"
    run(scripts / "panosam2_track", "walk.mp4", "--out", "tracked", box, "--label", "sofa", cwd=folder)
    print(f"          {sorted(p.name for p in (folder / 'tracked').iterdir())}", flush=True)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "quick_start.md").read_text(), re.DOTALL)
    example = next(block for block in blocks if "PanoTracker" in block)
    (folder / "example.py").write_text(example)
    print(textwrap.indent(run(python, "example.py", cwd=folder).strip(), " " * 10), flush=True)
    run(*pip, f"{wheel}[wheels]", torch, cwd=folder)
    run(python, "-c", ROS, cwd=folder)
    for command in ("panosam2_node", "panosam2_prompt", "panosam2_places", "panosam2_virtual_camera"):
        run(scripts / command, "--help", cwd=folder)
    run(python, "-m", "pip", "check", cwd=folder)


def main() -> None:
    """Rehearse a release."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="copy sdist and wheel there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="panosam2-release-") as temporary:
        folder = Path(temporary)
        run(sys.executable, "-m", "venv", folder / "tools", cwd=folder)
        run(sys.executable, "-m", "venv", folder / "fresh", cwd=folder)
        archives = build(folder, folder / "tools" / "bin" / "python")
        for archive in archives:
            check_contents(archive)
        try_out(folder, folder / "fresh" / "bin" / "python", archives[1])
        if options.keep is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            for archive in archives:
                shutil.copy(archive, options.keep)
    print("done: what is committed can be released")


if __name__ == "__main__":
    main()
