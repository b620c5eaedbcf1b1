"""The Pano-Aware Decoder's first half: SAM's decoder, run in each object's canonical yaw.

The paper's text beyond its abstract is not available; this is our interpretation of its
"seam-consistent receptive fields". SAM's decoder depends on absolute columns (a random Fourier code of
every pixel and prompt), so that it cannot be made periodic without losing its training. Instead features,
masks and prompts are rolled by whole tokens so that the object is in the centre column, decoded, and the
masks rolled back: no compact object meets the seam.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from sam2.modeling.sam.mask_decoder import MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor

from panosam2_ros.geometry.circular import roll_columns
from panosam2_ros.model.config import ModelConfig
from panosam2_ros.model.image_encoder import ImageFeatures
from panosam2_ros.model.per_object import per_object

NO_PROMPT, BACKGROUND, FOREGROUND, BOX_FIRST, BOX_LAST = -1, 0, 1, 2, 3  # SAM's point labels


@dataclass(frozen=True, eq=False)
class DecoderPrompts:
    """Prompts of N objects in pixels of the network's input."""

    point_coords: Tensor  # [N, P, 2] float, u and v as pixel indices
    point_labels: Tensor  # [N, P] int64, NO_PROMPT to BOX_LAST
    mask_input: Tensor  # [N, 1, 4h, 4w] logits
    has_mask: Tensor  # [N] bool: mask_input is a prompt

    @classmethod
    def of_masks(cls, mask_input: Tensor, has_mask: Tensor) -> DecoderPrompts:
        """Build prompts of masks, without points."""
        count, device = mask_input.shape[0], mask_input.device
        return cls(
            torch.zeros(count, 1, 2, device=device),
            torch.full((count, 1), NO_PROMPT, device=device),
            mask_input,
            has_mask,
        )


@dataclass(frozen=True, eq=False)
class MaskPrediction:
    """The decoder's output for N objects."""

    mask_logits: Tensor  # [N, 1, 4h, 4w], at stride 4; > 0 is the object
    mask_iou: Tensor  # [N], predicted IoU, 0..1
    sam_token: Tensor  # [N, C], the token that becomes the object pointer
    object_score_logits: Tensor  # [N], > 0: the object is in this image
    fine_logits: Tensor  # [N, 1, H', W'], mask logits at the stride of the published masks

    def float(self) -> MaskPrediction:
        """Convert all tensors to float32."""
        return MaskPrediction(*(getattr(self, f.name).float() for f in fields(self)))

    def shifted(self, evidence: Tensor) -> MaskPrediction:
        """Add evidence [N, 1, H', W'] to the mask logits."""
        coarse = F.avg_pool2d(evidence, evidence.shape[-1] // self.mask_logits.shape[-1])
        return replace(self, mask_logits=self.mask_logits + coarse, fine_logits=self.fine_logits + evidence)


def build_prompt_encoder(config: ModelConfig) -> PromptEncoder:
    """Build SAM's prompt encoder for a rectangular input."""
    size = (config.input_height, config.input_width)
    return PromptEncoder(
        embed_dim=config.hidden_dim,
        image_embedding_size=(size[0] // config.stride, size[1] // config.stride),
        input_image_size=size,
        mask_in_chans=16,
    )


def build_mask_decoder(config: ModelConfig) -> MaskDecoder:
    """Build SAM2's mask decoder."""
    return MaskDecoder(
        num_multimask_outputs=3,
        transformer=TwoWayTransformer(
            depth=2,
            embedding_dim=config.hidden_dim,
            mlp_dim=config.decoder_mlp,
            num_heads=config.decoder_heads,
        ),
        transformer_dim=config.hidden_dim,
        iou_head_depth=3,
        iou_head_hidden_dim=config.hidden_dim,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
        dynamic_multimask_via_stability=config.sam2_masks,
    )


def set_input_size(encoder: PromptEncoder, height: int, width: int, stride: int) -> None:
    """Set the prompt encoder's input size, on which none of its weights depend."""
    encoder.input_image_size = (height, width)
    encoder.image_embedding_size = (height // stride, width // stride)
    encoder.mask_input_size = (4 * height // stride, 4 * width // stride)


def embed_prompts(encoder: PromptEncoder, prompts: DecoderPrompts) -> tuple[Tensor, Tensor]:
    """Compute sparse [N, P + 1, C] and dense [N, C, h, w] embeddings of prompts with and without masks."""
    sparse, no_mask = encoder(points=(prompts.point_coords, prompts.point_labels), boxes=None, masks=None)
    dense = encoder.mask_downscaling(prompts.mask_input)
    return sparse, torch.where(prompts.has_mask[:, None, None, None], dense, no_mask)


def choose_masks(
    decoder: MaskDecoder, masks: Tensor, ious: Tensor, tokens: Tensor, multimask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one mask [N, 1, H, W], IoU [N] and token [N, C] of SAM's four [N, 4, ...].

    Where ``multimask`` [N] bool: the best of the last three; else the first or, if the decoder has
    SAM2's fallback and the first is unstable, the best of the others with the token of the first.
    """
    rows = torch.arange(len(masks), device=masks.device)
    best = 1 + ious[:, 1:].argmax(1)
    token = tokens[rows, torch.where(multimask, best, 0)]
    if decoder.dynamic_multimask_via_stability and not decoder.training:
        # private, because upstream's public method chooses for all objects alike
        stable = decoder._get_stability_scores(masks[:, :1])[:, 0]
        unstable = stable < decoder.dynamic_multimask_stability_thresh
        chosen = torch.where(multimask | unstable, best, 0)
    else:
        chosen = torch.where(multimask, best, 0)
    return masks[rows, chosen][:, None], ious[rows, chosen], token


def decode_canonical(
    decoder: MaskDecoder,
    prompt_encoder: PromptEncoder,
    embedding: Tensor,  # [N, C, h, w], memory-conditioned
    features: ImageFeatures,  # of B images, N / B objects of each, adjacent in N
    prompts: DecoderPrompts,
    *,
    centre: Tensor | None,  # [N] int64: the token column that becomes the centre column; None: as it is
    multimask: Tensor,  # [N] bool: the prompt is ambiguous, choose among three masks
) -> MaskPrediction:
    """Decode every object with its own ``centre`` in the centre column, and roll the masks back."""
    width = embedding.shape[-1]
    shift = None if centre is None else width // 2 - centre
    if shift is not None:
        prompts = _rolled_prompts(prompts, shift, width, prompt_encoder.input_image_size[1])
    sparse, dense = embed_prompts(prompt_encoder, prompts)
    objects = len(embedding)
    four, ious, tokens, score = decoder.predict_masks(
        image_embeddings=_rolled(embedding, shift, 1),
        image_pe=prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        repeat_image=False,
        high_res_features=[
            _rolled(per_object(features.high_res_s4, objects), shift, 4),
            _rolled(per_object(features.high_res_s8, objects), shift, 2),
        ],
    )
    masks, iou, token = choose_masks(decoder, four, ious, tokens, multimask)
    masks = _rolled(masks, shift, -4)
    return MaskPrediction(masks, iou, token, score[:, 0], masks)


def _rolled(x: Tensor, shift: Tensor | None, times: int) -> Tensor:
    """Roll each item of x [N, ..., W] by ``times`` its shift [N]; None: not at all."""
    return x if shift is None else roll_columns(x, times * shift)


def _rolled_prompts(prompts: DecoderPrompts, shift: Tensor, width: int, pixels: int) -> DecoderPrompts:
    """Roll each object's prompts by ``shift`` [N] of ``width`` tokens, or ``pixels``."""
    u = prompts.point_coords[..., 0] + (shift * (pixels // width))[:, None]
    coords = torch.stack([(u + 0.5) % pixels - 0.5, prompts.point_coords[..., 1]], -1)
    return replace(prompts, point_coords=coords, mask_input=roll_columns(prompts.mask_input, 4 * shift))
