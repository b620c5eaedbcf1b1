"""In a search region that stands still, official networks equal upstream's predictor on the cropped video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.spoiled_networks import WITHOUT_A_PART
from helpers.still_region import GRID, StillRegionPlanner, panoramas, write_cropped
from helpers.tracker_inputs import live_batch
from panosam2_ros import PanoTracker, Prompt, TrackerConfig
from panosam2_ros.evaluation.bench_upstream import upstream_predictor
from panosam2_ros.model.build import build_model
from panosam2_ros.model.image_encoder import pad_convolutions
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.tracking.view import NetworkInput

SIZE, FRAMES, DECLARED, CORRECTED = 256, 8, 16, 4
TOLERANCE = 1e-4
PLANNER = StillRegionPlanner.at(3.1, 0.1, 0.4)  # across the seam
ONE = np.array([1])
CLICK, CORRECTION = np.array([[1015.0, 215.0]]), np.array([[1003.0, 240.0]])  # u, v of the panorama


def prompts() -> list[Prompt]:
    mask = np.zeros((GRID.height, GRID.width), bool)
    mask[240:290, 960:1000] = True
    box = (1000.0, 190.0, 25.0, 262.0)
    return [Prompt(points=CLICK, point_labels=ONE), Prompt(box=box), Prompt(mask=mask)]


@torch.inference_mode()
def upstream_logits(predictor: Any, folder: Path, network: NetworkInput) -> list[Tensor]:
    """Compute upstream's low-resolution logits [3, 1, 64, 64] of each frame, after the correction."""
    state = predictor.init_state(str(folder), offload_video_to_cpu=True)
    click, box, mask = (PLANNER.view.localized(prompt, GRID, network) for prompt in prompts())
    again = PLANNER.view.localized(Prompt(points=CORRECTION, point_labels=ONE), GRID, network)
    labels = np.array([1], np.int32)
    predictor.add_new_points_or_box(state, 0, 1, points=click.points.astype(np.float32), labels=labels)
    predictor.add_new_points_or_box(state, 0, 2, box=np.array(box.box, np.float32))
    predictor.add_new_mask(state, 0, 3, mask.mask)
    for _ in predictor.propagate_in_video(state, max_frame_num_to_track=CORRECTED):
        pass
    predictor.add_new_points_or_box(
        state, CORRECTED, 1, points=again.points.astype(np.float32), labels=labels
    )
    for _ in predictor.propagate_in_video(state, CORRECTED, max_frame_num_to_track=FRAMES - 1 - CORRECTED):
        pass
    logits = []
    for t in range(FRAMES):
        outputs = [state["output_dict_per_obj"][i] for i in range(3)]
        found = [o["cond_frame_outputs"].get(t) or o["non_cond_frame_outputs"][t] for o in outputs]
        logits.append(torch.cat([f["pred_masks"] for f in found]))
    return logits


@dataclass(frozen=True)
class Case:
    """Weights in the official format, and what upstream makes of them."""

    weights: Path
    expected: list[Tensor]

    def model(self) -> PanoSAM2:
        return build_model(str(self.weights), device="cpu", precision="float32", region_size=SIZE)

    def difference(self, model: PanoSAM2, count: int = FRAMES) -> float:
        """Return the largest difference of the tracker's logits in the first ``count`` frames."""
        tracker = PanoTracker(model, TrackerConfig(view="regions"), planner=PLANNER)
        worst = 0.0
        for t, image in enumerate(panoramas(count)):
            tracker.step(image, t)
            if t == 0:
                assert all(outcome.success for outcome in tracker.prompt(image, 0, prompts()))
            if t == CORRECTED:
                click = Prompt(obj_id=1, points=CORRECTION, point_labels=ONE)
                assert tracker.prompt(image, t, [click])[0].success
            found = live_batch(tracker).bank.mask_logits
            worst = max(worst, float((found - self.expected[t]).abs().max()))
        return worst


def make_case(variant: str, folder: Path) -> Case:
    predictor = upstream_predictor(SIZE, variant)
    weights = folder / "weights.pt"
    torch.save({"model": predictor.state_dict()}, weights)
    model = build_model(str(weights), device="cpu", precision="float32", region_size=SIZE)
    network = NetworkInput.of(model, GRID.vertical_fov)
    write_cropped(panoramas(DECLARED), PLANNER.view, network, folder / "video")
    return Case(weights, upstream_logits(predictor, folder / "video", network))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case("tiny", tmp_path_factory.mktemp("tiny"))


def test_a_still_region_equals_upstream_on_the_cropped_video(tiny: Case) -> None:
    assert max(float(e.abs().max()) for e in tiny.expected) > 0.1
    assert tiny.difference(tiny.model()) < TOLERANCE


@pytest.mark.large
@pytest.mark.parametrize("variant", ["small", "base_plus", "large"])
def test_larger_networks_equal_upstream_in_a_still_region(variant: str, tmp_path: Path) -> None:
    case = make_case(variant, tmp_path)
    assert case.difference(case.model()) < TOLERANCE


def _as_a_panorama(model: PanoSAM2) -> None:
    pad_convolutions(model, wrap=True)


def _keeps_one_prompt(model: PanoSAM2) -> None:
    model.config = replace(model.config, max_cond_slots=1)


@pytest.mark.parametrize("spoil", [*WITHOUT_A_PART, _as_a_panorama, _keeps_one_prompt])
def test_a_spoiled_network_is_detected(tiny: Case, spoil: Callable[[PanoSAM2], None]) -> None:
    model = tiny.model()
    spoil(model)
    assert tiny.difference(model) > 3 * TOLERANCE
