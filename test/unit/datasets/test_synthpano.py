"""SynthPano: reproducible, in the layout of 360VOS, with a ground truth that agrees with its files."""

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from panosam2_ros.datasets.synthpano.__main__ import main
from panosam2_ros.datasets.synthpano.attributes import measure_attributes
from panosam2_ros.datasets.synthpano.config import FEATURES, FROZEN, BenchmarkConfig
from panosam2_ros.datasets.synthpano.events import OBJECT_EVENTS, SEQUENCE_EVENTS
from panosam2_ros.datasets.synthpano.ground_truth import SequenceGroundTruth, read_distractors
from panosam2_ros.datasets.synthpano.object_history import ObjectHistory, ObjectView, hidden_runs
from panosam2_ros.datasets.synthpano.summary import summarise_split, unmet_quotas
from panosam2_ros.datasets.vos360 import Vos360
from panosam2_ros.evaluation import bench_motion
from panosam2_ros.geometry.bearing import Bearing, mask_bearing
from panosam2_ros.geometry.equirect import Equirect
from panosam2_ros.geometry.sphere import angle_between, rotation_matrix
from panosam2_ros.io.label_png import write_labels
from panosam2_ros.io.package_files import package_file
from panosam2_ros.simulation.assets import AssetLibrary, Split
from panosam2_ros.simulation.scene import Scene, SceneConfig
from panosam2_ros.simulation.stitching import Stitching, stitch_zone

FROZEN_SHA256 = {
    "v1": "5559dcb975effde3b4a7676604634c9598aa9ccf2eec3af1fcf9f60c99b370ff",
    "v2": "519e23e159681a68f4ae4a7314c079ae924e54646a22dd05e9593986cd48d326",
}
TINY = {
    "name": "tiny",
    "material": "shipped",
    "sequences": 3,
    "features": [{"crossing_border": 0.3}, {"look_alike": 0.3}, {"large_fov": 0.3}],
    "quotas": {"crossing_border": 0.3, "look_alike|large_fov": 0.3},
}
TINY_SCENE = {
    "width": 128,
    "height": 64,
    "frames": 12,
    "objects": [1, 2],
    "size_deg": [20, 60],
    "distractors": [0, 1],
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Write the frozen configuration, made small."""
    data = json.loads(package_file(*FROZEN["v1"]).read_text()) | TINY
    data["scene"] |= TINY_SCENE
    file = tmp_path_factory.mktemp("config") / "tiny.json"
    file.write_text(json.dumps(data))
    return file


def command(tiny, out, *more):
    return main(["--split", "train", "--out", str(out), "--config", str(tiny), *more])


@pytest.fixture(scope="module")
def written(tiny, tmp_path_factory):
    out = tmp_path_factory.mktemp("synthpano")
    assert command(tiny, out) == 0
    return out


def contents(root: Path):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_gain_of_camera_rotation_is_measured(written, tmp_path, capsys):
    out = tmp_path / "motion.json"
    bench_motion.main(["--dataset", str(written), "--split", "train", "--sequences", "2", "--out", str(out)])
    result = json.loads(out.read_text())
    assert json.loads(capsys.readouterr().out) == result
    assert result["camera"]["turn"]["count"] == 22 and result["camera"]["ms"]["count"] == 24
    assert result["camera"]["error"]["median"] < 0.5 * result["camera"]["turn"]["median"]
    assert result["ratio of medians"]["in the next image"] < 0.9


def test_prediction_error_of_a_still_object_is_the_camera_rotation():
    turn = rotation_matrix([0.0, math.radians(2), 0.0])
    places = [np.linalg.matrix_power(turn, t) @ [0.0, 0.0, 1.0] for t in range(9)]
    bearings = [Bearing(place, np.eye(2) * 1e-4, 0.1, 0.1, 0.01) for place in places]
    seen = [bearing if t < 3 else None for t, bearing in enumerate(bearings)]
    known = bench_motion.prediction_errors([turn] * 9, seen, np.array(places), 10.0)
    unknown = bench_motion.prediction_errors([np.eye(3)] * 9, seen, np.array(places), 10.0)
    assert {key: len(values) for key, values in known.items()} == {
        "in the next image": 2, "hidden, up to 0.3 s": 3, "hidden, up to 1.0 s": 3,
    }  # fmt: skip
    assert max(max(values) for values in known.values()) < 1e-6
    assert unknown["in the next image"][0] == pytest.approx(2.0)


# reproducible


def test_any_number_of_processes_writes_the_same_bytes(tiny, written, tmp_path):
    assert command(tiny, tmp_path, "--processes", "2") == 0
    assert contents(tmp_path) == contents(written)


def test_an_interrupted_run_goes_on_where_it_was(tiny, written, tmp_path):
    assert command(tiny, tmp_path, "--sequences", "1") == 0
    first = tmp_path / "train" / "001" / "truth.json"
    before = first.stat().st_mtime_ns
    half = tmp_path / ".unfinished" / "train-002"
    half.mkdir(parents=True)
    (half / "truth.json").write_text("{")
    assert command(tiny, tmp_path) == 0
    assert first.stat().st_mtime_ns == before, "a finished sequence is left alone"
    assert contents(tmp_path) == contents(written)


def test_the_frozen_files_are_frozen():
    """Change the benchmark only under a new name: old results name these hashes."""
    frozen = BenchmarkConfig.frozen()
    assert {version: config.sha256 for version, config in frozen.items()} == FROZEN_SHA256
    assert [config.name for config in frozen.values()] == ["synthpano_v1", "synthpano_v2"]


def test_another_configuration_has_another_hash_and_another_folder(tiny, written, tmp_path):
    data = json.loads(tiny.read_text())
    data["scene"]["noise"] += 1
    other = tmp_path / "other.json"
    other.write_text(json.dumps(data))
    assert BenchmarkConfig.load(other).sha256 != BenchmarkConfig.load(tiny).sha256
    with pytest.raises(FileExistsError, match="choose another folder"):
        command(other, written)


# layout


def test_it_loads_as_360vos(written):
    data = Vos360(written, "train")
    assert data.names == ("001", "002", "003")
    for sequence in data:
        ground_truth = SequenceGroundTruth.load(written / "train" / sequence.name)
        assert len(sequence) == len(ground_truth) == 12
        assert sequence.attributes == set(ground_truth.attributes) != set()
        assert sequence.image(0).shape == (64, 128, 3)
        assert dict(sequence.first_frames) == {track.obj_id: 0 for track in ground_truth.objects}


def test_a_second_split_joins_the_table(tiny, written, tmp_path):
    for split in ("train", "val"):
        arguments = ["--split", split, "--out", str(tmp_path), "--config", str(tiny)]
        assert main([*arguments, "--sequences", "1"]) == 0
    for split in ("train", "val"):
        assert next(iter(Vos360(tmp_path, split))).attributes


def test_reserved_material_is_refused_unless_asked_for(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--split", "reserved", "--out", str(tmp_path)])
    assert "add --reserved" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ground truth


def test_ground_truth_agrees_with_the_masks(written):
    for sequence in Vos360(written, "train"):
        ground_truth = SequenceGroundTruth.load(written / "train" / sequence.name)
        for index in range(len(ground_truth)):
            labels = sequence.labels(index)
            for track in ground_truth.objects:
                bearing = mask_bearing(labels == track.obj_id, ground_truth.grid)
                assert track.visible[index] == (bearing is not None)
                if bearing is not None:
                    off = angle_between(bearing.direction, ground_truth.directions(index)[track.obj_id])
                    assert np.degrees(off) < 1e-3
                    assert track.solid_angle[index] == pytest.approx(bearing.solid_angle)


def test_distractors_have_masks_of_their_own(written):
    found = 0
    for sequence in Vos360(written, "train"):
        folder = written / "train" / sequence.name
        ground_truth = SequenceGroundTruth.load(folder)
        for index in range(len(ground_truth)):
            twins = read_distractors(folder, index)
            assert (twins is not None and twins.any()) == (ground_truth.look_alike_areas[index] > 0)
            if twins is not None:
                found += bool(twins.any())
                assert not (sequence.labels(index)[twins > 0]).any()
                assert set(np.unique(twins)) <= {0, *(track.obj_id for track in ground_truth.objects)}
    assert found >= 4


def test_a_check_measures_the_files_again(tiny, written, tmp_path, caplog):
    assert command(tiny, written, "--check") == 0
    assert command(tiny, tmp_path, "--sequences", "1") == 0
    assert command(tiny, tmp_path, "--check") == 1
    assert "1 sequences of 3" in caplog.text
    write_labels(tmp_path / "train" / "001" / "mask" / "000000.png", np.zeros((64, 128), np.uint8))
    assert command(tiny, tmp_path, "--check", "--sequences", "1") == 1
    assert "not in the first frame" in caplog.text


# contents


@pytest.mark.parametrize("version", FROZEN)
def test_the_frozen_file_asks_for_what_the_benchmark_promises(version):
    config = BenchmarkConfig.load(package_file(*FROZEN[version]))
    plans = [config.plan(Split.VAL, index) for index in range(config.sequences)]
    assert len(plans) == 40
    for names, needed in config.quotas.items():
        made = sum(bool(set(plan.features) & set(names.split("|"))) for plan in plans)
        assert made >= needed * len(plans)
    for plan in plans:
        scene = plan.scene
        assert (scene.width, scene.height, scene.frames, scene.objects) == (1024, 512, 90, (2, 4))
        np.testing.assert_allclose(np.degrees(scene.size), (8, 60))
        assert np.degrees(scene.object_speed[1]) <= 10 + 1e-9
        assert np.degrees(scene.camera_speed) <= 5 + 1e-9
        for feature, option in FEATURES.items():
            assert getattr(scene, option) == (feature in plan.features)
    assert plans[5] == config.plan(Split.VAL, 5), "depends on no other sequence"
    assert plans[5] != config.plan(Split.TRAIN, 5)


def test_the_second_version_adds_events_and_splits_sprites_by_family():
    first, second = BenchmarkConfig.frozen().values()
    assert (first.sprite_split, first.events) == ("name", ())
    assert second.sprite_split == "family" and set(second.events) == {*OBJECT_EVENTS, *SEQUENCE_EVENTS}
    assert set(first.quotas) <= set(second.quotas)
    assert set(second.events) <= set(second.quotas) and not set(second.events) & set(first.quotas)
    scene = second.plan(Split.VAL, 0).scene
    np.testing.assert_allclose(np.degrees(scene.jump_size), (10, 20))
    assert scene.light_stops == (0.75, 1.5)


def test_a_missed_quota_is_reported(tiny, written):
    config = BenchmarkConfig.load(tiny)
    sequences = [SequenceGroundTruth.load(folder) for folder in sorted((written / "train").glob("*/"))]
    plain = [replace(sequence, attributes=("crossing_border",)) for sequence in sequences]
    assert unmet_quotas(summarise_split(sequences, config)) == []
    assert unmet_quotas(summarise_split(plain, config)) == [
        "look_alike|large_fov: 0% of the sequences have it, 30% are needed"
    ]
    assert unmet_quotas(summarise_split(plain[:2], config)) == [], "part of a split has no quotas"


def test_an_absence_lies_between_two_visible_frames():
    visible = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0], bool)
    assert hidden_runs(visible) == [(2, 3), (6, 6)]


def object_at(written, lon, lat, radius, move):
    """Measure the attributes of a disc in place of the objects of a written sequence."""
    ground_truth = SequenceGroundTruth.load(written / "train" / "001")
    grid, ones = ground_truth.grid, np.ones(12)
    vectors = grid.pixel_to_vector(*np.meshgrid(np.arange(128), np.arange(64)))
    centres = [grid.pixel_to_vector(*grid.lonlat_to_pixel(lon + i * move, lat)) for i in range(12)]
    masks = [(angle_between(vectors, centre) < radius).astype(np.uint8) for centre in centres]
    track = replace(ground_truth.objects[0], visible=ones > 0, visible_fraction=ones, angular_diameter=ones)
    return set(measure_attributes(replace(ground_truth, objects=(track,)), masks).objects[0].attributes)


def test_attributes_are_those_of_the_masks(written):
    """Move a small disc, angles in radians, and make it faster and larger."""
    assert object_at(written, 0, 0, 0.15, 0) & {"crossing_border", "high_latitude"} == set()
    assert "crossing_border" in object_at(written, 3.1, 0, 0.15, 0)
    polar = object_at(written, 3.1, 1.5, 0.3, 0)
    assert polar >= {"high_latitude", "large_distortion"}
    assert "crossing_border" not in polar, "covering a pole is not crossing the border"
    assert "fast_motion_on_sphere" in object_at(written, 0, 0, 0.1, 0.3)
    assert "fast_motion_on_sphere" not in object_at(written, 0, 0, 0.3, 0.3)
    assert "large_fov" in object_at(written, 0, 0, 0.85, 0)


# events


def still(written, *tracks, **changes):
    """Return the ground truth of discs that stand still for 12 frames, with changes of each."""
    ground_truth = SequenceGroundTruth.load(written / "train" / "001")
    ones = np.ones(12)
    centre = np.tile([0.0, 0.0, 1.0], (12, 1))
    disc = replace(
        ground_truth.objects[0], visible=ones > 0, visible_fraction=ones, angular_diameter=0.4 * ones,
        centre=centre, solid_angle=0.12 * ones,
    )  # fmt: skip
    objects = tuple(replace(disc, obj_id=number, **track) for number, track in enumerate(tracks, 1))
    return replace(ground_truth, objects=objects, gains=ones, **changes)


def of_object(name, ground_truth, *, largest_part=1.0):
    """Measure one event of the first object."""
    view = ObjectView(
        1.0, np.array([0.0, 0.0, 1.0]), (0.4, 0.4), (0, 0, 9, 9), 1.0, False, False, largest_part
    )
    history = ObjectHistory(ground_truth, ground_truth.objects[0], [view] * 12)
    return OBJECT_EVENTS[name](history)


def at_longitudes(degrees):
    lon = np.radians(degrees)
    return np.stack([np.sin(lon), np.zeros(12), np.cos(lon)], -1)


def fractions(*covered):
    values = np.ones(12)
    values[2 : 2 + len(covered)] = covered
    return {"visible_fraction": values, "visible": values > 0}


def test_a_jump_is_a_step_beyond_those_around_it(written):
    steady = {"centre": at_longitudes(12.0 * np.arange(12))}
    jumping = {"centre": at_longitudes(12.0 * np.arange(12) + 10 * (np.arange(12) > 5))}
    assert not of_object("jump", still(written, steady))
    assert of_object("jump", still(written, jumping))


def test_objects_cross_where_one_covers_the_other(written):
    near, far = {"centre": at_longitudes(np.full(12, 8.0))}, {"centre": at_longitudes(np.full(12, 15.0))}
    covered = fractions(0.5)
    assert of_object("objects_crossing", still(written, covered, near))
    assert of_object("objects_crossing", still(written, near, covered)), "also of the one in front"
    assert not of_object("objects_crossing", still(written, covered, far))
    assert not of_object("objects_crossing", still(written, {}, near)), "neither is covered"
    assert not of_object("objects_crossing", still(written, covered))


def test_an_object_is_crossed_by_something_untracked(written):
    near = {"centre": at_longitudes(np.full(12, 8.0))}
    assert of_object("crossed", still(written, fractions(0.8, 0.4, 0.0, 0.5)))
    assert not of_object("crossed", still(written, fractions(0.8, 0.8)))
    assert not of_object("crossed", still(written, fractions(0.4), near)), "may be the other object"
    assert not of_object("crossed", still(written, fractions(*[0.5] * 10))), "stays covered"
    hidden = {"visible_fraction": np.r_[1.0, np.zeros(10), 1.0], "visible": np.r_[True, [False] * 10, True]}
    assert not of_object("crossed", still(written, hidden)), "an occlusion"


def test_thin_and_many_parted_objects(written):
    assert not of_object("thin", still(written, {}))
    assert of_object("thin", still(written, {"solid_angle": np.full(12, 0.03)}))
    assert not of_object("many_parts", still(written, {}))
    assert of_object("many_parts", still(written, {}), largest_part=0.6)


def test_light_changes_within_two_seconds(written):
    change = SEQUENCE_EVENTS["light_change"]
    gains = np.where(np.arange(90) < 40, 1.0, 0.5)
    ground_truth = still(written, {})
    assert change(replace(ground_truth, gains=gains))
    assert not change(replace(ground_truth, gains=2.0 ** -(np.arange(90) / 60)))
    assert not change(ground_truth)


def test_events_are_written_read_and_checked(tiny, tmp_path):
    """The second version, made small, of the shipped material."""
    data = json.loads(package_file(*FROZEN["v2"]).read_text())
    data |= {
        "name": "tiny_v2", "material": "shipped", "sequences": 4,
        "features": [
            {"jump": 0.5, "light_change": 0.5}, {"crossed": 0.25, "objects_crossing": 0.5}, {"thin": 0.25},
        ],
        "quotas": {"jump": 0.5, "light_change": 0.5, "objects_crossing": 0.5, "thin": 0.25},
    }  # fmt: skip
    data["scene"] |= {**TINY_SCENE, "width": 256, "height": 128, "frames": 30, "objects": [2, 2]}
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(data))
    assert command(file, tmp_path) == 0 and command(file, tmp_path, "--check") == 0
    sequences = list(Vos360(tmp_path, "train"))
    held = [sequence.attributes for sequence in sequences]
    for name in ("jump", "light_change", "objects_crossing", "thin"):
        assert any(name in attributes for attributes in held) and not all(name in a for a in held)
    for sequence, attributes in zip(sequences, held, strict=True):
        assert attributes == set(SequenceGroundTruth.load(tmp_path / "train" / sequence.name).attributes)


# stitching


def test_stitching_changes_images_near_the_stitch_and_no_ground_truth():
    library = AssetLibrary.shipped(Split.TRAIN)
    plain = SceneConfig(width=256, height=128, frames=2, noise=0.0)
    stitched = replace(plain, stitching=0.05)
    a, b = (Scene(config, library, seed=1) for config in (plain, stitched))
    before, after = a.render(1), b.render(1)
    np.testing.assert_array_equal(before.labels, after.labels)
    for one, other in zip(before.objects, after.objects, strict=True):
        np.testing.assert_array_equal(one.direction, other.direction)
    change = abs(before.image.astype(int) - after.image).max(-1)
    zone = stitch_zone(a.grid, b.stitch_longitude)
    assert change[zone].mean() > 5 * change[~zone].mean()
    assert a.stitch_longitude is None


def test_a_line_across_the_stitch_is_broken_there_also_on_the_seam():
    grid = Equirect(512, 256)
    image = np.zeros((256, 512, 3), np.uint8)
    image[126:130] = 255
    for seed in range(20):
        stitch = Stitching(grid, np.random.default_rng(seed), 0.1, 0.0)
        stitched = stitch.apply(image)[..., 0].astype(float)
        height = (stitched * np.arange(256)[:, None]).sum(0) / stitched.sum(0)
        step = abs(np.roll(height, -2) - np.roll(height, 2))
        columns = (stitch.longitude / (2 * np.pi) + np.array([0.5, 1.0])) * 512 - 0.5
        away = abs((np.arange(512) - columns[:, None] + 256) % 512 - 256).min(0)
        assert step[away < 4].max() > 2 * step[away > 40].max() + 0.5


def test_lenses_are_exposed_differently():
    grid = Equirect(256, 128)
    image = np.full((128, 256, 3), 100, np.uint8)
    stitched = Stitching(grid, np.random.default_rng(0), 0.0, 1.0).apply(image)
    assert len(np.unique(stitched)) > 2
    assert abs(int(stitched.max()) * int(stitched.min()) - 100**2) < 300, "one up, the other down"


def test_jpeg_quality_varies_between_sequences(written):
    qualities = {
        SequenceGroundTruth.load(folder).origin.jpeg_quality for folder in (written / "train").glob("*/")
    }
    assert len(qualities) > 1
    assert cv2.imread(str(written / "train" / "001" / "image" / "000000.jpg")) is not None
