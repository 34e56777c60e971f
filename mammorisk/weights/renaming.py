"""Renaming tables: keys of foreign state dicts to ours.

A table is a list of rules (pattern, replacement), applied to every key one after the other with `re.sub`. The
replacement ``None`` drops the key; a tuple of names splits the tensor into equal parts along its first dimension; a
function changes the tensor and leaves the key. Checkpoints and the reference state dicts of our tests go through the
same tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

State = dict[str, Tensor]
Replacement = str | tuple[str, ...] | Callable[[Tensor], Tensor] | None
Table = list[tuple[str, Replacement]]

_QKV = ("query", "key", "value")  # torch packs these into one in_proj

# ResNet-18 as torchvision names it, and so do we.
RESNET: Table = [
    (r"^fc\.", None),  # ImageNet's classifier
]

# Trunk of the Mirai image encoder (onconet classes). Its snapshot holds the whole stage-one model.
MIRAI_TRUNK: Table = [
    (r"^_model\.(pool|fc|prob_of_failure_layer)\.", None),  # stage one's risk factors, classifier and hazards
    (r"^_model\.", ""),
    (r"(^|encoder\.)0\.(conv1|bn1)\.", r"\1\2."),  # BCRBench saves the trunk as a sequence of nine modules
    *[(rf"(^|encoder\.){1 + i}\.(conv|bn|down)", rf"\1layer{1 + i // 2}.{i % 2}.\2") for i in range(8)],
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
    (r"(^|\.)pool\.internal_pool\.", r"\1pool."),  # with risk factors one pool is nested in another
    (r"(^|\.)pool\.attention_fc\.", r"\1pool.score."),
    (r"(^|\.)pool\.(\w+)_fc\.", r"\1risk_factors.of.\2."),
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
            tuple(rf"\1{kind}_attention.{part}.\2" for part in _QKV),
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

# BCRBench ImgFeatAlign; its registration network is left under "registration.", in MammoRegNet's own names.
IMGFEATALIGN: Table = [
    (r"(^|\.)positional_encoding\.pe$", None),  # constant table
    (r"^mammo_reg_net\.", "registration."),
    (r"^risk_model\.", "head."),
    (r"^head\.head_(fused|cur|pri)\.", r"head.risk.\1."),
    (r"^head\.feature_projection\.", "head.projection."),
    (
        r"^head\.attention_layer\.attn\.in_proj_(weight|bias)$",
        tuple(rf"head.layer.attention.{part}.\1" for part in _QKV),
    ),
    (r"^head\.attention_layer\.attn\.out_proj\.", "head.layer.attention.output."),
    (r"^head\.attention_layer\.ff\.", "head.layer.ffn."),
    (r"^head\.attention_layer\.norm1\.", "head.layer.attention_norm."),
    (r"^head\.attention_layer\.norm2\.", "head.layer.ffn_norm."),
    *MIRAI_TRUNK,
    *CUMULATIVE,
]


# BCRBench VMRA-MaR -> vmra_mar.VMRAMaR. Blocks are counted from 0; only the first one joins the hidden state.
VMRA_MAR: Table = [
    (r"^image_encoder\.", "encoder."),
    (r"^vmrnn\.Upsample\.", None),  # BCRBench's risk does not use its output
    (r"^vmrnn\.Downsample\.layers\.0\.", "recurrence.cell."),
    (r"(^|\.)VSBs\.(\d+)\.", r"\1blocks.\2."),
    (r"(^|\.)blocks\.0*[1-9]\d*\.linear\.", None),
    (r"(^|\.)linear\.", r"\1join."),
    (r"(^|\.)ln_1\.", r"\1norm."),
    (r"(^|\.)self_attention\.", r"\1ss2d."),
    (r"(^|\.)conv2d\.", r"\1conv."),
    (r"(^|\.)(x|dt)_projs?_weight$", r"\1\2_proj"),
    (r"(^|\.)dt_projs_bias$", r"\1dt_bias"),
    (r"(^|\.)A_logs$", r"\1A_log"),
    (r"(^|\.)Ds$", r"\1D"),
    (r"^sad\.", "detector."),
    (r"(^|\.)(cc|mlo)_stretch_params$", r"\1stretch_\2"),
    (r"(^|\.)learned_asym_(mean|std)$", r"\1\2"),
    (r"^ahl\.", "risk_layer."),
    *MIRAI_TRUNK,
    *CUMULATIVE,
]

# BCRBench OA-BreaCR. Its learned field is (dx, dy), ours (dy, dx): the two channels of its last layer change places.
OA_BREACR: Table = [
    (r"^pos_encoding\.pe$", None),  # constant table
    (r"^model\.model\.0\.", "encoder.conv1."),
    (r"^model\.model\.1\.", "encoder.bn1."),
    *[(rf"^model\.model\.{3 + stage}\.", f"encoder.layer{stage}.") for stage in (1, 2, 3, 4)],
    (r"^pooling\.attention_fc\.", "pool.score."),
    (r"^pooling\.norm\.", "pool.norm."),
    *[(rf"^flew\.block{1 + i}\.{name}\.", f"field.{i}.{j}.") for i in (0, 1) for j, name in enumerate(("conv", "bn"))],
    (r"^field\.1\.(0\.weight|1\.(weight|bias|running_mean|running_var))$", lambda channels: channels.flip(0)),
    (r"^mlp\.", "fusion."),
    (r"^POELatent\.embed\.", "embedding.mean."),
    (r"^POELatent\.log_var\.", "embedding.log_variance."),
    (r"^final\.", "final_head."),
    (r"^final_single\.", "exam_head."),
    (r"^difference_single\.", "difference_head."),
]
# MammoRegNet's own names (also inside BCRBench's risk models) -> ours.
MAMMOREGNET: Table = [
    (r"^network\.", ""),  # a checkpoint of mammorisk-register, in our names already
    (r"\.relative_position_index$", None),  # constant
    (r"(^|\.)Encoder\.conv_1\.", r"\1encoder.blocks.0."),
    (r"(^|\.)Encoder\.conv_2\.", r"\1encoder.blocks.1."),
    (r"(^|\.)Encoder\.conv_3\.", r"\1encoder.blocks.2."),
    (r"(^|\.)Encoder\.conv_4\.", r"\1encoder.blocks.3."),
    (r"(^|\.)Encoder\.conv_5\.", r"\1encoder.blocks.4."),
    (r"(^|\.)Decoder\.backdim_5\.", r"\1coarse.reduce."),
    (r"(^|\.)Decoder\.trans_5\.", r"\1coarse.attention."),
    (r"(^|\.)Decoder\.reghead_5\.affine_head_1\.", r"\1coarse.affine.0."),
    (r"(^|\.)Decoder\.reghead_5\.affine_head_2\.", r"\1coarse.affine.2."),
    (r"(^|\.)Decoder\.upsample_(\d)\.up_conv\.", r"\1fine.\2.up."),
    (r"(^|\.)Decoder\.upsample_(\d)\.norm\.", r"\1fine.\2.up_norm."),
    (r"(^|\.)Decoder\.backdim_(\d)\.", r"\1fine.\2.mix.0."),
    (r"(^|\.)Decoder\.trans_(\d)\.", r"\1fine.\2.mix.1."),
    (r"(^|\.)Decoder\.conv_(\d)\.", r"\1fine.\2.mix."),
    (r"(^|\.)Decoder\.reghead_(\d)\.reg_head\.", r"\1fine.\2.head."),
    (r"\.Conv_1\.", ".0."),
    (r"\.Conv_2\.", ".3."),
    (r"\.blocks\.(\d+)\.norm1\.", r".layers.\1.attention_norm."),
    (r"\.blocks\.(\d+)\.norm2\.", r".layers.\1.mlp_norm."),
    (r"\.blocks\.(\d+)\.attn\.relative_position_bias_table$", r".layers.\1.attention.position_bias"),
    (r"\.blocks\.(\d+)\.attn\.proj\.", r".layers.\1.attention.output."),
    (r"\.blocks\.(\d+)\.attn\.", r".layers.\1.attention."),
    (r"\.blocks\.(\d+)\.mlp\.linear1\.", r".layers.\1.mlp.0."),
    (r"\.blocks\.(\d+)\.mlp\.linear2\.", r".layers.\1.mlp.2."),
]


def encoder_table(keys: Iterable[str]) -> Table:
    """Choose the table for an image encoder's state dict: Mirai's by its names, else torchvision's (and ours)."""
    return MIRAI_TRUNK if any(re.search(r"(^|\.)(downsampler|0)\.conv1\.", key) for key in keys) else RESNET


def rename(state: Mapping[str, Tensor], table: Table) -> State:
    """Rename a state dict to our names; rules are applied in order.

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
        elif not re.search(pattern, key):
            continue
        elif callable(replacement):
            tensor = replacement(tensor)
        else:
            names = [re.sub(pattern, name, key) for name in replacement]
            return list(zip(names, tensor.chunk(len(names)), strict=True))
    return [(key, tensor)]
