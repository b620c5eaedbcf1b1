"""Material of synthetic scenes: splits, the shipped set, the npm packages, tone mapping."""

import base64
import hashlib
import json
import pickle

import cv2
import numpy as np
import pytest

from panosam2_ros.simulation import assets
from panosam2_ros.simulation.assets import AssetLibrary, Split, tone_map
from panosam2_ros.synthetic import npm_assets
from panosam2_ros.synthetic.npm_assets import clean_hdr, library_from_npm


@pytest.mark.parametrize("name", ["city", "lab", "sunrise", "venice", "workshop"])
def test_reserved_panoramas(name):
    assert Split.of_panorama(name) is Split.RESERVED


def test_other_panoramas():
    assert {Split.of_panorama(n) for n in ("bridge", "forest", "warehouse")} == {Split.VAL}
    assert {Split.of_panorama(n) for n in ("park", "hall", "night")} == {Split.TRAIN}


@pytest.mark.parametrize(
    ("name", "split"),
    [  # computed with sha1sum and bc
        ("1f34e.webp", Split.RESERVED),
        ("1f680.webp", Split.RESERVED),
        ("1f436.webp", Split.VAL),
        ("1f345.webp", Split.TRAIN),
    ],
)
def test_sprites_are_split_by_the_hash_of_their_file_name(name, split):
    assert Split.of_sprite(name) is split


def test_the_extension_belongs_to_the_hashed_name():
    names = [f"{number:x}.webp" for number in range(400)]
    digits = [int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 for name in names]
    expected = [Split.RESERVED if d >= 8 else Split.VAL if d == 7 else Split.TRAIN for d in digits]
    assert [Split.of_sprite(name) for name in names] == expected
    assert any(Split.of_sprite(n) is not Split.of_sprite(n.removesuffix(".webp")) for n in names)


@pytest.mark.parametrize("load", [AssetLibrary.shipped, lambda s: library_from_npm(".", s)])
def test_reserved_material_must_be_requested(load):
    with pytest.raises(ValueError, match="pass reserved=True"):
        load(Split.RESERVED)


@pytest.mark.parametrize("split", Split)
def test_shipped_material_of_every_split(split):
    library = AssetLibrary.shipped(split, reserved=True)
    assert {Split.of_panorama(name) for name in library.panoramas} == {split}
    assert {Split.of_sprite(name) for name in library.sprites} == {split}
    for panorama in library.panoramas.values():
        assert panorama.shape == (256, 512, 3)
        assert panorama.dtype == np.uint8
        assert 60 < panorama.mean() < 220, "well exposed"
    for name in library.sprites:
        rgba = library.sprite(name)
        assert rgba.shape == (256, 256, 4)
        assert rgba[..., 3].max() == 255
        assert rgba[..., 3].min() == 0


def test_shipped_material_is_small_and_licensed():
    files = [path for path in assets.ASSETS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3e6
    readme = (assets.ASSETS / "README.md").read_text()
    assert "CC0 1.0 Universal" in (assets.ASSETS / "LICENSE-panoramas.txt").read_text()
    assert "MIT License" in (assets.ASSETS / "LICENSE-sprites.txt").read_text()
    for path in files:
        if path.suffix in {".jpg", ".webp"}:
            assert path.stem in readme, f"{path.name} is not listed"


def test_library_can_be_pickled():
    library = AssetLibrary.shipped(Split.VAL)
    copy = pickle.loads(pickle.dumps(library))
    assert copy.sprites == library.sprites


def test_an_empty_library_is_refused():
    with pytest.raises(ValueError, match="at least one panorama and one sprite, got 0 and 0"):
        AssetLibrary({}, {})


def test_missing_packages_are_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        library_from_npm(tmp_path, Split.TRAIN)
    assert "npm pack @pmndrs/assets@1.7.0" in str(error.value)
    assert "npm pack @lobehub/fluent-emoji-3d@1.1.0" in str(error.value)
    assert "fetch_npm" in str(error.value)


def _package(root, name):
    root.mkdir(parents=True)
    (root / "package.json").write_text(json.dumps({"name": name}))
    return root


def test_npm_packages_are_read_as_unpacked(tmp_path):
    exr = pytest.importorskip("OpenEXR")
    panoramas = _package(tmp_path / "a" / "package", "@pmndrs/assets") / "hdri"
    sprites = _package(tmp_path / "b" / "package", "@lobehub/fluent-emoji-3d") / "assets"
    panoramas.mkdir()
    sprites.mkdir()
    pixels = np.random.default_rng(0).gamma(1, 1, (4, 8, 3)).astype(np.float32)
    pixels[1, 2] = np.nan
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"RGB": pixels}).write(str(tmp_path / "p.exr"))
    data = base64.b64encode((tmp_path / "p.exr").read_bytes()).decode()
    for name in ("park", "city"):
        (panoramas / f"{name}.exr.js").write_text(f"export default 'data:x;base64,{data}'")
    for name in ("1f345.webp", "1f436.webp", "1f34e.webp"):
        cv2.imwrite(str(sprites / name), np.full((8, 8, 4), (10, 20, 30, 255), np.uint8))

    library = library_from_npm(tmp_path, Split.TRAIN)
    assert list(library.panoramas) == ["park"]
    assert np.isfinite(library.panoramas["park"]).all()
    assert list(library.sprites) == ["1f345.webp"]
    rgba = library.sprite("1f345.webp")[4, 4]
    np.testing.assert_allclose(rgba, (30, 20, 10, 255), atol=4)  # RGB, not BGR
    held_back = library_from_npm(tmp_path, Split.RESERVED, reserved=True)
    assert list(held_back.panoramas) == ["city"]


def test_fetch_npm_unpacks_archives(tmp_path, monkeypatch):
    import tarfile

    def packs(command, **_):
        spec, folder = command[2], command[4]
        name, version = spec.rsplit("@", 1)
        root = _package(tmp_path / "src" / name.replace("/", "-") / "package", name)
        archive = f"{folder}/{name[1:].replace('/', '-')}-{version}.tgz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(root, "package")

    monkeypatch.setattr(npm_assets.subprocess, "run", packs)
    monkeypatch.setattr(npm_assets.shutil, "which", lambda name: f"/usr/bin/{name}")
    npm_assets.fetch_npm(tmp_path / "out")
    assert set(npm_assets._find_packages(tmp_path / "out")) >= set(npm_assets.VERSIONS)


def test_missing_npm_is_reported_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"npm is needed .* apt install npm"):
        npm_assets.fetch_npm(tmp_path / "out")
    assert not (tmp_path / "out").exists(), "an empty folder would be taken for fetched packages"


# exposure


def test_hdr_is_cleaned_and_scaled_to_its_key():
    pixels = np.full((20, 20, 3), 3.0, np.float32)
    pixels[0, 0], pixels[5, 5], pixels[9, 9] = np.inf, np.nan, -1.0
    clean = clean_hdr(pixels)
    assert np.isfinite(clean).all()
    assert clean.min() >= 0
    assert clean[15, 15] == pytest.approx([1, 1, 1])


def test_black_rings_around_lamps_become_glare():
    """The sources were resampled with overshoot: suns have black channels, lamps black fringes."""
    pixels = np.ones((20, 20, 3), np.float32)
    pixels[10, 10] = 500.0
    pixels[10, 12] = (-4.0, 0.2, -3.0)
    pixels[2, 2] = 0.0
    mapped = tone_map(clean_hdr(pixels))
    assert mapped[10, 12].min() > 230
    assert mapped[2, 2].max() == 0, "black far from any lamp stays black"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_more_exposure_is_brighter_and_zero_is_the_middle(dtype):
    scale = 120 if dtype is np.uint8 else 1
    panorama = (np.linspace(0, 2, 300).reshape(10, 10, 3) * scale).astype(dtype)
    means = [tone_map(panorama, exposure=stops).mean() for stops in (-1.5, 0.0, 1.5)]
    assert means == sorted(means)
    assert 90 < means[1] < 200
    assert tone_map(panorama, exposure=3.0).max() == 255
    assert tone_map(panorama).dtype == np.uint8
