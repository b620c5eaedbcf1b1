"""Events of scenes: each happens as its settings say, and none changes the scenes of older settings."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from panosam2_ros.datasets.synthpano.config import BenchmarkConfig
from panosam2_ros.geometry.sphere import angle_between
from panosam2_ros.io.package_files import package_file
from panosam2_ros.simulation import scene_events
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene
from panosam2_ros.simulation.scene_config import SceneConfig
from panosam2_ros.simulation.scene_sampler import sample_scene
from panosam2_ros.simulation.sprites import Sprite

PLAIN = SceneConfig(
    width=160, height=80, frames=60, objects=(2, 3), size=(0.3, 0.5), object_speed=(0.0, 0.03),
    camera_speed=0.02, distractors=(0, 0), occlusion=0.0, look_alike=0.0, exposure_drift=0.0, noise=0.0,
)  # fmt: skip
# Of what determines the first scenes of SynthPano v1 with the shipped material.
V1_SHA256 = "dc876d56b1852c688445070e5223cbbbfca69fe45ecd8e3b11d13613f7cc4549"


@pytest.fixture(scope="module")
def library():
    return AssetLibrary.shipped(Split.VAL)


def tracked(spec):
    return sorted((body for body in spec.bodies if body.obj_id), key=lambda body: body.obj_id)


def in_camera(spec, body):
    return np.einsum("tij,tj->ti", spec.camera, body.poses[:, :, 2])


def test_scenes_of_synthpano_v1_are_what_they_were(library):
    """Round to 5 decimals, so that every machine has the same text."""
    config = BenchmarkConfig.load(package_file("config", "synthpano_v1.json"))
    found = []
    for index in range(8):
        spec = sample_scene(config.plan(Split.VAL, index).scene, library, index)
        bodies = [
            [b.obj_id, b.name, b.twin, np.round(b.poses[::9], 5) + 0.0, np.round(b.diameters[::9], 5)]
            for b in spec.bodies
        ]
        found.append(
            [spec.panorama_name, np.round(spec.camera[::9], 5) + 0.0, np.round(spec.gains, 5), bodies]
        )
        assert not spec.jumps
    text = json.dumps(found, default=lambda array: array.tolist())
    assert hashlib.sha256(text.encode()).hexdigest() == V1_SHA256


def test_light_changes_in_the_middle_by_a_step_or_a_ramp(library):
    config = replace(PLAIN, light_change=1.0, light_stops=(1.0, 1.5))
    kinds = set()
    for seed in range(12):
        gains = sample_scene(config, library, seed).gains
        stops = np.log2(gains)
        assert stops.max() == pytest.approx(0) and -1.5 <= stops.min() <= -1.0
        assert gains[0] == gains[5] and gains[-1] == gains[58], "not at the ends"
        changing = np.flatnonzero(np.diff(stops))
        assert len(set(np.sign(np.diff(stops)[changing]))) == 1 and 1 <= len(changing) <= 20
        kinds.add((len(changing) == 1, bool(stops[0] < stops[-1])))
        assert Scene(config, library, seed).gains[0] == 1
    assert kinds == {(step, rises) for step in (True, False) for rises in (True, False)}


def test_the_camera_or_an_object_jumps(library):
    config = replace(PLAIN, jump=1.0)
    jumping = []
    for seed in range(10):
        spec = sample_scene(config, library, seed)
        bodies = tracked(spec)
        assert 1 <= len(spec.jumps) <= 2
        steps = np.degrees([angle_between(*(in_camera(spec, b)[k:][:59] for k in (0, 1))) for b in bodies])
        others = np.delete(steps, [frame - 1 for frame in spec.jumps], 1)
        assert others.max() < 5
        jumping.append(sum(row[[f - 1 for f in spec.jumps]].max() > 5 for row in steps) / len(bodies))
        turns = np.degrees(angle_between(spec.camera[1:, 2], spec.camera[:-1, 2]))
        assert steps.max() <= 25 and turns.max() <= 25
        assert max(steps.max(), turns.max()) >= 7
    assert min(jumping) < 1, "an object alone"
    assert max(jumping) == 1, "the camera"


def test_frames_beside_a_jump_have_no_motion_blur(library):
    config = replace(PLAIN, jump=1.0, motion_blur=0.5)
    blurred, sharp = (Scene(replace(config, motion_blur=blur), library, 3) for blur in (0.5, 0.0))
    jumps = sample_scene(config, library, 3).jumps
    for frame in jumps:
        for index in (frame - 1, frame):
            np.testing.assert_array_equal(blurred.render(index).image, sharp.render(index).image)
    other = next(index for index in range(5, 60) if not {index, index + 1} & jumps)
    assert (blurred.render(other).image != sharp.render(other).image).any()


def test_two_tracked_objects_pass_each_other(library):
    config = replace(PLAIN, meeting=1.0)
    for seed in range(8):
        spec = sample_scene(config, library, seed)
        bodies = tracked(spec)
        nearest = [
            (angle_between(a.poses[:, :, 2], b.poses[:, :, 2]) / np.minimum(a.diameters, b.diameters)).min()
            for i, a in enumerate(bodies)
            for b in bodies[i + 1 :]
        ]
        assert min(nearest) < 0.6


def test_distractors_pass_in_front_of_tracked_objects(library):
    config = replace(PLAIN, crossing=1.0)
    twins = 0
    for seed in range(8):
        spec = sample_scene(config, library, seed)
        crossing = [body for body in spec.bodies if not body.obj_id]
        assert len(crossing) == 2 and spec.bodies[-2:] == tuple(crossing), "nearest"
        twins += sum(bool(body.twin) for body in crossing)
        for body in crossing:
            ways = [angle_between(body.poses[:, :, 2], b.poses[:, :, 2]) for b in tracked(spec)]
            relative = [way.min() / b.diameters.min() for way, b in zip(ways, tracked(spec), strict=True)]
            assert min(relative) < 0.5
    assert 0 < twins < 16


def test_a_tracked_object_is_thin(library):
    for seed in range(6):
        bodies = tracked(sample_scene(replace(PLAIN, thin=1.0, width=512, height=256), library, seed))
        thin = [body for body in bodies if body.sprite.thin]
        assert len(thin) == 1 and thin[0].diameters.min() >= np.radians(25) - 1e-9


def test_objects_too_thin_for_the_image_are_reported(library):
    tiny = replace(PLAIN, thin=1.0, width=20, height=10)
    with pytest.raises(RuntimeError, match="allow fewer objects or larger images"):
        for seed in range(6):
            sample_scene(tiny, library, seed)


def test_a_tracked_object_has_many_parts(library):
    pair = np.zeros((64, 64, 4), np.uint8)
    for u in (14, 48):
        cv2.circle(pair, (u, 32), 12, (200, 40, 30, 255), -1)
    mixed = AssetLibrary(library.panoramas, {**library.sprites, "pair": pair})
    assert mixed.parted_sprites == ("pair",) and Sprite(pair).parted and not Sprite(pair).compact
    bodies = tracked(sample_scene(replace(PLAIN, parted=1.0), mixed, 2))
    assert [body.name for body in bodies].count("pair") == 1


def test_many_parts_need_such_a_sprite():
    disc = np.zeros((64, 64, 4), np.uint8)
    cv2.circle(disc, (32, 32), 28, (200, 40, 30, 255), -1)
    library = AssetLibrary({"grey": np.full((64, 128, 3), 90, np.uint8)}, {"disc": disc})
    with pytest.raises(ValueError, match="the library has none: leave out parted"):
        sample_scene(replace(PLAIN, parted=1.0, texture_shapes=0.0), library, 0)


def test_families_are_equally_likely_however_many_members_they_have():
    sprite = np.zeros((32, 32, 4), np.uint8)
    sprite[4:28, 4:28] = (200, 40, 30, 255)
    tones = {f"1f44b-1f3f{tone}.webp": sprite for tone in "bcdef"}
    panoramas = {"grey": np.full((64, 128, 3), 90, np.uint8)}
    sprites = {**tones, "1f34e.webp": sprite}
    by_family = AssetLibrary(panoramas, sprites, sprite_split="family")
    assert sorted(map(len, by_family.sprite_groups)) == [1, 5]
    assert len(AssetLibrary(panoramas, sprites).sprite_groups) == 6
    config = replace(PLAIN, texture_shapes=0.0)
    names = [b.name for seed in range(40) for b in tracked(sample_scene(config, by_family, seed))]
    assert 0.35 < names.count("1f34e.webp") / len(names) < 0.65


def test_events_that_do_not_happen_draw_nothing():
    rng, other = (np.random.default_rng(1) for _ in range(2))
    assert not scene_events.happens(rng, 0.0)
    assert rng.random() == other.random()


def test_a_passing_object_approaches_and_leaves(library):
    spec = sample_scene(replace(PLAIN, crossing=1.0), library, 1)
    body = spec.bodies[-1]
    ways = [angle_between(body.poses[:, :, 2], b.poses[:, :, 2]) for b in tracked(spec)]
    way = min(ways, key=lambda way: way.min())
    nearest = int(way.argmin())
    assert all(a > b for a, b in pairwise(way[max(0, nearest - 8) : nearest]))
    assert all(a < b for a, b in pairwise(way[nearest : nearest + 8]))


def test_a_part_of_a_thing_is_in_front_of_the_rest_and_moves_with_it(library):
    found = 0
    for seed in range(6):
        spec = sample_scene(replace(PLAIN, parts=1.0, occlusion=0.0), library, seed)
        (part,) = [body for body in spec.bodies if body.name.startswith("part of")]
        (whole,) = [body for body in spec.bodies if body.path is part.path and body.obj_id == 0]
        order = list(spec.bodies)
        assert order.index(part) == order.index(whole) + 1 and part.obj_id > 0
        assert part.poses is whole.poses and part.diameters is whole.diameters
        for piece, thing in zip(part.views, whole.views, strict=True):
            own, all_of_it = piece.rgba[..., 3] > 127, thing.rgba[..., 3] > 127
            assert not (own & ~all_of_it).any()
            assert np.array_equal(piece.rgba[own], thing.rgba[own])
        share = own.sum() / all_of_it.sum()
        found += 0.1 < share < 0.65
    assert found == 6
