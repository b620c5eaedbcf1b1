"""SAM2's memory encoder, with masks resized across the seam."""

from __future__ import annotations

import torch
from sam2.modeling.memory_encoder import CXBlock, Fuser, MaskDownSampler, MemoryEncoder
from torch import Tensor

from panosam2_ros.geometry.circular import wrap_resize
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.position_codes import LatitudeEncoding

# SAM2.1: mask probabilities 0..1 become -10..10 before they are encoded.
MASK_SCALE, MASK_BIAS = 20.0, -10.0


def build_memory_encoder(config: ModelConfig) -> MemoryEncoder:
    """Build SAM2's memory encoder."""
    return MemoryEncoder(
        out_dim=config.memory_dim,
        in_dim=config.hidden_dim,
        mask_downsampler=MaskDownSampler(
            embed_dim=config.hidden_dim,
            kernel_size=3,
            stride=2,
            padding=1,
            total_stride=config.memory_mask_stride,
        ),
        fuser=Fuser(
            CXBlock(config.hidden_dim, kernel_size=7, padding=3, layer_scale_init_value=config.fuser_scale),
            num_layers=config.fuser_layers,
        ),
        position_encoding=LatitudeEncoding(config.memory_dim),  # unused: PanoSAM2 has its own
    )


def encode_mask_memory(
    encoder: MemoryEncoder,
    embedding: Tensor,  # [N, C, h, w]
    mask_logits: Tensor,  # [N, 1, 4h, 4w]
    config: ModelConfig,
    *,
    binary: bool,
) -> Tensor:
    """Encode masks as memory maps [N, C_mem, h, w].

    Masks enter as probabilities or, if ``binary``, thresholded at logit 0.
    """
    height, width = (config.memory_mask_stride * side for side in embedding.shape[-2:])
    logits = wrap_resize(mask_logits, height, width, wrap=config.wraps)
    probabilities = (logits > 0).to(logits.dtype) if binary else torch.sigmoid(logits)
    masks = probabilities * MASK_SCALE + MASK_BIAS
    fused = encoder.pix_feat_proj(embedding) + encoder.mask_downsampler(masks)
    maps: Tensor = encoder.out_proj(encoder.fuser(fused))
    return maps
