"""Motion: great circles, interpolated poses and occluders."""

from itertools import islice

import numpy as np

from panosam2_ros.demo import playback
from panosam2_ros.geometry.sphere import lonlat_to_vector, rotation_matrix
from panosam2_ros.simulation import scene_motion as motion


def test_object_path_is_a_great_circle():
    anchor = motion.Anchor(4, lonlat_to_vector(1.0, 0.5))
    path = motion.object_path(np.random.default_rng(0), 20, 0.1, 0.0, anchor)
    directions = path.transport[:, :, 2]
    np.testing.assert_allclose(directions[4], anchor.direction, atol=1e-12)
    assert np.linalg.svd(directions)[1][2] < 1e-9, "the directions lie in one plane through the centre"


def test_pose_at_interpolates():
    poses = motion.accumulate(np.array([[0.0, 0.4, 0.0]]))
    np.testing.assert_allclose(motion.pose_at(poses, 0.5), rotation_matrix([0, 0.2, 0]))
    np.testing.assert_allclose(motion.pose_at(poses, 7.0), poses[1], atol=1e-12)


def test_occluder_approaches_covers_and_leaves():
    hiding = motion.Hiding(start=10, frames=5, lead=4, clear=0.8, slack=0.1)
    offsets = hiding.offsets(30)
    assert (abs(offsets[10:15]) <= 0.1 + 1e-12).all()
    assert (abs(offsets[:7]) >= 0.8 - 1e-12).all()
    assert (abs(offsets[18:]) >= 0.8 - 1e-12).all()
    assert (np.diff(offsets) >= 0).all(), "it passes by instead of returning"


def test_smooth_noise_is_smooth_and_reaches_one():
    noise = motion.smooth_noise(np.random.default_rng(0), 200, 3)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1).max(), 1.0)
    assert np.linalg.norm(np.diff(noise, axis=0), axis=1).max() < 0.4


def test_ground_truth_velocities_are_reversed_in_reversed_playback(monkeypatch):
    monkeypatch.setattr(playback, "_CYCLE", 4)
    scene = playback.Playback(playback.PlaybackConfig(width=128, height=64, rate=10.0))
    played = list(islice(scene, 8))  # frames 0 1 2 3 2 1 0 1
    for first in (0, 1, 2, 4, 5):
        for a, b in zip(played[first].objects, played[first + 1].objects, strict=True):
            moved = np.cross(a.centre, b.centre)
            assert np.allclose(a.angular_velocity, moved * 10.0, atol=0.02)
            assert float(a.angular_velocity @ moved) > 0 or np.linalg.norm(moved) < 1e-6
