"""A release: one version, a changelog and a citation that tools read, and an sdist that builds."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import panosam2_ros
from helpers.process import ROOT
from tools.set_version import set_version

sys.path.insert(0, str(ROOT))
import setup

PACKAGE = "panosam2_ros"
VERSIONED = ("package.xml", "CITATION.cff", "CHANGELOG.rst")
HEADING = "Forthcoming\n-----------\n* Something new.\n\n"


def test_version_of_package_xml_is_that_of_everything_else() -> None:
    version = setup.version()
    assert panosam2_ros.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert importlib.metadata.version(PACKAGE) == version


def test_version_is_literal_in_no_other_tracked_source() -> None:
    literal = re.compile(r"\bversion\w*\W{1,6}" + re.escape(setup.version()))
    assert literal.search((ROOT / "CITATION.cff").read_text())
    for name in ("setup.py", "pyproject.toml", "CMakeLists.txt", f"{PACKAGE}/__init__.py"):
        assert not literal.search((ROOT / name).read_text()), name


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Files that have a version, with news in the changelog."""
    for name in VERSIONED:
        shutil.copy(ROOT / name, tmp_path)
    changelog = tmp_path / "CHANGELOG.rst"
    text = changelog.read_text()
    if "Forthcoming" not in text:
        first = text.index(f"{setup.version()} (")
        changelog.write_text(text[:first] + HEADING + text[first:])
    return tmp_path


def test_one_command_raises_the_version_everywhere(checkout: Path) -> None:
    set_version(checkout, "9.8.7")
    today = datetime.date.today()
    assert "<version>9.8.7</version>" in (checkout / "package.xml").read_text()
    citation = yaml.safe_load((checkout / "CITATION.cff").read_text())
    assert (citation["version"], citation["date-released"]) == ("9.8.7", today)
    changelog = (checkout / "CHANGELOG.rst").read_text()
    assert f"9.8.7 ({today})\n------------------\n" in changelog and "Forthcoming" not in changelog


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.2", "three numbers"),
        ("v9.8.7", "three numbers"),
        ("0.0.9", "newer than"),
        (setup.version(), "newer than"),
    ],
)
def test_version_that_cannot_be_is_refused_and_nothing_written(
    checkout: Path, version: str, message: str
) -> None:
    before = [(checkout / name).read_bytes() for name in VERSIONED]
    with pytest.raises(ValueError, match=message):
        set_version(checkout, version)
    assert [(checkout / name).read_bytes() for name in VERSIONED] == before


def test_version_without_news_is_refused(checkout: Path) -> None:
    changelog = checkout / "CHANGELOG.rst"
    changelog.write_text(
        changelog.read_text().replace("Forthcoming\n-----------", "0.1.5 (2026-01-01)\n" + 18 * "-")
    )
    with pytest.raises(ValueError, match="Forthcoming"):
        set_version(checkout, "9.8.7")


def test_citation_has_what_its_format_requires() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "Apache-2.0" and isinstance(citation["date-released"], datetime.date)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
        assert all({"given-names", "family-names"} == author.keys() for author in reference["authors"])


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of the tracked files, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "checkout" / name)
    command = [
        sys.executable,
        "-c",
        f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})",
    ]
    environment = {**os.environ, "PANOSAM2_CORE_ONLY": "1", "PANOSAM2_LAB": "0"}
    done = subprocess.run(command, cwd=folder / "checkout", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tar.gz")
    assert archive.stat().st_size < 40e6
    with tarfile.open(archive) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    return folder / "unpacked" / archive.name.removesuffix(".tar.gz")


def test_sdist_holds_what_it_is_built_of_and_no_more(sdist: Path) -> None:
    names = {str(p.relative_to(sdist)) for p in sdist.rglob("*") if p.is_file()}
    assert {
        "setup.py",
        "setup_messages.py",
        "package.xml",
        "CHANGELOG.rst",
        "CITATION.cff",
        "LICENSE",
    } <= names
    assert {f"models/{p.name}" for p in (ROOT / "models").iterdir()} <= names
    assert {f"msg/{p.name}" for p in (ROOT / "msg").glob("*.msg")} <= names
    folders = {Path(name).parts[0] for name in names if len(Path(name).parts) > 1}
    assert folders == {"config", "launch", "models", "msg", "srv", PACKAGE, f"{PACKAGE}.egg-info"}
    rooms = {Path(name).parts[1] for name in names if name.startswith(f"{PACKAGE}/")}
    assert not rooms & set(setup.LABORATORY)


def test_wheel_of_the_sdist_has_the_same_version(sdist: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps",
               "--no-build-isolation", "--wheel-dir", str(sdist.parent), str(sdist)]  # fmt: skip
    environment = {**os.environ, "PANOSAM2_CORE_ONLY": "1", "PANOSAM2_LAB": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = sdist.parent.glob("*.whl")
    assert wheel.name.startswith(f"{PACKAGE}-{setup.version()}-")
    with zipfile.ZipFile(wheel) as archive:
        assert f"{PACKAGE}/__init__.py" in archive.namelist()
