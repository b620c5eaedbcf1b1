"""Names of tensors in the checkpoints of Hugging Face transformers, as names of SAM 2's own checkpoints.

``Sam2VideoModel`` and ``EdgeTamVideoModel`` hold the same tensors as the official files, under other names.
Two things differ beside names: the four point embeddings are one tensor there, and keys and values of the
spatial perceiver are two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_MARK = "vision_encoder.neck.convs.0.weight"  # a name that only checkpoints of transformers have
_POINTS = "sam_prompt_encoder.point_embeddings"
_HALF = re.compile(r"(.+)\.half_(\d)\.weight")  # of a tensor that is two in transformers

# An MLP of three layers, and one of two.
_THREE = (
    (r"\.layers\.0\.(?=\w+$)", ".layers.1."),
    (r"\.proj_in\.", ".layers.0."),
    (r"\.proj_out\.", ".layers.2."),
)
_TWO = ((r"\.proj_in\.", ".layers.0."), (r"\.proj_out\.", ".layers.1."))
_NORMS = ((r"layer_norm", "norm"), (r"\.o_proj\.", ".out_proj."))

# Of each part: how its names begin there and here, and what else is replaced, in this order.
_PARTS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    # of timm's networks, whose prefix some versions of transformers leave out
    (r"vision_encoder\.backbone\.(?:timm_model\.)?(?=stem\.|stages_)", "image_encoder.trunk.body.", ()),
    (
        r"vision_encoder\.backbone\.",
        "image_encoder.trunk.",
        ((r"patch_embed\.projection\.", "patch_embed.proj."), *_TWO, *_NORMS),
    ),
    (r"vision_encoder\.neck\.", "image_encoder.neck.", ((r"(convs\.\d)\.", r"\1.conv."),)),
    (
        r"(?:shared_image_embedding|prompt_encoder\.shared_embedding)\.positional_embedding",
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
        (),
    ),
    (r"prompt_encoder\.point_embed\.weight", _POINTS, ()),
    (
        r"prompt_encoder\.",
        "sam_prompt_encoder.",
        (
            (r"mask_embed\.conv1\.", "mask_downscaling.0."),
            (r"mask_embed\.layer_norm1\.", "mask_downscaling.1."),
            (r"mask_embed\.conv2\.", "mask_downscaling.3."),
            (r"mask_embed\.layer_norm2\.", "mask_downscaling.4."),
            (r"mask_embed\.conv3\.", "mask_downscaling.6."),
        ),
    ),
    (r"mask_decoder\.transformer\.", "sam_mask_decoder.transformer.", (*_TWO, *_NORMS)),
    (
        r"mask_decoder\.",
        "sam_mask_decoder.",
        (
            (r"upscale_conv1\.", "output_upscaling.0."),
            (r"upscale_layer_norm\.", "output_upscaling.1."),
            (r"upscale_conv2\.", "output_upscaling.3."),
            *_THREE,
        ),
    ),
    (
        r"memory_attention\.",
        "memory_attention.",
        ((r"mlp\.up_proj\.", "linear1."), (r"mlp\.down_proj\.", "linear2."), *_NORMS),
    ),
    (
        r"memory_encoder\.mask_downsampler\.",
        "memory_encoder.mask_downsampler.encoder.",
        (
            *((rf"layers\.{i}\.conv\.", f"{3 * i}.") for i in range(4)),
            *((rf"layers\.{i}\.layer_norm\.", f"{3 * i + 1}.") for i in range(4)),
            (r"final_conv\.", "12."),
        ),
    ),
    (
        r"memory_encoder\.",
        "memory_encoder.",
        (
            (r"feature_projection\.", "pix_feat_proj."),
            (r"encoder\.projection\.", "encoder.out_proj."),
            (r"memory_fuser\.", "fuser."),
            (r"depthwise_conv\.", "dwconv."),
            (r"pointwise_conv(\d)\.", r"pwconv\1."),
            (r"\.scale$", ".gamma"),
            *_NORMS,
        ),
    ),
    (
        r"spatial_perceiver\.",
        "spatial_perceiver.",
        (
            (r"latents_1d", "latents"),
            (r"(cross|self)_attention\.k_proj\.", r"\1_attention.to_kv.half_0."),
            (r"(cross|self)_attention\.v_proj\.", r"\1_attention.to_kv.half_1."),
            (r"(cross|self)_attention\.q_proj\.", r"\1_attention.to_q."),
            (r"(cross|self)_attention\.o_proj\.", r"\1_attention.to_out."),
            (r"\.layer_norm_input\.", ".attn.norm_x."),
            (r"\.layer_norm_latents\.", ".attn.norm_latents."),
            (r"\.layer_norm_self\.", ".self_attn.norm."),
            (r"cross_attention\.", "attn."),
            (r"self_attention\.", "self_attn."),
            (r"\bmlp\.layer_norm\.", "ff.0."),
            (r"\bself_mlp\.layer_norm\.", "self_ff.0."),
            (r"\bmlp\.up_proj\.", "ff.1."),
            (r"\bself_mlp\.up_proj\.", "self_ff.1."),
            (r"\bmlp\.down_proj\.", "ff.3."),
            (r"\bself_mlp\.down_proj\.", "self_ff.3."),
            *_NORMS,
        ),
    ),
    (r"object_pointer_proj\.", "obj_ptr_proj.", _THREE),
    (r"temporal_positional_encoding_projection_layer\.", "obj_ptr_tpos_proj.", ()),
    (r"memory_temporal_positional_encoding", "maskmem_tpos_enc", ()),
    (r"no_memory_embedding", "no_mem_embed", ()),
    (r"no_memory_positional_encoding", "no_mem_pos_enc", ()),
    (r"no_object_pointer", "no_obj_ptr", ()),
    (r"occlusion_spatial_embedding_parameter", "no_obj_embed_spatial", ()),
)


def has_transformers_names(names: Iterable[str]) -> bool:
    """Tell whether the names of a file's tensors are those of transformers."""
    return _MARK in names


def official_name(name: str) -> str:
    """Return the name in SAM 2's own format of a tensor of transformers; unknown names are unchanged."""
    for pattern, start, replacements in _PARTS:
        if (match := re.match(pattern, name)) is None:
            continue
        rest = start + name[match.end() :]
        for old, new in replacements:
            rest = re.sub(old, new, rest)
        return rest
    return name


def from_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict in SAM 2's own format, float32, of a file's tensors.

    Raises ValueError where two different tensors have one name there.
    """
    state: dict[str, Tensor] = {}
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        renamed, value = official_name(name), tensor.float() if tensor.is_floating_point() else tensor
        if renamed == _POINTS:
            state |= {f"{_POINTS}.{i}.weight": row[None].clone() for i, row in enumerate(value)}
        elif (match := _HALF.fullmatch(renamed)) is not None:
            halves.setdefault(f"{match[1]}.weight", {})[match[2]] = value
        elif renamed in state and not torch.equal(state[renamed], value):
            raise ValueError(f"{name} and another tensor both are {renamed}, with different values")
        else:
            state[renamed] = value
    return state | {name: torch.cat([parts[i] for i in sorted(parts)]) for name, parts in halves.items()}
