"""Search for package files in a checkout, under ament prefixes and under sys.prefix."""

import sys
from pathlib import Path

import pytest

from panosam2_ros.io import package_files
from panosam2_ros.io.package_files import package_file


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pretend that the package is installed in site-packages, without a checkout around it."""
    package = tmp_path / "site-packages" / "panosam2_ros"
    package.mkdir(parents=True)
    monkeypatch.setattr(package_files, "PACKAGE", package)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    monkeypatch.delenv("AMENT_PREFIX_PATH", raising=False)
    return tmp_path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text("x")
    return path


@pytest.mark.parametrize(
    "parts",
    [
        ("config", "fastdds.xml"),
        ("config", "train", "nano.yaml"),
        ("models", "panosam2_nano.safetensors"),
        ("package.xml",),
        ("py.typed",),
        ("simulation", "asset_files", "sprites"),
    ],
    ids="/".join,
)
def test_package_file_finds_the_files_of_the_checkout(parts: tuple[str, ...]) -> None:
    assert package_file(*parts).exists()


def test_file_inside_the_package_comes_first(installed: Path) -> None:
    inside = put(installed / "site-packages" / "panosam2_ros" / "simulation" / "asset_files" / "a.txt")
    put(installed / "prefix" / "share" / "panosam2_ros" / "simulation" / "asset_files" / "a.txt")
    assert package_file("simulation", "asset_files", "a.txt") == inside


def test_ament_prefixes_in_order(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay, underlay = (
        put(installed / name / "share" / "panosam2_ros" / "models" / "m.json") for name in ("over", "under")
    )
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{installed / 'over'}:{installed / 'under'}")
    assert package_file("models", "m.json") == overlay
    overlay.unlink()
    assert package_file("models", "m.json") == underlay


def test_pip_prefix_is_the_last_resort(installed: Path) -> None:
    file = put(installed / "prefix" / "share" / "panosam2_ros" / "models" / "m.json")
    assert package_file("models", "m.json") == file


def test_files_of_a_user_installation_lie_under_its_own_prefix(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = installed / "user" / "lib" / "python3.12" / "site-packages" / "panosam2_ros"
    package.mkdir(parents=True)
    monkeypatch.setattr(package_files, "PACKAGE", package)
    file = put(installed / "user" / "share" / "panosam2_ros" / "models" / "m.json")
    put(installed / "prefix" / "share" / "panosam2_ros" / "models" / "m.json")
    assert package_file("models", "m.json") == file


def test_site_packages_neighbours_are_not_a_checkout(installed: Path) -> None:
    put(installed / "site-packages" / "models" / "m.json")
    with pytest.raises(FileNotFoundError):
        package_file("models", "m.json")


def test_missing_file_names_every_place(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(installed / "over"))
    with pytest.raises(FileNotFoundError) as raised:
        package_file("models", "absent.safetensors")
    for prefix in ("over", "prefix"):
        expected = installed / prefix / "share" / "panosam2_ros" / "models" / "absent.safetensors"
        assert str(expected) in str(raised.value)
    assert "make" in str(raised.value)
