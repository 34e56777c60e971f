"""Renaming tables: from the keys of other people's state dicts to ours.

A table is a list of rules (pattern, replacement), applied to every key one after the other with `re.sub`. The
replacement ``None`` drops the key; a tuple of names splits the tensor into equal parts along its first dimension.
Checkpoints and the reference state dicts of our tests go through the same tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

State = dict[str, Tensor]
Table = list[tuple[str, str | tuple[str, ...] | None]]

# ResNet-18 as torchvision names it, and so do we.
RESNET: Table = [
    (r"^fc\.", None),  # ImageNet's classifier
]

# Trunk of the Mirai image encoder (onconet classes). Its snapshot holds the whole stage-one model.
MIRAI_TRUNK: Table = [
    (r"^_model\.(pool|fc|prob_of_failure_layer)\.", None),  # stage one's risk factors, classifier and hazards
    (r"^_model\.", ""),
    (r"(^|\.)downsampler\.", r"\1"),
    (r"(^|\.)(layer[1-4])_(\d+)\.", r"\1\2.\3."),
]

# Additive hazard layer: yala/Mirai spells the constant mask "upper_triagular_mask", BCRBench "triangular_mask".
CUMULATIVE: Table = [
    (r"(^|\.)(upper_triagular|triangular)_mask$", None),  # constant: our layer uses a cumulative sum
    (r"(^|\.)base_hazard_fc\.", r"\1base."),
    (r"(^|\.)hazard_fc\.", r"\1hazards."),
]

# yala/Mirai AllImageTransformer -> mirai.ImageAggregator.
MIRAI_TRANSFORMER: Table = [
    (r"(^|\.)kept_images_vec$", None),  # constant ones, for masked-image pretraining
    (r"(^|\.)pred_masked_img_fc\.", None),  # head of masked-image pretraining
    (r"(^|\.)fc\.", None),  # classifier, replaced by the hazard layer
    (r"(^|\.)mask_embedding\.weight$", r"\1mask_embedding"),
    (r"(^|\.)projection_layer\.", r"\1projection."),
    (r"(^|\.)transformer\.(time|view|side)_embed\.", r"\1\2_embedding."),
    (r"(^|\.)transformer\.embed_(add|scale)_fc\.", r"\1\2."),
    (r"(^|\.)transformer\.transformer_layer_(\d+)\.", r"\1layers.\2."),
    (r"\.multihead_attention\.aggregate_fc\.", ".attention.output."),
    (r"\.multihead_attention\.", ".attention."),
    (r"\.layernorm_attn\.", ".attention_norm."),
    (r"\.layernorm_fc\.", ".ffn_norm."),
    (r"\.fc1\.", ".ffn.0."),
    (r"\.fc2\.", ".ffn.2."),
    (r"(^|\.)pool\.attention_fc\.", r"\1pool.score."),
    (r"(^|\.)prob_of_failure_layer\.", r"\1risk."),
    *CUMULATIVE,
]

# BCRBench's Mirai: trunk and transformer in one file.
MIRAI: Table = [
    (r"^image_encoder\.", "encoder."),
    (r"^transformer\.", "aggregator."),
    *MIRAI_TRUNK,
    *MIRAI_TRANSFORMER,
]

# BCRBench CrossAttentionBlock -> dual_stream.DualStreamBlock; view 0 is CC, 1 is MLO.
DUAL_STREAM: Table = [
    *[
        (
            rf"(^|\.)mha_{kind}\.in_proj_(weight|bias)$",
            tuple(rf"\1{kind}_attention.{part}.\2" for part in ("query", "key", "value")),
        )
        for kind in ("self", "cross")
    ],
    (r"(^|\.)mha_(self|cross)\.out_proj\.", r"\1\2_attention.output."),
    (r"(^|\.)norm1_cc\.", r"\1attention_norms.0."),
    (r"(^|\.)norm1_mlo\.", r"\1attention_norms.1."),
    (r"(^|\.)norm2_cc\.", r"\1ffn_norms.0."),
    (r"(^|\.)norm2_mlo\.", r"\1ffn_norms.1."),
    (r"(^|\.)ffn_cc\.net\.", r"\1ffns.0."),
    (r"(^|\.)ffn_mlo\.net\.", r"\1ffns.1."),
]

# BCRBench LMV-Net; its registration network is left under "registration.", in MammoRegNet's own names.
LMV_NET: Table = [
    (r"^longitudinal_feat_processor\.positional_encoding\.pe$", None),  # constant table
    (r"^longitudinal_feat_processor\.mammo_reg_net\.", "registration."),
    (r"^longitudinal_feat_processor\.encoder\.", "encoder."),
    (r"^cross_attn_blocks\.", "head.blocks."),
    (r"^view_fc\.", "head.fusion."),
    (r"^cumulative_risk\.", "head.risk."),
    *MIRAI_TRUNK,
    *DUAL_STREAM,
    *CUMULATIVE,
]


def encoder_table(keys: Iterable[str]) -> Table:
    """The table for an image encoder's state dict: Mirai's if its names are there, else torchvision's (and ours)."""
    return MIRAI_TRUNK if any("downsampler." in key for key in keys) else RESNET


def rename(state: Mapping[str, Tensor], table: Table) -> State:
    """The state dict under our names, rules applied in order.

    Raises:
        ValueError: two keys end up under one name (a defect of the table).
    """
    renamed: State = {}
    for key, tensor in state.items():
        for name, part in _apply(key, tensor, table):
            if name in renamed:
                raise ValueError(f"two keys become {name!r}, the second is {key!r}")
            renamed[name] = part
    return renamed


def _apply(key: str, tensor: Tensor, table: Table) -> list[tuple[str, Tensor]]:
    for pattern, replacement in table:
        if replacement is None:
            if re.search(pattern, key):
                return []
        elif isinstance(replacement, str):
            key = re.sub(pattern, replacement, key)
        elif re.search(pattern, key):
            names = [re.sub(pattern, name, key) for name in replacement]
            return list(zip(names, tensor.chunk(len(names)), strict=True))
    return [(key, tensor)]
