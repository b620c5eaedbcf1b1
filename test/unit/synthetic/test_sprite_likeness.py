"""Likeness of sprites: what counts as alike, and the stored list against the pictures."""

import hashlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from panosam2_ros.simulation import assets
from panosam2_ros.simulation.assets import Split, read_rgba, split_of_sprite
from panosam2_ros.simulation.sprite_families import family_name, look_alike_families
from panosam2_ros.simulation.sprites import recoloured, textured_shape
from panosam2_ros.synthetic import sprite_likeness
from panosam2_ros.synthetic.npm_assets import sprite_files
from panosam2_ros.synthetic.sprite_likeness import Likeness

SHIPPED = sorted((assets.ASSETS / "sprites").glob("*.webp"))
# All names of a split by file name, joined by line feeds: what SynthPano v1 and the shipped weights have.
NAMES_SHA256 = {
    Split.TRAIN: "efa342e905e732162c2a08d176f8e6274c66b2db08b9ebcdfec9a85dc06e0a93",
    Split.VAL: "10fa2a806fc4dd293cc962cd45ee2bf97fbfd8f8727a85983a2c43e33f528c45",
    Split.RESERVED: "011bd14d5ee9ecc7f61be5b86714cdacefe13a4f893252f20c9a6be3f28f9068",
}
SPRITES = {Split.TRAIN: 1277, Split.VAL: 237, Split.RESERVED: 768}
FAMILIES = {Split.TRAIN: 652, Split.VAL: 95, Split.RESERVED: 340}


@pytest.fixture(scope="module")
def package():
    """Return the files of the npm package where it has been fetched."""
    folder = Path(os.environ.get("PANOSAM2_SOURCES", "runs/sources"))
    if not folder.is_dir():
        pytest.skip("needs the npm packages: fetch_npm('runs/sources'), or their folder in PANOSAM2_SOURCES")
    return sprite_files(folder)


def shape(seed):
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (64, 64, 3), np.uint8), (0, 0), 8)
    return textured_shape(rng, cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX), 0.6)


def alike(a, b):
    found = Likeness.of([a, b]).alike()
    assert found[0, 0] and found[1, 1] and found[0, 1] == found[1, 0]
    return bool(found[0, 1])


def test_a_picture_is_like_itself_in_another_hue_size_and_place():
    first = shape(1)
    moved = np.zeros((400, 300, 4), np.uint8)
    moved[150:250, 80:180] = cv2.resize(first, (100, 100), interpolation=cv2.INTER_AREA)
    assert alike(first, recoloured(first, 0.3, 1.0, 0.9))
    assert alike(first, moved)


def test_the_same_silhouette_is_alike_whatever_it_shows():
    first, second = shape(1), shape(2)
    assert not alike(first, second)
    second[..., 3] = first[..., 3]
    assert alike(first, second)


def test_the_same_picture_is_alike_with_another_silhouette():
    whole = shape(3)
    pierced = whole.copy()
    cv2.circle(pierced, (96, 96), 26, (0, 0, 0, 0), -1)
    one, other = Likeness.of([whole, pierced]).silhouettes
    assert (one & other).sum() / (one | other).sum() < sprite_likeness.SILHOUETTE_IOU
    assert alike(whole, pierced)


def test_shipped_sprites_have_no_look_alike_in_a_stricter_split():
    kept = [file for file in SHIPPED if split_of_sprite(file.name, "family")]
    found = Likeness.of(read_rgba(file) for file in kept).alike()
    for i, j in np.argwhere(found):
        first, second = kept[i].name, kept[j].name
        assert split_of_sprite(first, "family") is split_of_sprite(second, "family"), (first, second)


def test_the_stored_list_is_that_of_the_pictures(package):
    assert set(sprite_likeness.find_look_alikes(package)) == look_alike_families()


def test_no_family_and_no_look_alike_is_in_two_splits(package):
    splits = [split_of_sprite(file.name, "family") for file in package]
    families = {}
    for file, split in zip(package, splits, strict=True):
        assert families.setdefault(family_name(file.name), split) is split
    assert {split: splits.count(split) for split in Split} == SPRITES
    assert {split: list(families.values()).count(split) for split in Split} == FAMILIES
    found = Likeness.of(read_rgba(file) for file in package).alike()
    of_split = {split: np.array([each is split for each in splits]) for split in Split}
    assert not found[of_split[Split.TRAIN]][:, of_split[Split.VAL] | of_split[Split.RESERVED]].any()
    assert not found[of_split[Split.VAL]][:, of_split[Split.RESERVED]].any()


def test_the_split_by_name_is_what_it_was(package):
    assert len(package) == 3391
    for split, wanted in NAMES_SHA256.items():
        names = [file.name for file in package if split_of_sprite(file.name, "name") is split]
        assert hashlib.sha256("\n".join(names).encode()).hexdigest() == wanted


def test_the_split_by_name_leaks(package):
    """The figures of docs/evaluation.md: what training by name has in common with val of either rule."""
    splits = np.array([split_of_sprite(file.name, "name") for file in package])
    families = np.array([family_name(file.name) for file in package])
    val, train = splits == Split.VAL, splits == Split.TRAIN
    related = np.isin(families, families[train])
    alike = Likeness.of(read_rgba(file) for file in package).alike()[:, train].any(1)
    assert round(float(related[val].mean()), 2) == 0.56
    assert round(float((related | alike)[val].mean()), 2) == 0.79
    second = {
        family: related[families == family].any() or alike[families == family].any()
        for family, file in zip(families.tolist(), package, strict=True)
        if split_of_sprite(file.name, "family") is Split.VAL
    }
    assert round(float(np.mean(list(second.values()))), 2) == 0.32
