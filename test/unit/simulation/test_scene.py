"""Synthetic scenes: reproducible, exact on the sphere, and seamless."""

from dataclasses import replace

import numpy as np
import pytest

from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, normalised, rotation_matrix
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig, render_clip
from panosam2_ros.simulation.scene_sampler import START_VISIBLE, sample_scene

SMALL = SceneConfig(width=160, height=80, frames=12, hidden_frames=(2, 4))
PLAIN = replace(SMALL, noise=0.0, exposure_drift=0.0)


@pytest.fixture(scope="module")
def library():
    return AssetLibrary.shipped(Split.TRAIN)


# reproducible


def test_scene_is_determined_by_its_seed(library):
    once, again = (render_clip(SMALL, library, seed=3) for _ in range(2))
    np.testing.assert_array_equal(once[0], again[0])
    np.testing.assert_array_equal(once[1], again[1])
    assert not np.array_equal(once[0], render_clip(SMALL, library, seed=4)[0])


def test_frames_are_the_same_in_any_order(library):
    images, labels = render_clip(SMALL, library, seed=5)
    scene = Scene(SMALL, library, seed=5)
    for index in (7, 0, 11, 7):
        frame = scene.render(index)
        np.testing.assert_array_equal(frame.image, images[index])
        np.testing.assert_array_equal(frame.labels, labels[index])


def test_seed_gives_the_same_scene_at_any_resolution(library):
    large = replace(SMALL, width=320, height=160)
    for seed in range(3):
        few, many = (Scene(c, library, seed).render(6) for c in (SMALL, large))
        for a, b in zip(few.objects, many.objects, strict=True):
            assert a.name == b.name
            np.testing.assert_allclose(a.centre, b.centre)
            assert b.solid_angle == pytest.approx(a.solid_angle, rel=0.25, abs=0.003)


def test_frames_have_their_shapes_types_and_stamps(library):
    frame = Scene(replace(SMALL, rate=4.0), library, seed=0).render(6)
    assert (frame.image.shape, frame.image.dtype) == ((80, 160, 3), np.uint8)
    assert (frame.labels.shape, frame.labels.dtype) == ((80, 160), np.uint8)
    assert frame.stamp == 1.5
    assert [truth.obj_id for truth in frame.objects] == list(range(1, len(frame.objects) + 1))
    assert set(np.unique(frame.labels)) <= {0} | {truth.obj_id for truth in frame.objects}


def test_frames_beyond_the_end_are_refused(library):
    with pytest.raises(IndexError, match="frame 12 of a scene of 12"):
        Scene(SMALL, library, seed=0).render(12)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 100}, "width/height"),
        ({"objects": (0, 2)}, "objects must lie"),
        ({"size": (0.5, 0.1)}, "size must be"),
        ({"size": (0.1, 3.0)}, "size must lie"),
        ({"frames": 0}, "frames >= 1"),
        ({"size_change": 0.5}, "at least 1"),
    ],
)
def test_invalid_configurations_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        replace(SMALL, **change)


def test_a_scene_of_one_frame(library):
    frame = Scene(replace(SMALL, frames=1), library, seed=1).render(0)
    assert not frame.objects[0].angular_velocity.any()


# ground truth


@pytest.mark.parametrize("seed", range(4))
def test_ground_truth_is_that_of_the_label_image(library, seed):
    """Compare with sums over every pixel's vector, weighted with the exact area of its row."""
    config = replace(PLAIN, width=256, height=128, seam=1.0, pole=1.0)
    scene, grid = Scene(config, library, seed), Equirect(256, 128)
    vectors = grid.pixel_to_vector(*np.meshgrid(np.arange(256), np.arange(128)))
    areas = np.repeat(grid.pixel_solid_angles()[:, None], 256, 1)
    for index in (0, 5, 11):
        frame = scene.render(index)
        for truth in frame.objects:
            mask = frame.labels == truth.obj_id
            assert truth.visible == mask.any()
            assert truth.solid_angle == pytest.approx(areas[mask].sum(), abs=1e-9)
            if not truth.visible:
                np.testing.assert_array_equal(truth.direction, truth.centre)
                continue
            centroid = normalised((vectors[mask] * areas[mask][:, None]).sum(0))
            assert np.degrees(angle_between(centroid, truth.direction)) < 1e-4
            if truth.visible_fraction > 0.999:
                off_centre = angle_between(truth.centre, truth.direction)
                assert off_centre < truth.angular_diameter / 2


@pytest.mark.parametrize("seed", range(6))
def test_every_tracked_object_is_visible_in_frame_0(library, seed):
    crowded = replace(PLAIN, objects=(3, 4), distractors=(3, 3), size=(0.5, 1.0))
    for truth in Scene(crowded, library, seed).render(0).objects:
        assert truth.visible_fraction > START_VISIBLE - 0.05  # checked at another resolution


def test_angular_velocity_is_that_of_the_centre(library):
    scene = Scene(replace(SMALL, rate=5.0), library, seed=2)
    now, then = scene.render(4), scene.render(5)
    for a, b in zip(now.objects, then.objects, strict=True):
        np.testing.assert_allclose(rotation_matrix(a.angular_velocity / 5.0) @ a.centre, b.centre, atol=1e-9)


def test_camera_rotation_takes_world_to_camera(library):
    scene = Scene(PLAIN, library, seed=2)
    body = next(b for b in scene._spec.bodies if b.obj_id == 1)
    frame = scene.render(8)
    np.testing.assert_allclose(
        frame.camera_rotation @ body.poses[8][:, 2], frame.objects[0].centre, atol=1e-12
    )


# occlusion


def test_full_occlusions_begin_and_end(library):
    config = replace(PLAIN, frames=40, occlusion=1.0, hidden_frames=(5, 8), size=(0.2, 0.5))
    hidden_runs = 0
    for seed in range(4):
        scene = Scene(config, library, seed)
        seen = np.zeros((config.frames, len(scene.render(0).objects)))
        for index in range(config.frames):
            frame = scene.render(index)
            for column, truth in enumerate(frame.objects):
                seen[index, column] = truth.visible_fraction
                assert truth.visible == (frame.labels == truth.obj_id).any()
                assert truth.visible or truth.solid_angle == truth.visible_fraction == 0
        gone = (seen == 0).sum(0)
        hidden_runs += (gone >= 5).any()
        assert (seen[0] > 0.5).all()
        assert (seen[-5:].max(0) > 0.5).any()
    assert hidden_runs == 4


def test_distractors_have_no_label(library):
    config = replace(PLAIN, objects=(1, 1), distractors=(3, 3), look_alike=1.0, occlusion=0.0)
    spec = sample_scene(config, library, seed=0)
    assert sorted(body.obj_id for body in spec.bodies) == [0, 0, 0, 0, 1]
    assert sum(body.name.startswith("look-alike") for body in spec.bodies) == 1


@pytest.mark.parametrize(("event", "check"), [("seam", "columns"), ("pole", "rows")])
def test_seam_and_pole_are_reached_where_configured(library, event, check):
    config = replace(PLAIN, **{"seam": 0.0, "pole": 0.0, event: 1.0}, occlusion=0.0, distractors=(0, 0))
    reached = 0
    for seed in range(5):
        _, labels = render_clip(config, library, seed)
        across = [
            ((frame == i)[:, 0].any() and (frame == i)[:, -1].any())
            if check == "columns"
            else (frame == i)[[*range(11), *range(69, 80)]].any()
            for frame in labels
            for i in range(1, labels.max() + 1)
        ]
        reached += any(across)
    assert reached >= 4


# appearance


def test_noise_exposure_and_blur_change_images_but_not_labels(library):
    plain = Scene(PLAIN, library, seed=1).render(5)
    for change in ({"noise": 4.0}, {"exposure_drift": 1.0}, {"motion_blur": 0.8}):
        other = Scene(replace(PLAIN, **change), library, seed=1).render(5)
        np.testing.assert_array_equal(other.labels, plain.labels)
        assert not np.array_equal(other.image, plain.image)


def test_noise_has_its_standard_deviation(library):
    quiet = Scene(PLAIN, library, seed=1).render(5).image.astype(int)
    noisy = Scene(replace(PLAIN, noise=4.0), library, seed=1).render(5).image
    middle = (quiet > 30) & (quiet < 220)
    assert (noisy - quiet)[middle].std() == pytest.approx(4.0, rel=0.1)


def test_motion_stays_within_its_limits(library):
    config = replace(PLAIN, frames=30, camera_speed=0.05, object_speed=(0.0, 0.1), size_change=2.0)
    for seed in range(4):
        spec = sample_scene(config, library, seed)
        relative = np.einsum("tij,tkj->tik", spec.camera[1:], spec.camera[:-1])
        cosine = (np.trace(relative, axis1=1, axis2=2) - 1) / 2
        assert np.arccos(np.clip(cosine, -1, 1)).max() < 0.05 + 1e-6
        for body in spec.bodies:
            assert body.diameters.max() / body.diameters.min() < 2.0 + 1e-6
            if not body.name.startswith("occluder"):
                steps = angle_between(body.poses[1:, :, 2], body.poses[:-1, :, 2])
                assert steps.max() < 0.1 + 1e-6


def test_upright_camera_rotates_about_the_vertical(library):
    spec = sample_scene(replace(PLAIN, full_rotation=0.0), library, seed=0)
    np.testing.assert_allclose(spec.camera[:, 1], [[0, 1, 0]] * 12, atol=1e-12)
