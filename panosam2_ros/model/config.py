"""The architecture of a network, which is stored in the same file as its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

# Fields of earlier versions, which files of weights still have, at the values at which they had no effect.
_RETIRED: dict[str, Any] = {"wrap_margin": 0}
_OLD_FRAME_RATE = 10.0  # Hz, of the frames in which earlier versions counted


TRUNKS = ("conv", "mobilenet_v2", "hiera", "repvit")
LATENT_SIDE = 16  # rows and columns of EdgeTAM's patch-level latents, whose windows are whole tokens


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Architecture and geometry of a network. The defaults are the architecture ``panosam2_nano``."""

    name: str = "panosam2_nano"
    input_height: int = 224  # pixels; a multiple of 32
    input_width: int = 448
    regions: bool = False  # the input is a search region around each object, not the panorama
    # Of the input, half its width, where a network of regions sees a panorama; 0: it is not made for that.
    panorama_height: int = 0
    trunk: str = "conv"  # conv (ours, small), mobilenet_v2, hiera (SAM2's) or repvit (EdgeTAM's)
    trunk_channels: tuple[int, ...] = (24, 48, 96, 160)  # at strides 4, 8, 16, 32
    trunk_blocks: tuple[int, ...] = (1, 2, 3, 2)
    hiera_heads: int = 1  # of the first stage
    hiera_global_blocks: tuple[int, ...] = ()  # blocks with global attention
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
    slots: int = 4  # memory maps of an object that memory attention reads
    max_cond_slots: int = 2  # at most this many of them are prompted frames
    max_obj_ptrs: int = 16
    memory_mask_stride: int = 4  # reduction of masks by the memory encoder: 4 from stride 4, 16 from pixels
    memory_dtype: str = "float32"  # of stored memory maps; SAM2: bfloat16
    memory_tokens: str = "map"  # of a remembered frame: map (SAM2), or latents (EdgeTAM's spatial perceiver)
    absent_code: bool = True  # memory maps of absent objects have a learned code added; False = EdgeTAM
    pointer_times: bool = True  # object pointers have a code of their age; False = EdgeTAM
    previous_mask_prompt: bool = True  # the last mask is a dense prompt of the next frame; False = SAM2
    draw_prompts: bool = True  # boxes and clicks are also drawn as a dense mask prompt; False = SAM2
    prompt_logit: float = 6.0  # clamp of an earlier mask as a dense prompt; SAM2: 32
    sam2_masks: bool = False  # best of three masks, and mask prompts as in SAM2
    # Of networks that see panoramas. Search regions have no seam and need neither, except for networks that
    # were trained to see them so.
    panoramic_regions: bool = False  # wrap and canonical_yaw also apply to search regions
    wrap: bool = True  # convolutions and resizing are periodic over longitude; False = SAM2
    canonical_yaw: bool = True  # masks are decoded with the object in the centre column; False = SAM2
    rotary: str = "whole_turns"  # rotary code of longitude in memory attention: whole_turns or axial (SAM2)
    position_code: str = "latitude"  # of memory attention: latitude or sine (SAM2)

    # PanoSAM2's learned parts and its rules of memory; off unless weights were trained with them.
    refine_steps: int = 0  # of distortion refinement
    long_pointer: bool = False  # the long-term pointer modulates the memory maps
    mask_stride: int = 4  # of the predicted masks; 2 uses the convolutional trunk's stem
    refine_views: bool = True  # a search region is centred on what was found, and looked at again
    # Field of view of a closer look at what was prompted, a share of the region's; below 1 the network has a
    # prompt head for it. 1: none.
    prompt_zoom: float = 1.0
    recreate_slots: bool = False  # maps of prompts and anchors are encoded anew when the scale has changed
    align_memory: bool = True  # maps and last masks are resampled to the present region's scale; not latents
    anchors: int = 0  # slots for older frames that were confident and differ from each other
    anchor_period: float = 1.0  # s between two anchors, at least
    anchor_similarity: float = 0.9  # largest cosine of two anchors' pointers
    confident_iou: float = 0.8  # predicted IoU from which a frame is confident
    doubtful_iou: float = 0.0  # predicted IoU below which a frame is not remembered
    forget_wrong: bool = False  # a correction of a mask that was wrong takes what was learned since with it
    # Colour histograms, our addition for small networks. See model/colour_histogram.py.
    colour_evidence: float = 0.0  # weight of the colour evidence in mask logits; 0: none
    colour_learning: float = 0.0  # update rate of the histograms in a frame, 0..1, ...
    colour_iou: float = 0.6  # ... whose predicted IoU is at least this
    colour_likeness: float = 0.2  # histogram intersection below which a mask is not the object; 0..1
    # 0: without matched_frames, lost objects are looked for only where they were; else on the whole sphere,
    # most where their colours are. With colour evidence, intersection from which colours are the object's.
    colour_search: float = 0.0
    # Prompted frames with whose pixels a frame is compared, and by which lost objects are searched. 0: none.
    matched_frames: int = 0
    # What a mask covers decides, too, whether it is the object; for networks with matched_frames.
    identity_check: bool = False
    # Cosine with what was prompted from which a mask is that of an object not seen in the last frame:
    return_likeness: float = -1.0  # where it was; for networks with identity_check
    search_likeness: float = -1.0  # in another place
    outline_size: int = 0  # side, pixels, of the windows in which published masks are refined; 0: not refined
    remember_absent: bool = False  # frames without the object are stored as well; True = SAM2
    remember_settled: bool = True  # what is remembered lacks the pixels that belong to others; False = SAM2

    def __post_init__(self) -> None:
        if self.trunk not in TRUNKS:
            raise ValueError(f"trunk is one of {', '.join(TRUNKS)}, got {self.trunk!r}")
        if self.memory_tokens not in ("map", "latents"):
            raise ValueError(f"memory_tokens is map or latents, got {self.memory_tokens!r}")
        if self.memory_tokens == "latents":
            check_latent_input(self.input_height, self.input_width, self.stride)
        if self.rotary not in ("whole_turns", "axial"):
            raise ValueError(f"rotary is whole_turns or axial, got {self.rotary!r}")
        if not 0 < self.prompt_zoom <= 1:
            raise ValueError(f"prompt_zoom must be above 0 and at most 1, got {self.prompt_zoom}")
        if self.identity_check and not self.matched_frames:
            raise ValueError("identity_check needs matched_frames of at least 1, got 0")
        if self.mask_stride not in (2, 4) or (self.mask_stride == 2 and not self.has_stem):
            raise ValueError(
                f"mask_stride is 4, or 2 with the trunk conv or mobilenet_v2; got {self.mask_stride} with "
                f"{self.trunk}"
            )

    @property
    def has_stem(self) -> bool:
        """Whether the trunk has a map at stride 2."""
        return self.trunk in ("conv", "mobilenet_v2")

    @property
    def stride(self) -> int:
        """Input pixels per token."""
        return 16

    @property
    def sees_panoramas(self) -> bool:
        """Whether the network can see panoramas; the memory of some needs a square input."""
        return self.memory_tokens == "map"

    @property
    def sees_colours(self) -> bool:
        """Whether colour histograms are remembered: as evidence, or to propose where lost objects are."""
        return self.colour_evidence > 0 or self.colour_search > 0

    @property
    def searches_elsewhere(self) -> bool:
        """Whether lost objects are looked for on the whole sphere."""
        return self.colour_search > 0 or self.matched_frames > 0

    @property
    def keeps_pixels(self) -> bool:
        """Whether the pixels of prompts and anchors are kept, of which maps can be encoded anew."""
        return self.recreate_slots and self.regions and self.memory_tokens == "map"

    @property
    def _panoramic(self) -> bool:
        """Whether the input is treated as a panorama."""
        return self.panoramic_regions or not self.regions

    @property
    def wraps(self) -> bool:
        """Whether the first and the last column of the input are neighbours."""
        return self.wrap and self._panoramic

    @property
    def decodes_in_canonical_yaw(self) -> bool:
        """Whether masks are decoded with the object in the centre column."""
        return self.canonical_yaw and self._panoramic

    def for_regions(self, size: int) -> ModelConfig:
        """Return the config of the same weights that see search regions of ``size`` pixels."""
        return replace(self, regions=True, input_height=size, input_width=size)

    def for_panoramas(self) -> ModelConfig:
        """Return the config of the same weights that see whole panoramas.

        Raises ValueError for a network that sees search regions only.
        """
        if not self.regions:
            return self
        if not self.sees_panoramas:
            raise ValueError(
                f"{self.name} sees search regions only, since its memory needs a square input: "
                "set view to auto or regions"
            )
        height = self.panorama_height or self.input_height
        return replace(self, regions=False, input_height=height, input_width=2 * height)

    @classmethod
    def of_weights(cls, text: str) -> ModelConfig:
        """Read the config of a file of weights; the errors are those of ``from_json``.

        Weights of search regions whose file says nothing about their geometry were trained before there
        were two, with that of panoramas: with the other one, J is 0.04 lower on SynthPano val (box prompts).
        """
        config = cls.from_json(text)
        known = json.loads(text)
        if "panoramic_regions" not in known:
            config = replace(config, panoramic_regions=config.regions)
        # Those that do not state align_memory were trained without it, and the shipped ones are not surely
        # better with it: +0.007 on SynthPano val (box prompts, 95 % from -0.002 to +0.017). Nor are they with
        # recreate_slots, which they state, but which had no effect.
        if "align_memory" not in known:
            config = replace(config, align_memory=False, recreate_slots=False)
        return config

    def to_json(self) -> str:
        """Return the fields as JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelConfig:
        """Read what ``to_json`` returned, here or in an earlier version.

        Raises ValueError for unknown fields and for retired fields that had an effect.
        """
        values = json.loads(text)
        for name, without_effect in _RETIRED.items():
            if (value := values.pop(name, without_effect)) != without_effect:
                raise ValueError(
                    f"the weights were trained with {name} {value}, which this version no longer supports "
                    f"(only {without_effect}); install the version that made them, or train them again"
                )
        if (frames := values.pop("anchor_interval", None)) is not None:
            values.setdefault("anchor_period", frames / _OLD_FRAME_RATE)
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(
                f"the weights were made by another version of the model, with {sorted(unknown)}, which this "
                "version does not know; install the version that made them"
            )
        typed: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**typed)


def check_latent_input(height: int, width: int, stride: int) -> None:
    """Raise ValueError for an input size, pixels, whose memories cannot be compressed to latents."""
    multiple = LATENT_SIDE * stride
    if height != width or height % multiple:
        raise ValueError(
            f"a network whose memory is latents (EdgeTAM) takes a square input whose side is a multiple of "
            f"{multiple} pixels, got {height}x{width}"
        )
