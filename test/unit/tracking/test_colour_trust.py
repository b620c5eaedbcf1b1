"""No veto outlasts the network's word, however light changes; a doubtful match of other colours is vetoed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from helpers.coloured_shapes import BLUE, GREEN, RED, disc
from panosam2_ros.datasets.ground_truth_prompts import prompt_from_mask
from panosam2_ros.datasets.staged_scenes import LIGHT_FRAME, open_staged
from panosam2_ros.model.build import build_model, random_model
from panosam2_ros.model.colour_histogram import colour_bins, histogram_intersection
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.mask_decoder import MaskPrediction
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.prompts.prompt import Prompt
from panosam2_ros.tracking.colour_trust import LONGEST_VETO, light_changed
from panosam2_ros.tracking.motion_model import TrackState
from panosam2_ros.tracking.propagation import MOST_DOUBTFUL
from panosam2_ros.tracking.tracker import PanoTracker

SIZE, FRAME = (64, 128), 10**8  # H, W; ns
SURE, CONVINCED, DOUBTFUL = (8.0, 0.9), (3.0, 0.7), (1.0, 0.7)  # presence logit, predicted IoU
SEEN, UNSEEN = TrackState.VISIBLE, TrackState.OCCLUDED


class ScriptedTracker:
    """A red object on blue, whose mask the network finds with a presence and an IoU that tests choose."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: float) -> None:
        rules = {"colour_evidence": 1e-3, "colour_likeness": 0.5, "colour_learning": 0.05} | options
        config = ModelConfig(mask_stride=2, **rules)
        model = random_model(0, config=config).eval().requires_grad_(False)
        model.set_input_size(*SIZE)
        self.said, self.stamp = SURE, 0
        monkeypatch.setattr(PanoSAM2, "decode", lambda *_, **__: self._found())
        self.tracker = PanoTracker(model)
        prompt = Prompt(mask=disc(30, 12, SIZE))
        assert self.tracker.prompt(picture(RED), 0, [prompt])[0].success

    def _found(self) -> MaskPrediction:
        mask = torch.from_numpy(np.where(disc(15, 6, (32, 64)), 5.0, -5.0)).float()[None, None]
        presence, iou = (torch.full((1,), value) for value in self.said)
        return MaskPrediction(F.avg_pool2d(mask, 2), iou, torch.zeros(1, 96), presence, mask)

    def step(self, image: NDArray[np.uint8], said: tuple[float, float]) -> TrackState:
        self.said, self.stamp = said, self.stamp + FRAME
        return self.tracker.step(image, self.stamp).tracks[0].state


def picture(colour: tuple[int, ...], gain: float = 1.0) -> NDArray[np.uint8]:
    """Another colour of the object, in the same light; ``gain``: of the light."""
    pixels = np.where(disc(30, 12, SIZE)[..., None], np.array(colour), np.array(BLUE))
    return (pixels * gain).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("factor", ["0.3", "0.5", "1.8"])
def test_the_shipped_network_holds_an_object_whose_light_changes_in_one_frame(factor: str) -> None:
    sequence = open_staged(f"light-{factor}-3")
    tracker = PanoTracker(build_model("panosam2_nano"))
    for t in range(LIGHT_FRAME + 8):
        frame, truth = tracker.step(sequence.image(t), t * FRAME), sequence.labels(t) == 1
        if t == 0:
            tracker.prompt(sequence.image(0), 0, [prompt_from_mask(sequence.prompt_mask(1), "box")])
        elif t >= LIGHT_FRAME:
            found = frame.labels == 1
            assert frame.tracks[0].state is SEEN, t
            assert (found & truth).sum() > 0.5 * (found | truth).sum(), t
    pixels = torch.from_numpy(sequence.image(LIGHT_FRAME + 7)).permute(2, 0, 1)[None]
    bins = colour_bins(pixels, 2, planar=False)
    mask = torch.from_numpy(np.where(truth[::2, ::2], 1.0, -1.0)).float()[None, None]
    assert histogram_intersection(bins, tracker.snapshot().bank.colours, mask) > 0.7  # learned again


def test_a_doubtful_match_of_other_colours_is_vetoed(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedTracker(monkeypatch)
    assert scripted.step(picture(RED), CONVINCED) is SEEN
    for _ in range(8):
        assert scripted.step(picture(GREEN), CONVINCED) is UNSEEN
    assert scripted.step(picture(RED), CONVINCED) is SEEN


def test_colours_do_not_overrule_a_sure_network_and_are_learned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted = ScriptedTracker(monkeypatch)
    assert scripted.step(picture(GREEN), SURE) is SEEN
    assert scripted.step(picture(GREEN), CONVINCED) is UNSEEN  # not yet
    for _ in range(14):
        assert scripted.step(picture(GREEN), SURE) is SEEN
    assert scripted.step(picture(GREEN), CONVINCED) is SEEN


def test_a_veto_that_the_network_contradicts_for_long_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedTracker(monkeypatch)
    frames = round(LONGEST_VETO * 10)
    for said in (CONVINCED, DOUBTFUL):  # where the network has its doubts the count starts anew
        for _ in range(frames - 1):
            assert scripted.step(picture(GREEN), said) is UNSEEN
    states = [scripted.step(picture(GREEN), CONVINCED) for _ in range(frames + 2)]
    assert [state is SEEN for state in states] == [False] * frames + [True] * 2


@pytest.mark.parametrize("gain", [0.4, 2.5])
def test_colours_of_what_was_seen_are_learned_at_once_when_all_the_light_changes(
    gain: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted, dim = ScriptedTracker(monkeypatch), (90, 40, 30)
    before, after = picture(dim, 0.8), picture(dim, 0.8 * gain)
    scripted.tracker.prompt(before, 1, [Prompt(obj_id=1, mask=disc(30, 12, SIZE), replace=True)])
    assert [scripted.step(image, CONVINCED) for image in (before, after, after)] == [SEEN] * 3


def test_nothing_is_learned_of_what_was_not_seen_when_the_light_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scripted = ScriptedTracker(monkeypatch)
    scripted.step(picture(RED), (-5.0, 0.0))
    before = scripted.tracker.snapshot().bank.colours
    assert scripted.step(picture(GREEN, 0.4), CONVINCED) is UNSEEN
    assert torch.equal(scripted.tracker.snapshot().bank.colours, before)


def test_light_that_drifts_is_no_change() -> None:
    assert not light_changed(None, 100.0) and not light_changed(100.0, 110.0)
    assert light_changed(100.0, 50.0) and light_changed(100.0, 140.0) and not light_changed(0.0, 0.1)


def test_of_doubtful_frames_one_is_remembered_after_some(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedTracker(monkeypatch, doubtful_iou=0.8)
    for _ in range(MOST_DOUBTFUL + 2):
        assert scripted.step(picture(RED), CONVINCED) is SEEN
    assert scripted.tracker.snapshot().bank.maskmem.written.max() == MOST_DOUBTFUL + 1
