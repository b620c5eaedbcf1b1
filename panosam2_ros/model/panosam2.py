"""The network PanoSAM2: SAM2's parts and ours, under SAM2's names, without state.

It knows no frame index and no history: memories are kept in ``memory/memory_bank.py`` and passed as
tensors. N objects of B images are always one batch, the objects of an image adjacent in N.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain
from typing import Protocol

import torch
import torch.nn.functional as F
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam2_utils import MLP, get_1d_sine_pe
from torch import Tensor, nn

from panosam2_ros.model.colour_histogram import colour_bins
from panosam2_ros.model.config import ModelConfig, check_latent_input
from panosam2_ros.model.distortion_refinement import DistortionRefinement
from panosam2_ros.model.identity import IdentityCheck
from panosam2_ros.model.image_encoder import (
    ImageFeatures,
    build_image_encoder,
    normalise_pixels,
    pad_convolutions,
)
from panosam2_ros.model.long_short_memory import LongShortMemory
from panosam2_ros.model.mask_decoder import (
    DecoderPrompts,
    MaskPrediction,
    build_mask_decoder,
    build_prompt_encoder,
    decode_canonical,
    set_input_size,
)
from panosam2_ros.model.mask_upsampler import MaskUpsampler
from panosam2_ros.model.memory_attention import build_memory_attention
from panosam2_ros.model.memory_encoder import build_memory_encoder, encode_mask_memory
from panosam2_ros.model.per_object import per_object
from panosam2_ros.model.pixel_matching import MatchingPrompt, pixel_keys
from panosam2_ros.model.position_codes import build_position_code
from panosam2_ros.model.prompt_head import PromptHead
from panosam2_ros.model.spatial_perceiver import LATENT_GRID, LatentEncoding, SpatialPerceiver


class Memories(Protocol):
    """The memories of N objects that memory attention reads, as ``memory_bank.MemoryRead``."""

    @property
    def maskmem_features(self) -> Tensor: ...  # [N, S, C_mem, h, w]
    @property
    def tpos_index(self) -> Tensor: ...  # [N, S] int64, row of maskmem_tpos_enc
    @property
    def maskmem_valid(self) -> Tensor: ...  # [N, S] bool
    @property
    def obj_ptrs(self) -> Tensor: ...  # [N, P, C]
    @property
    def ptr_age(self) -> Tensor: ...  # [N, P] float, frames since; clamped to 0..P - 1
    @property
    def ptr_valid(self) -> Tensor: ...  # [N, P] bool
    @property
    def long_ptr(self) -> Tensor: ...  # [N, C]
    @property
    def long_valid(self) -> Tensor: ...  # [N] bool
    @property
    def tokens_valid(self) -> Tensor | None: ...  # [N, S, h, w] bool; None: all


class PanoSAM2(nn.Module):
    """SAM2, adapted to panoramas.

    Attribute names are those of upstream's ``SAM2Base``, so that state dicts correspond.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Make the network of a config with random weights."""
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.weights_sha256 = ""  # of the files of the weights; empty: not from a file
        hidden, memory = config.hidden_dim, config.memory_dim
        self.image_encoder = build_image_encoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = build_memory_attention(config)
        self.memory_encoder = build_memory_encoder(config)
        self.maskmem_tpos_enc = nn.Parameter(torch.randn(config.slots, 1, 1, memory) * 0.02)
        self.no_mem_embed = nn.Parameter(torch.randn(1, 1, hidden) * 0.02)
        self.no_mem_pos_enc = nn.Parameter(torch.randn(1, 1, hidden) * 0.02)
        self.no_obj_ptr = nn.Parameter(torch.randn(1, hidden) * 0.02)
        self.no_obj_embed_spatial = (
            nn.Parameter(torch.randn(1, memory) * 0.02) if config.absent_code else None
        )
        self.sam_prompt_encoder = build_prompt_encoder(config)
        self.sam_mask_decoder = build_mask_decoder(config)
        self.obj_ptr_proj = MLP(hidden, hidden, hidden, 3)
        self.obj_ptr_tpos_proj = nn.Linear(hidden, memory) if config.pointer_times else None
        self.position_code = build_position_code(config.position_code, hidden)
        self.memory_position_code = build_position_code(config.position_code, memory)
        self.spatial_perceiver: SpatialPerceiver | None = None
        if config.memory_tokens == "latents":
            self.spatial_perceiver = SpatialPerceiver(memory)
            self.memory_position_code = LatentEncoding(memory)
        self.input_size = (config.input_height, config.input_width)
        self.detail = (
            MaskUpsampler(self.image_encoder.trunk.stem_channels, wrap=config.wraps)
            if config.mask_stride == 2
            else None
        )
        self.prompt_head = PromptHead(self) if config.prompt_zoom < 1 else None
        pad_convolutions(self, wrap=config.wraps)
        self.refinement = (
            DistortionRefinement(hidden // 8, config.refine_steps) if config.refine_steps else None
        )
        self.matching = MatchingPrompt(hidden) if config.matched_frames else None
        self.identity_check = (
            IdentityCheck(self.image_encoder.trunk.channel_list[2]) if config.identity_check else None
        )
        self.long_short = LongShortMemory(memory, hidden) if config.long_pointer else None

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.no_mem_embed.device

    @property
    def is_small(self) -> bool:
        """Whether its trunk is a small convolutional one, with little to compute in each layer."""
        return self.config.has_stem

    @property
    def memory_grid(self) -> tuple[int, int]:
        """The height and width of a memory map, tokens."""
        if self.spatial_perceiver is not None:
            return LATENT_GRID
        return self.input_size[0] // self.config.stride, self.input_size[1] // self.config.stride

    def compute_in(self, dtype: torch.dtype) -> None:
        """Compute matrix products and convolutions in this type from now on.

        Their weights are converted permanently, because autocast would convert them in every frame.
        """
        self.compute_dtype = dtype
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
                module.to(dtype)

    def precision(self) -> AbstractContextManager[object]:
        """Return the context of the network's computations: autocast if ``compute_dtype`` is reduced."""
        if self.compute_dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.compute_dtype)

    def set_input_size(self, height: int, width: int) -> None:
        """Set another input size (training increases it); raise ValueError if it is not a multiple of 32."""
        if height % 32 or width % 32:
            raise ValueError(f"the input size must be a multiple of 32, got {height}x{width}")
        if self.spatial_perceiver is not None:
            check_latent_input(height, width, self.config.stride)
        self.input_size = (height, width)
        for module in self.modules():
            if isinstance(module, PromptEncoder):
                set_input_size(module, height, width, self.config.stride)

    def for_regions(self, size: int) -> PanoSAM2:
        """Return the network with these weights that sees search regions of ``size`` pixels.

        Raises ValueError for a size that is not a multiple of 32.
        """
        return self._with_config(self.config.for_regions(size))

    def for_panoramas(self) -> PanoSAM2:
        """Return the network with these weights that sees whole panoramas.

        Raises ValueError for a network that sees search regions only.
        """
        return self._with_config(self.config.for_panoramas())

    def _with_config(self, config: ModelConfig) -> PanoSAM2:
        """Return the network of another input; it shares all parameters and buffers with this one."""
        if config == self.config:
            return self
        other = copy.deepcopy(self, {id(x): x for x in chain(self.parameters(), self.buffers())})
        other.config = config
        pad_convolutions(other, wrap=config.wraps)
        for module in other.modules():
            if isinstance(module, MaskUpsampler):
                module.wrap = config.wraps
        other.set_input_size(config.input_height, config.input_width)
        return other

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Compute the features of images [B, 3, H, W], RGB 0..255, of ``input_size``."""
        pixels = normalise_pixels(images)
        decoder = self.sam_mask_decoder
        trunk, stem = self.image_encoder.trunk, None
        if self.detail is None:
            maps = trunk(pixels)
        else:
            stem = trunk.stem(pixels)
            maps = trunk.from_stem(stem)
        s4, s8, s16 = self.image_encoder.pyramid(maps, decoder.conv_s0, decoder.conv_s1)
        bins = None
        if self.config.sees_colours:
            bins = colour_bins(images, self.config.mask_stride, planar=self.config.regions)
        kept = images if self.config.keeps_pixels else None
        keys = pixel_keys(maps[1], maps[2]) if self.matching is not None else None
        return ImageFeatures(s16, s4, s8, stem=stem, bins=bins, pixels=kept, keys=keys)

    def without_memory(self, features: ImageFeatures, count: int) -> Tensor:
        """Compute the embedding [count, C, h, w] of objects without memories."""
        embedding = features.embedding + self.no_mem_embed.view(1, -1, 1, 1)
        return per_object(embedding, count)

    def condition(self, features: ImageFeatures, memories: Memories) -> Tensor:
        """Compute the embedding [N, C, h, w] of N objects, conditioned on their memories."""
        size = features.embedding.shape[-2:]
        maps = memories.maskmem_features.to(features.embedding.dtype)
        if self.long_short is not None:
            maps = self.long_short(maps, memories.long_ptr, memories.long_valid)
        tokens = maps.flatten(3).transpose(2, 3)  # [N, S, h * w, C_mem]
        code = self.memory_position_code(maps[:1, 0]).flatten(2).transpose(1, 2)
        positions = code[:, None] + self.maskmem_tpos_enc[memories.tpos_index, 0]
        valid = memories.maskmem_valid[..., None].expand(-1, -1, tokens.shape[2])
        if memories.tokens_valid is not None:
            valid = valid & memories.tokens_valid.flatten(2)
        pointers, pointer_positions, pointer_valid = self._pointer_tokens(memories)
        curr_pos = self.position_code(features.embedding[:1]).flatten(2).transpose(1, 2)
        conditioned: Tensor = self.memory_attention(
            curr=features.embedding.flatten(2).transpose(1, 2),
            memory=torch.cat([tokens.flatten(1, 2), pointers], 1),
            curr_pos=curr_pos,
            memory_pos=torch.cat([positions.flatten(1, 2), pointer_positions], 1),
            memory_valid=torch.cat([valid.flatten(1), pointer_valid], 1),
            size=(size[0], size[1]),
            num_obj_ptr_tokens=pointers.shape[1],
        )
        return torch.unflatten(conditioned.transpose(1, 2), 2, size)

    def _pointer_tokens(self, memories: Memories) -> tuple[Tensor, Tensor, Tensor]:
        """Split pointers into tokens of the memory's width.

        Returns values and positions, [N, P * C / C_mem, C_mem] each, and valid, [N, P * C / C_mem] bool.
        """
        pointers = memories.obj_ptrs
        parts = pointers.shape[-1] // self.config.memory_dim
        # the normaliser is constant, while upstream's depends on the length of the video
        age = memories.ptr_age / (self.config.max_obj_ptrs - 1)
        tokens = torch.unflatten(pointers, 2, (parts, -1)).flatten(1, 2)
        positions = torch.zeros_like(tokens)
        if self.obj_ptr_tpos_proj is not None:
            code = self.obj_ptr_tpos_proj(get_1d_sine_pe(age, dim=pointers.shape[-1]))
            positions = code.repeat_interleave(parts, 1)
        return (
            tokens,
            positions,
            memories.ptr_valid.repeat_interleave(parts, 1),
        )

    def decode(
        self,
        embedding: Tensor,
        features: ImageFeatures,
        prompts: DecoderPrompts,
        centre: Tensor,
        ambiguous: Tensor,
        *,
        evidence: Tensor | None = None,
    ) -> MaskPrediction:
        """Decode the masks of N objects, each with token column ``centre`` [N] in the centre column.

        ``ambiguous`` [N] bool: the prompt has at most one point, so that SAM2 chooses among three masks.
        ``evidence`` [N, 1, 2h, 2w]: of pixels that match those of prompted frames.
        Raises ValueError where masks at stride 2 lack the stem's map.
        """
        multimask = ambiguous if self.config.sam2_masks else torch.zeros_like(ambiguous)
        if self.matching is not None and evidence is not None:
            embedding = embedding + self.matching.dense(evidence)
        prediction = decode_canonical(
            self.sam_mask_decoder,
            self.sam_prompt_encoder,
            embedding,
            features,
            prompts,
            centre=centre if self.config.decodes_in_canonical_yaw else None,
            multimask=multimask,
        ).float()
        refined = self._refined(prediction, features)
        if self.matching is None or evidence is None:
            return refined
        height, width = refined.fine_logits.shape[-2:]
        return refined.shifted(self.matching.logits(evidence, (height, width)))

    def _refined(self, prediction: MaskPrediction, features: ImageFeatures) -> MaskPrediction:
        """Refine a prediction's masks against distortion, and upsample them to the stride of the config."""
        mask_logits = prediction.mask_logits
        if self.refinement is not None and not self.config.regions:
            mask_logits = self.refinement(mask_logits, features.high_res_s4)
        if self.detail is None:
            return replace(prediction, mask_logits=mask_logits, fine_logits=mask_logits)
        if features.stem is None:
            raise ValueError("masks at stride 2 need the stem's map: encode the image with this network")
        fine = self.detail(mask_logits, features.stem.float())
        return replace(prediction, mask_logits=F.avg_pool2d(fine, 2), fine_logits=fine)

    def object_pointer(self, sam_token: Tensor, present: Tensor) -> Tensor:
        """Compute pointers [N, C] from tokens [N, C]; ``no_obj_ptr`` of objects not ``present`` [N] bool."""
        return torch.where(present[:, None], self.obj_ptr_proj(sam_token), self.no_obj_ptr)

    def encode_memory(
        self, features: ImageFeatures, mask_logits: Tensor, present: Tensor, *, prompted: bool
    ) -> Tensor:
        """Encode masks [N, 1, 4h, 4w] as memory maps [N, C_mem, *memory_grid]; ``present`` [N] bool.

        ``prompted``: the masks are of prompted frames, which SAM2 encodes as binary masks.
        """
        maps = encode_mask_memory(
            self.memory_encoder,
            per_object(features.embedding, len(mask_logits)),
            mask_logits,
            self.config,
            binary=prompted and self.config.sam2_masks,
        )
        if self.no_obj_embed_spatial is not None:
            absent = self.no_obj_embed_spatial[..., None, None]
            maps = torch.where(present[:, None, None, None], maps, maps + absent)
        return maps if self.spatial_perceiver is None else self.spatial_perceiver(maps)
