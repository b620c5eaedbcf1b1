"""What a network is made of; stored beside its weights, so that a file says what it is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class ModelConfig:
    """Architecture and geometry of a network. The defaults are ``panosam2_nano``."""

    name: str = "panosam2_nano"
    input_height: int = 224  # pixels; a multiple of 32
    input_width: int = 448
    regions: bool = (
        False  # it sees a square round each object, not the panorama; see geometry/search_region.py
    )
    trunk: str = "conv"  # conv (ours, small) or hiera (SAM2's)
    trunk_channels: tuple[int, ...] = (24, 48, 96, 160)  # at strides 4, 8, 16, 32
    trunk_blocks: tuple[int, ...] = (1, 2, 3, 2)
    hiera_heads: int = 1  # of the first stage
    hiera_global_blocks: tuple[int, ...] = ()  # those with global attention
    hiera_windows: tuple[int, ...] = (8, 4, 14, 7)  # tokens, of each stage
    hiera_background: tuple[int, int] = (7, 7)  # size of the learned position map
    hidden_dim: int = 96
    memory_dim: int = 32
    attention_layers: int = 2
    attention_downsample: int = 2  # inner width of memory attention: hidden_dim / this
    attention_mlp: int = 256
    fuser_layers: int = 1
    fuser_scale: float = 0.1  # initial layer scale
    decoder_mlp: int = 384
    decoder_heads: int = 4
    slots: int = 4  # maps of an object that memory attention sees
    max_cond_slots: int = 2  # of which at most this many are prompted frames
    max_obj_ptrs: int = 16
    memory_mask_stride: int = 4  # reduction of masks by the memory encoder: 4 from stride 4, 16 from pixels
    memory_dtype: str = "float32"  # of the maps that are kept; SAM2: bfloat16
    previous_mask_prompt: bool = True  # the last mask as dense prompt of the next frame; off = SAM2
    draw_prompts: bool = True  # boxes and clicks also as a dense mask prompt; off = SAM2
    prompt_logit: float = 6.0  # clamp of an earlier mask as dense prompt; SAM2: 32
    sam2_masks: bool = False  # best of three masks; true masks enter as SAM2 has it
    wrap: bool = True  # convolutions and resizing see across the seam; off = SAM2
    wrap_margin: int = 0  # pixels from across the seam on both sides of the encoder's input; multiple of 32
    canonical_yaw: bool = True  # the decoder works with the object in the middle; off = SAM2
    rotary: str = "whole_turns"  # longitude in memory attention: whole_turns, rounded or axial (SAM2)
    position_code: str = "latitude"  # of memory attention: latitude or sine (SAM2)

    # PanoSAM2's learned parts and its rules of memory; off unless weights were made with them.
    refine_steps: int = 0  # of distortion refinement
    long_pointer: bool = False  # the long-term pointer modulates what is read
    mask_stride: int = 4  # of the masks that come out; 2: with the help of the convolutional trunk's stem
    recreate_slots: bool = False  # empty and doubtful slots are filled from the last confident frame
    anchors: int = 0  # slots for older frames that were confident and unlike each other
    anchor_interval: int = 10  # frames
    anchor_similarity: float = 0.9  # cosine of anchors' pointers, at most
    confident_iou: float = 0.8  # predicted IoU from which a frame is confident
    doubtful_iou: float = 0.0  # predicted IoU below which a frame is not remembered
    # Our aid to small networks: colours. See model/colour_histogram.py.
    colour_evidence: float = 0.0  # weight of what a pixel's colour says in its mask logit; 0: none
    colour_learning: float = 0.0  # how much of them a frame makes forgotten and learned anew, 0..1, ...
    colour_iou: float = 0.6  # ... where the predicted IoU is this or more
    colour_likeness: float = 0.2  # overlap of colours below which a mask is not the object; 0..1
    colour_search: float = 0.0  # overlap from which a lost object is found by its colours; 0: not looked for
    outline_size: int = 0  # side of the windows in which published masks are redrawn, pixels; 0: they are not
    remember_absent: bool = False  # frames without the object are remembered as such; on = SAM2

    def __post_init__(self) -> None:
        if self.mask_stride not in (2, 4) or (self.mask_stride == 2 and self.trunk != "conv"):
            raise ValueError(
                f"mask_stride is 4, or 2 with the conv trunk; got {self.mask_stride} with {self.trunk}"
            )

    @property
    def stride(self) -> int:
        """Input pixels per token."""
        return 16

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Raises ValueError where the text has fields that this version does not know."""
        values = json.loads(text)
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(
                f"the weights were made by another version of the model: it has {sorted(unknown)}, "
                "which this one does not know; install the version that made them"
            )
        typed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**typed)
