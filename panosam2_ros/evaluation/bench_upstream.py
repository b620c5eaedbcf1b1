"""Upstream's ``SAM2VideoPredictor`` with random weights, timed with a full memory bank."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from sam2.build_sam import build_sam2_video_predictor

UPSTREAM_WARM_UP_FRAMES = 8  # frames until the bank is full
_CONFIGS = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
PRESENT = 3.0  # added to the logit of presence, so that objects are present in every frame


def upstream_predictor(
    image_size: int,
    variant: str = "tiny",
    presence: float = PRESENT,
    *,
    seed: int = 7,
    device: str = "cpu",
    compiled: bool = False,
) -> Any:
    """Return upstream's predictor with random weights with which every part affects the result.

    With upstream's own initialisation many parts would not: the memory encoder's fuser changes logits by
    4e-7. ``presence``: added to the logit of presence; with 3, objects are never absent. ``compiled``:
    upstream's predictor for video, all parts compiled, which takes minutes in its first frames.
    """
    torch.manual_seed(seed)
    predictor = build_sam2_video_predictor(
        f"configs/sam2.1/sam2.1_hiera_{_CONFIGS[variant]}.yaml",
        None,
        device="cpu",
        vos_optimized=compiled,
        hydra_overrides_extra=[
            f"++model.image_size={image_size}",
            "++model.fill_hole_area=0",
            "++model.add_all_frames_to_correct_as_cond=true",
        ],
    )
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for layer in predictor.memory_encoder.fuser.layers:
            layer.gamma.uniform_(0.3, 0.8, generator=generator)
        for code in (
            predictor.maskmem_tpos_enc, predictor.no_mem_embed,
            predictor.no_obj_ptr, predictor.no_obj_embed_spatial,
        ):  # fmt: skip
            code.normal_(0, 0.5, generator=generator)
        for parameter in predictor.memory_attention.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3)
        predictor.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.add_(presence)
    return predictor.to(device)


class UpstreamRun:
    """One video with a full memory bank of one object, which can be copied to any number of objects."""

    def __init__(self, predictor: Any, frames: Sequence[NDArray[np.uint8]], folder: Path) -> None:
        self.predictor = predictor
        for t, frame in enumerate(frames):
            cv2.imwrite(str(folder / f"{t:05d}.jpg"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        self._folder = folder

    def steps(self, objects: Sequence[int], dtype: torch.dtype) -> dict[int, Callable[[], object]]:
        """Return by number of objects what tracks them through the next frame of the video.

        Files are read beforehand. StopIteration is raised after the last frame.
        """
        with self._precision(dtype), torch.inference_mode():
            state = self.predictor.init_state(str(self._folder))
            self.predictor.add_new_points_or_box(state, 0, 1, box=np.array([300, 300, 600, 700], np.float32))
            for _ in self.predictor.propagate_in_video(state, 0, UPSTREAM_WARM_UP_FRAMES - 1):
                pass
        return {n: partial(self._step, self._frames(state, n), dtype) for n in objects}

    def _frames(self, state: Any, objects: int) -> Iterator[object]:
        """Track copies of the one object of a state through the frames that follow."""
        with torch.inference_mode():
            several = self._with_copies(state, objects)
        frames: Iterator[object] = self.predictor.propagate_in_video(several, UPSTREAM_WARM_UP_FRAMES)
        return frames

    def _step(self, frames: Iterator[object], dtype: torch.dtype) -> None:
        """Track one frame."""
        with self._precision(dtype), torch.inference_mode():
            next(frames)
            if self.predictor.device.type == "cuda":
                torch.cuda.synchronize()  # its masks stay on the device

    def _precision(self, dtype: torch.dtype) -> torch.autocast:
        """Return the context in which upstream computes in a type."""
        return torch.autocast(self.predictor.device.type, dtype, enabled=dtype is not torch.float32)

    def _with_copies(self, state: Any, objects: int) -> Any:
        """Return a state of ``objects`` objects, all with the history of object 1."""
        several = dict(state)
        for key in ("point_inputs_per_obj", "mask_inputs_per_obj", "output_dict_per_obj",
                    "temp_output_dict_per_obj", "frames_tracked_per_obj"):  # fmt: skip
            several[key] = {i: copy.copy(state[key][0]) for i in range(objects)}
        for outputs in several["output_dict_per_obj"].values():
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
                outputs[kind] = dict(outputs[kind])
        for i in range(objects):
            several["frames_tracked_per_obj"][i] = dict(state["frames_tracked_per_obj"][0])
        several["obj_id_to_idx"] = {i + 1: i for i in range(objects)}
        several["obj_idx_to_id"] = {i: i + 1 for i in range(objects)}
        several["obj_ids"] = [i + 1 for i in range(objects)]
        return several
