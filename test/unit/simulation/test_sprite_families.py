"""Families of sprites: names without modifiers, and splits that no family and no look-alike crosses."""

import pytest

from panosam2_ros.simulation.assets import AssetLibrary, Split, split_of_sprite
from panosam2_ros.simulation.sprite_families import family_name, look_alike_families


@pytest.mark.parametrize(
    ("file_name", "family"),
    [
        ("1f34e.webp", "1f34e.webp"),
        ("1f44b-1f3fd.webp", "1f44b.webp"),
        ("1f574-fe0f.webp", "1f574.webp"),
        ("1f574-1f3fb.webp", "1f574.webp"),
        ("00a9-fe0f.webp", "a9.webp"),
        ("a9-fe0f.webp", "a9.webp"),
        ("0030-fe0f-20e3.webp", "30-20e3.webp"),
        ("1f6a3-1f3fb-200d-2642-fe0f.webp", "1f6a3.webp"),
        ("1f468-1f3fd-200d-1f393.webp", "1f9d1-200d-1f393.webp"),
        ("1f469-200d-2708-fe0f.webp", "1f9d1-200d-2708.webp"),
        ("1f468-200d-1f469-200d-1f466.webp", "1f9d1-200d-1f9d1-200d-1f9d2.webp"),
        ("1f475-1f3fd.webp", "1f9d3.webp"),
        ("1f9d1-1f3fb-200d-2764-fe0f-200d-1f9d1-1f3ff.webp", "1f9d1-200d-2764-200d-1f9d1.webp"),
        ("2640-fe0f.webp", "2640.webp"),
        ("1f3f4-e0067_e0062_e0065_e006e_e0067.webp", "1f3f4-e0067_e0062_e0065_e006e_e0067.webp"),
        ("1f3fb.webp", "1f3fb.webp"),
    ],
)
def test_a_family_is_named_without_modifiers(file_name, family):
    assert family_name(file_name) == family
    assert family_name(family) == family


@pytest.mark.parametrize("code", ["1f44f", "1f9d1-200d-1f393", "1f6a3"])
def test_all_tones_are_in_one_split_by_family_and_in_several_by_name(code):
    first, *rest = code.split("-")
    tones = ["", *(f"-1f3f{tone}" for tone in "bcdef")]
    names = ["-".join([first + tone, *rest]) + ".webp" for tone in tones]
    assert len({split_of_sprite(name, "family") for name in names}) == 1
    assert len({split_of_sprite(name, "name") for name in names}) > 1


def test_the_split_of_a_family_is_that_of_its_name():
    for number in range(0x1F300, 0x1F700):
        name = f"{number:x}.webp"
        family = family_name(name)
        wanted = None if family in look_alike_families() else Split.of_sprite(family)
        assert split_of_sprite(name, "family") is wanted
        assert split_of_sprite(name, "name") is Split.of_sprite(name)


def test_look_alikes_are_families_of_train_and_val():
    """Only these are excluded: the reserved split is the strictest."""
    families = look_alike_families()
    assert {family_name(family) for family in families} == families
    splits = [Split.of_sprite(family) for family in families]
    assert (splits.count(Split.TRAIN), splits.count(Split.VAL)) == (511, 78)
    assert Split.RESERVED not in splits


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValueError, match="goes by name or family, got 'hash'"):
        split_of_sprite("1f34e.webp", "hash")


def test_shipped_sprites_by_either_rule():
    counts = {
        rule: [len(AssetLibrary.shipped(split, reserved=True, sprite_split=rule).sprites) for split in Split]
        for rule in ("name", "family")
    }
    assert counts == {"name": [12, 8, 20], "family": [10, 8, 20]}
    assert sorted(AssetLibrary.shipped(Split.TRAIN).sprites) == sorted(
        AssetLibrary.shipped(Split.TRAIN, sprite_split="name").sprites
    )
