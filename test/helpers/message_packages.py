"""Message packages that PyPI has no wheel of, compiled for the tests from the definitions in test/interfaces.

The definitions have the fields of the packages' releases for ROS 2, so that what is published here has the
layout on the wire that it has on a robot. Beside them stand modules for ``tf2_ros`` and ``message_filters``
that work over real messages. A test asks for a package by name: tests of what a node does without it stay as
they are.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from helpers.process import ROOT

DEFINITIONS = ROOT / "test" / "interfaces"
STAND_INS = ROOT / "test" / "stand_ins"
BUILD = ROOT / "build" / "test_messages"
COMPILED = tuple(sorted(folder.name for folder in DEFINITIONS.iterdir()))
NEEDS = {"tf2_ros": "tf2_msgs"}


def package_folders(*packages: str) -> list[str]:
    """Return the folders to add to ``sys.path`` for ``packages`` alone; compile what was not compiled before.

    What is installed, as on a robot, is used as it is.
    """
    wanted = dict.fromkeys([*packages, *(NEEDS[p] for p in packages if p in NEEDS)])
    names = [name for name in wanted if not is_installed(name)]
    return [str(_compiled(name) if name in COMPILED else STAND_INS / name) for name in names]


def is_installed(package: str) -> bool:
    """Return whether ``package`` is installed; what tests put on the path does not count."""
    ours = (str(BUILD), str(STAND_INS))
    return PathFinder.find_spec(package, [p for p in sys.path if not p.startswith(ours)]) is not None


def environment_with(*packages: str) -> dict[str, str]:
    """Return the variable that lets a process find ``packages``, to pass to ``Process``."""
    found = [*package_folders(*packages), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, found))}


def _compiled(package: str) -> Path:
    """Return the folder with the compiled messages of a package; one process compiles, others wait."""
    sources = [ROOT / "setup_messages.py", *sorted((DEFINITIONS / package).rglob("*.msg"))]
    digest = hashlib.sha256(b"\0".join([sys.prefix.encode(), *(f.read_bytes() for f in sources)]))
    out = BUILD / f"{package}-{digest.hexdigest()[:12]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / "done").exists():
            _compile(package, out)
            (out / "done").touch()
    return out


def _compile(package: str, out: Path) -> None:
    program = (
        "from pathlib import Path; from setuptools import setup; "
        "from setup_messages import BuildMessages, MessageExtension; "
        f"folder = Path({str(DEFINITIONS / package)!r}); "
        f"extension = MessageExtension({package!r}, folder, libraries_beside=False); "
        f"setup(name={package!r}, packages=[], py_modules=[], ext_modules=[extension], "
        "cmdclass={'build_ext': BuildMessages}, script_args=['-q', 'build_ext', "
        f"'--build-lib', {str(out)!r}, '--build-temp', {str(out / 'temporary')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the messages of {package} could not be compiled:\n{done.stdout}{done.stderr}")
