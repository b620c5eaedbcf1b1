"""Disturbed videos keep their ground truth, and curves compare the frames that are disturbed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers.fake_videos import FakeVideo, Oracle, moving, score_video
from panosam2_ros.datasets.disturbed import DISTURBANCES, Disturbance, DisturbedSequence
from panosam2_ros.datasets.registry import DatasetSpec, open_dataset
from panosam2_ros.evaluation import robustness
from panosam2_ros.evaluation.runner import SequenceRun, Timing


def video(**first_frames: int) -> FakeVideo:
    return FakeVideo(moving(9, 3), first_frames or {1: 0})


@pytest.mark.parametrize("text", ["light:0.3", "blur:2", "jpeg:20"])
def test_images_are_disturbed_and_labels_are_not(text: str) -> None:
    plain, own = video(), DisturbedSequence(video(), Disturbance.parse(text))
    first = 4 if text.startswith("light") else 0
    assert len(own) == 9
    for t in range(9):
        assert np.array_equal(own.image(t), plain.image(t)) == (t < first)
        assert np.array_equal(own.labels(t), plain.labels(t))
    brightness = own.image(8).mean() / plain.image(8).mean()
    assert brightness == pytest.approx(0.3 if first else 1, abs=0.02)


def test_blur_goes_across_the_seam() -> None:
    sequence, turn = video(), 64
    blur = Disturbance("blur", 3.0)
    image = sequence.image(2)
    assert np.array_equal(np.roll(blur.apply(image), turn, 1), blur.apply(np.roll(image, turn, 1)))


def test_frames_are_left_out() -> None:
    plain = FakeVideo(moving(9, 3), {1: 0, 2: 3, 3: 4})
    own = DisturbedSequence(plain, Disturbance.parse("every:4"))
    assert len(own) == 3 and own.first_frames == {1: 0, 3: 1}
    for t in range(3):
        assert np.array_equal(own.image(t), plain.image(4 * t))
        assert np.array_equal(own.labels(t), plain.labels(4 * t))


@pytest.mark.parametrize("text", ["", "fog:1", "light", "light:-1", "jpeg:3.5", "every:0", "blur:x"])
def test_other_disturbances_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a disturbance is one of light:0"):
        Disturbance.parse(text)


def test_a_data_set_under_a_disturbance_is_another_one() -> None:
    plain, dark, slow = (
        open_dataset(DatasetSpec("staged:light", disturbance=text)) for text in ("", "light:0.5", "every:2")
    )
    assert len({each.config_sha256 for each in (plain, dark, slow)}) == 3
    assert slow.rate == plain.rate / 2 and dark.rate == plain.rate
    assert len(slow.open(slow.names[0])) == len(plain.open(plain.names[0])) / 2


def test_curves_compare_the_frames_that_are_disturbed(tmp_path, monkeypatch, capsys) -> None:
    """With the light a fifth, the flow keeps its masks: the ratio is about one; the keys are the amounts."""
    monkeypatch.setattr(robustness, "AMOUNTS", {"light": (0.2, 1.0), "every": (2,)})
    robustness.main(
        ["--dataset", "staged:light", "--method", "flow", "--sequences", "1", "--kind", "light", "every",
         "--out", str(tmp_path)]
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    curves = found["curves"]
    assert {"machine", "versions", "sequences"} <= found.keys() and found["sequences"] == 1
    assert set(curves) == {"undisturbed", "light", "every"} and set(curves["light"]) == {"0.2", "1"}
    assert curves["light"]["1"]["ratio"] == 1.0
    assert 0 < curves["light"]["0.2"]["ratio"] < 1.2 and curves["every"]["2"]["J_sphere"] > 0


def test_every_kind_has_amounts_within_its_range() -> None:
    assert robustness.AMOUNTS.keys() == DISTURBANCES.keys()
    for kind, amounts in robustness.AMOUNTS.items():
        assert all(Disturbance.parse(f"{kind}:{amount}").kind == kind for amount in amounts)


@pytest.mark.parametrize(("kind", "mean"), [("light", 0.2), ("blur", 0.6)])
def test_only_frames_that_are_disturbed_count(kind: str, mean: float) -> None:
    frames = {i: (2, 2.0 if i < 5 else 0.4) for i in range(10)}
    run = SequenceRun(score_video(video(), Oracle(video())).result, frames, Timing())
    assert robustness._mean([run], Disturbance(kind, 1.0)) == pytest.approx(mean)
    assert robustness._mean([run], None) == pytest.approx(0.6)
