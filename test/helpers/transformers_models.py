"""``Sam2VideoModel`` and ``EdgeTamVideoModel`` of Hugging Face transformers, with random weights.

Default random weights would make comparisons weak: many parameters start at zero, and normalisations at the
identity. Here every tensor is drawn so that every part affects the result.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is downloaded
PRESENT = 3.0  # added to the logit of presence, so that objects are present in every frame
DECLARED = 16  # frames of a video, from which on its length does not matter
BOX_LABELS = (2, 3)  # SAM2's labels of the corners of a box


def _prepare_torchvision() -> None:
    """Make torchvision importable, which timm imports, beside a CPU build of torch.

    Its compiled half needs the CUDA build that PyPI has. timm uses the half in Python, whose import fails
    only because it registers functions for these two operators.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)


_prepare_torchvision()

from transformers import (  # noqa: E402
    EdgeTamVideoConfig,
    EdgeTamVideoModel,
    EdgeTamVisionConfig,
    Sam2HieraDetConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    TimmWrapperConfig,
)
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession  # noqa: E402
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession  # noqa: E402

SESSIONS = {EdgeTamVideoModel: EdgeTamVideoInferenceSession, Sam2VideoModel: Sam2VideoInferenceSession}


def edgetam(size: int, *, presence: float = PRESENT, score: float = 1) -> Any:
    """Return EdgeTAM with the settings of the published checkpoint, for images of ``size`` pixels."""
    arguments = {"in_chans": 3, "features_only": True, "out_indices": (0, 1, 2, 3)}
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args=arguments)
    vision = EdgeTamVisionConfig(backbone_config=backbone, backbone_feature_sizes=_map_sizes(size))
    config = EdgeTamVideoConfig(
        vision_config=vision,
        enable_temporal_pos_encoding_for_object_pointers=False,
        enable_occlusion_spatial_embedding=False,
        **_sizes(size),
    )
    return _randomised(EdgeTamVideoModel(config), (5, 16, 5), presence=presence, score=score)


def sam2_tiny(size: int, *, presence: float = PRESENT, score: float = 1) -> Any:
    """Return SAM 2.1 tiny with the settings of the published checkpoint, for images of ``size`` pixels."""
    vision = Sam2VisionConfig(
        backbone_config=Sam2HieraDetConfig(image_size=[size, size]), backbone_feature_sizes=_map_sizes(size)
    )
    config = Sam2VideoConfig(
        vision_config=vision,
        enable_temporal_pos_encoding_for_object_pointers=True,
        enable_occlusion_spatial_embedding=True,
        **_sizes(size),
    )
    return _randomised(Sam2VideoModel(config), (3, 8, 1), presence=presence, score=score)


def _map_sizes(size: int) -> list[list[int]]:
    """Return the sizes of the pyramid's maps."""
    return [[size // stride] * 2 for stride in (4, 8, 16)]


def _sizes(size: int) -> dict[str, Any]:
    """Return what a config says of the input size."""
    return {
        "image_size": size,
        "prompt_encoder_config": {"image_size": size},
        "memory_attention_rope_feat_sizes": [size // 16, size // 16],
    }


@torch.no_grad()
def _randomised(
    model: nn.Module, scales: tuple[float, float, float], *, presence: float, score: float
) -> Any:
    """Return the model with other weights, in evaluation mode.

    ``scales``: of memory attention, object pointers and mask logits, so that memories have an effect and
    rounding is not amplified: with memory attention a few times stronger it is, to 1e-2. ``score`` scales the
    logit of presence, to which ``presence`` is added.
    """
    memory, pointers, masks = scales
    generator = torch.Generator().manual_seed(3)
    for name, x in model.named_parameters():
        if x.dim() == 1 and name.endswith("weight"):
            x.uniform_(0.5, 1.5, generator=generator)  # of a normalisation
        elif name.endswith("scale"):
            x.uniform_(0.3, 0.8, generator=generator)  # of a layer of the memory encoder's fuser
        elif x.dim() > 1 and not any(word in name for word in ("embed", "encoding", "latents", "pointer.")):
            x.normal_(0, (3 * x[0].numel()) ** -0.5, generator=generator)  # the variance of torch's own
        else:
            x.normal_(0, 0.5 if x.dim() > 1 else 0.1, generator=generator)
    for name, x in model.named_buffers():
        if name.endswith("running_var"):
            x.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            x.normal_(0, 0.3, generator=generator)
        elif name.endswith("positional_embedding"):
            x.normal_(0, 1, generator=torch.Generator().manual_seed(4))  # the same of images and of prompts
    for x in model.memory_attention.parameters():
        if x.dim() > 1:
            x.mul_(memory)
    for mlp in model.mask_decoder.output_hypernetworks_mlps:
        mlp.proj_out.weight.mul_(masks)
    model.object_pointer_proj.proj_out.weight.mul_(pointers)
    head = model.mask_decoder.pred_obj_score_head.proj_out
    head.weight.mul_(score)
    head.bias.fill_(presence)
    return model.eval().requires_grad_(False)


def with_mask_prompts_of_sam2(model: Any) -> Any:
    """Return the model with what SAM2 and EdgeTAM make of mask prompts.

    Their object pointer is of the first of the decoder's tokens; transformers takes the one whose mask it
    thinks best. They remember the mask as they store it, at stride 4; transformers as it was given.
    """
    decode, use = model._single_frame_forward, model._use_mask_as_output

    def used(*arguments: Any) -> Any:
        output = use(*arguments)
        size = output.high_res_masks.shape[-2:]
        output.high_res_masks = F.interpolate(output.pred_masks, size, mode="bilinear", align_corners=False)
        return output

    model._single_frame_forward = lambda **arguments: decode(**{"multimask_output": False, **arguments})
    model._use_mask_as_output = used
    return model


class Session:
    """The sessions of several objects of one video, each prompted in the first frame.

    Every object has a session of its own: EdgeTAM's cannot hold objects from points and from masks together.
    """

    def __init__(self, model: Any, frames: Sequence[NDArray[np.uint8]]) -> None:
        self._model, self._size = model, frames[0].shape[0]
        # the age of pointers is relative to the length of the video, up to DECLARED
        self._frames = pixels([*frames, *frames[-1:] * (DECLARED - len(frames))])
        self._sessions: list[Any] = []

    def add_points(self, points: Sequence[Sequence[float]], labels: Sequence[int]) -> None:
        """Add an object by points, pixel indices."""
        inputs = {"point_coords": torch.tensor([[points]]), "point_labels": torch.tensor([[labels]])}
        self._new_session().add_point_inputs(0, 0, inputs)

    def add_mask(self, mask: NDArray[np.bool_]) -> None:
        """Add an object by a mask [H, W]."""
        self._new_session().add_mask_inputs(0, 0, torch.from_numpy(mask)[None, None])

    def _new_session(self) -> Any:
        kind = SESSIONS[type(self._model)]
        session = kind(self._frames, self._size, self._size, dtype=torch.float32)
        if self._sessions:
            session.cache = self._sessions[0].cache  # the features of the frames
        session.obj_id_to_idx(0)
        session.obj_with_new_inputs.append(0)
        self._sessions.append(session)
        return session

    def logits(self, frame: int) -> Tensor:
        """Return the low-resolution logits [N, 1, h, w] of the next frame."""
        return torch.cat([self._model(session, frame_idx=frame).pred_masks for session in self._sessions])


@torch.inference_mode()
def decoded(model: Any, frame: NDArray[np.uint8], points: Tensor, labels: Tensor, mask: Tensor | None) -> Any:
    """Return the output of one image for points [P, 2], labels [P] and low-resolution logits [h, w]."""
    return model._single_frame_forward(
        pixel_values=pixels([frame]),
        input_points=points[None, None],
        input_labels=labels[None, None],
        input_masks=None if mask is None else mask[None, None],
        multimask_output=len(labels) == 1,
    )


def pixels(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Return frames [T, 3, H, W] as the image processor of transformers makes them."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scaled = (torch.from_numpy(np.stack(frames)).float() / 255 - mean) / deviation
    return scaled.permute(0, 3, 1, 2).contiguous()
