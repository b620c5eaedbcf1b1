"""With the weights of transformers' models a tracker computes what they compute, up to rounding.

It looks at a search region that stands still, they at the cropped video. Where the two differ on purpose:
transformers treats mask prompts otherwise than SAM2 does (see ``with_mask_prompts_of_sam2``), and stores
EdgeTAM's memories in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers.spoiled_networks import WITHOUT_A_PART
from helpers.still_region import GRID, StillRegionPlanner, panoramas
from helpers.tracker_inputs import live_batch
from helpers.transformers_models import (
    BOX_LABELS,
    Session,
    decoded,
    edgetam,
    pixels,
    sam2_tiny,
    with_mask_prompts_of_sam2,
)
from panosam2_ros import PanoTracker, Prompt, TrackerConfig
from panosam2_ros.model.build import build_model
from panosam2_ros.model.checkpoints import load_official
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.mask_decoder import DecoderPrompts
from panosam2_ros.model.panosam2 import PanoSAM2
from panosam2_ros.model.position_codes import LatitudeEncoding
from panosam2_ros.tracking.frame import Frame
from panosam2_ros.tracking.propagation import NO_OBJ_SCORE
from panosam2_ros.tracking.view import NetworkInput

TOLERANCE = 1e-4
PLANNER = StillRegionPlanner.at(3.1, 0.1, 0.4)  # across the seam
BUILDERS: dict[str, Callable[..., Any]] = {"edgetam": edgetam, "sam2.1_hiera_tiny": sam2_tiny}
# of the tests of both: EdgeTAM's fill all slots, SAM 2.1's need not (test_upstream_regions.py)
FRAMES = {"edgetam": 9, "sam2.1_hiera_tiny": 5}


def prompts() -> list[Prompt]:
    """Return a click, a box and a mask in the panorama.

    No pixel of what they give is so near the threshold of a mask that rounding could flip it into the memory.
    """
    mask = np.zeros((GRID.height, GRID.width), bool)
    mask[240:290, 960:1000] = True
    click = Prompt(points=np.array([[1010.0, 220.0]]), point_labels=np.array([1]))
    return [click, Prompt(box=(1000.0, 190.0, 25.0, 262.0)), Prompt(mask=mask)]


@torch.inference_mode()
def expected_logits(model: Any, frames: list[NDArray[np.uint8]], network: NetworkInput) -> list[Tensor]:
    """Compute logits [3, 1, h, w] of each frame, one object for each prompt."""
    session = Session(with_mask_prompts_of_sam2(model), frames)
    click, box, mask = (PLANNER.view.localized(prompt, GRID, network) for prompt in prompts())
    assert click.points is not None and box.box is not None and mask.mask is not None
    session.add_points(click.points.tolist(), [1])
    session.add_points([box.box[:2], box.box[2:]], BOX_LABELS)
    session.add_mask(mask.mask)
    return [session.logits(t) for t in range(len(frames))]


@dataclass(frozen=True, eq=False)
class Case:
    """A model of transformers, its file of weights, and what it computes of a cropped video."""

    theirs: Any
    weights: Path
    frames: list[NDArray[np.uint8]]
    expected: list[Tensor]

    @property
    def size(self) -> int:
        """Side of the region, pixels."""
        return self.frames[0].shape[0]

    def model(self) -> PanoSAM2:
        """Return our network with the same weights."""
        return built(self.weights, self.size)

    @cached_property
    def ours(self) -> PanoSAM2:
        """That network, to be left as it is."""
        return self.model()

    def difference(self, model: PanoSAM2, *, objects: slice = slice(None)) -> float:
        """Return the largest difference of a tracker's last masks in all frames."""
        tracker, worst = PanoTracker(model, TrackerConfig(view="regions"), planner=PLANNER), 0.0
        shown = self.expected[0]
        for t, image in enumerate(panoramas(len(self.frames))):
            tracker.step(image, t)
            if t == 0:
                assert all(outcome.success for outcome in tracker.prompt(image, 0, prompts()))
            absent = (self.expected[t] <= NO_OBJ_SCORE).flatten(1).all(1)[:, None, None, None]
            shown = torch.where(absent, shown, self.expected[t])
            difference = (live_batch(tracker).bank.mask_logits - shown)[objects]
            worst = max(worst, float(difference.abs().max()))
        return worst


def built(weights: Path, size: int) -> PanoSAM2:
    model = build_model(str(weights), device="cpu", precision="float32", region_size=size)
    if model.config.name == "edgetam":  # transformers stores its memories as they are
        model.config = replace(model.config, memory_dtype="float32")
    return model


def make_case(folder: Path, name: str, size: int, count: int, **options: float) -> Case:
    theirs = BUILDERS[name](size, **options)
    theirs.save_pretrained(folder)
    weights = folder / "model.safetensors"
    network = NetworkInput.of(built(weights, size), GRID.vertical_fov)
    shown = [PLANNER.view.pixels(Frame(image, t), network) for t, image in enumerate(panoramas(count))]
    frames = [frame[0].permute(1, 2, 0).numpy() for frame in shown]
    return Case(theirs, weights, frames, expected_logits(theirs, frames, network))


@pytest.fixture(scope="module", params=BUILDERS)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"), request.param, 256, FRAMES[request.param])


def test_a_still_region_equals_transformers_on_the_cropped_video(case: Case) -> None:
    assert all(0.5 < float(e.abs().max()) < 100 for e in case.expected)
    assert case.difference(case.ours) < TOLERANCE


def encoded(model: PanoSAM2, frame: NDArray[np.uint8]) -> ImageFeatures:
    return model.encode_image(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])


@torch.inference_mode()
@pytest.mark.parametrize("merged", [False, True])
def test_features_equal_those_of_transformers(case: Case, merged: bool) -> None:
    """Batch norms, and the branches of RepViT, are merged into convolutions without effect."""
    plain = load_official(case.weights, (case.size, case.size)).eval().requires_grad_(False)
    model = case.ours if merged else plain
    has_norms = any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    assert has_norms == (not merged and model.config.name == "edgetam")
    theirs = case.theirs.get_image_features(pixels(case.frames[:1])).fpn_hidden_states
    ours = encoded(model, case.frames[0])
    for found, wanted in zip((ours.high_res_s4, ours.high_res_s8, ours.embedding), theirs, strict=True):
        assert wanted.abs().max() > 0.5
        assert torch.allclose(found[0].flatten(1).T, wanted[:, 0], atol=TOLERANCE)


CLICK, BOX = (150.0, 90.0), (30.0, 40.0, 110.0, 150.0)  # pixels of the region

PROMPTS: dict[str, tuple[list[tuple[float, float]], list[int], bool]] = {
    "click": ([CLICK], [1], False),
    "clicks": ([CLICK, (40.0, 200.0), (170.0, 120.0)], [1, 0, 1], False),
    "box": ([BOX[:2], BOX[2:]], list(BOX_LABELS), False),
    "box and click": ([BOX[:2], BOX[2:], (60.0, 70.0)], [*BOX_LABELS, 0], False),
    "mask": ([(0.0, 0.0)], [-1], True),
    "click on a mask": ([CLICK], [1], True),
}


@torch.inference_mode()
@pytest.mark.parametrize("prompt", PROMPTS)
def test_prompts_are_decoded_as_transformers_does(case: Case, prompt: str) -> None:
    places, numbers, dense = PROMPTS[prompt]
    points, labels = torch.tensor(places), torch.tensor(numbers)
    model, side = case.ours, case.size // 4
    logits = torch.randn(side, side, generator=torch.Generator().manual_seed(1)) * 5
    wanted = decoded(case.theirs, case.frames[0], points, labels, logits if dense else None)
    features = encoded(model, case.frames[0])
    found = model.decode(
        model.without_memory(features, 1),
        features,
        DecoderPrompts(points[None], labels[None], logits[None, None], torch.tensor([dense])),
        centre=torch.tensor([0]),
        ambiguous=torch.tensor([len(labels) == 1]),
    )
    pointer = model.object_pointer(found.sam_token, found.object_score_logits > 0)
    assert wanted.pred_masks.abs().max() > 0.5 and wanted.pred_masks.max() > -100
    assert torch.allclose(found.mask_logits, wanted.pred_masks, atol=TOLERANCE)
    assert torch.allclose(found.mask_iou, wanted.iou_scores.max(), atol=TOLERANCE)
    assert torch.allclose(found.object_score_logits, wanted.object_score_logits.flatten(), atol=TOLERANCE)
    assert torch.allclose(pointer, wanted.object_pointer.flatten(0, 1), atol=TOLERANCE)


def test_files_that_do_not_fit_are_refused_with_the_names(case: Case, tmp_path: Path) -> None:
    tensors, path = load_file(case.weights), tmp_path / "wrong.safetensors"
    tensors["vision_encoder.surprise.weight"] = torch.zeros(2)
    tensors["no_object_pointer"] = torch.zeros(1, 7)
    del tensors["memory_encoder.feature_projection.bias"]
    save_file(tensors, path)
    with pytest.raises(ValueError) as raised:
        build_model(str(path), device="cpu")
    message = str(raised.value)
    assert str(path) in message and BUILDERS.keys() & set(message.replace(":", " ").split())
    assert "it lacks memory_encoder.pix_feat_proj.bias" in message
    assert "it has what nothing uses: vision_encoder.surprise.weight" in message
    assert "other shapes: no_obj_ptr (1, 7) instead of (1, 256)" in message


@pytest.mark.slow
@pytest.mark.parametrize(("size", "count"), [(512, 3), (1024, 2)])
def test_edgetam_at_larger_sizes_equals_that_of_transformers(size: int, count: int, tmp_path: Path) -> None:
    """A patch-level latent sees 2x2 and 4x4 tokens, at 256 pixels one.

    Of the million pixels of the click's first mask at 1024, two are so near to 0 that rounding decides
    whether they are remembered as inside; so the other objects are compared.
    """
    case = make_case(tmp_path, "edgetam", size, count)
    assert case.difference(case.ours, objects=slice(1, None)) < TOLERANCE


@pytest.mark.slow
def test_edgetam_stores_frames_without_the_object_as_transformers_does(tmp_path: Path) -> None:
    """Every object is found when prompted, then one is absent in some frames and back in others."""
    case = make_case(tmp_path, "edgetam", 256, FRAMES["edgetam"], score=-20, presence=2.34)
    absent = torch.stack([(e <= NO_OBJ_SCORE).flatten(1).all(1) for e in case.expected])
    assert not absent[0].any() and absent.any(0).any() and not absent.all(0).any()
    assert (absent[:-1] & ~absent[1:]).any()  # one returned
    assert case.difference(case.ours) < TOLERANCE


@pytest.fixture(scope="module")
def edgetam_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("edgetam"), "edgetam", 256, 3)


def _with_placed_global_latents(model: PanoSAM2) -> None:
    model.memory_attention.latents = False  # at 256 pixels there are as many tokens as patch-level latents


def _without_place_codes(model: PanoSAM2) -> None:
    model.memory_position_code = LatitudeEncoding(model.config.memory_dim)


def _without_codes_for_the_perceiver(model: PanoSAM2) -> None:
    perceiver = model.spatial_perceiver
    assert perceiver is not None
    perceiver.sines.forward = lambda x: torch.zeros_like(x)


def _with_a_shallow_perceiver(model: PanoSAM2) -> None:
    perceiver = model.spatial_perceiver
    assert perceiver is not None
    perceiver.layers = perceiver.layers[:1]


SPOILS = (
    *WITHOUT_A_PART,
    _with_placed_global_latents,
    _without_place_codes,
    _without_codes_for_the_perceiver,
    _with_a_shallow_perceiver,
)


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_spoilt_part_is_detected(edgetam_case: Case, spoil: Callable[[PanoSAM2], None]) -> None:
    model = edgetam_case.model()
    spoil(model)
    assert edgetam_case.difference(model) > 3 * TOLERANCE
