"""Weights of other people's files: read without running them, rename their keys by a table, load them strictly.

A table is a list of rules (pattern, replacement), applied to every key one after the other with `re.sub`. The
replacement ``None`` drops the key; a tuple of names splits the tensor into equal parts along its first dimension.
Checkpoints and the reference state dicts of our tests go through the same tables.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mammorisk.errors import UserError

State = dict[str, Tensor]
Table = list[tuple[str, str | tuple[str, ...] | None]]

# What torch.load raises, with weights_only, for a file that is no checkpoint or a part of one.
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)

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


def load_state(module: nn.Module, state: Mapping[str, Tensor], table: Table, source: str = "the checkpoint") -> None:
    """Load a state dict through a table, all of it into all of the module.

    Args:
        module: what to fill.
        state: key -> tensor, in the file's own names.
        table: renaming rules of the file's format.
        source: where the state comes from, for the message.

    Raises:
        UserError: keys are missing, left over or of another shape; lists them and leaves the module unchanged.
    """
    renamed, own = rename(state, table), module.state_dict()
    wrong = {
        "missing": [key for key in own if key not in renamed],
        "unexpected": [key for key in renamed if key not in own],
        "of another shape": [
            f"{key} {list(renamed[key].shape)}, expected {list(own[key].shape)}"
            for key in own
            if key in renamed and renamed[key].shape != own[key].shape
        ],
    }
    if any(wrong.values()):
        lines = [f"  {len(keys)} {what}: {_listed(keys)}" for what, keys in wrong.items() if keys]
        raise UserError(
            f"The weights in {source} do not fit {type(module).__name__} ({len(own)} tensors expected, "
            f"{len(renamed)} found):\n"
            + "\n".join(lines)
            + "\nUse the file of this very model, or set the model's sizes (width, heads, layers) to the file's."
        )
    module.load_state_dict(renamed)


def read_state_dict(path: str | Path) -> State:
    """Tensors of a ``.safetensors`` or torch file; nothing in the file is executed.

    A dict with ``model`` or ``state_dict`` is opened, and a ``module.`` prefix (DataParallel) taken off.

    Raises:
        UserError: no such file, not a checkpoint, a pickled module, or no tensors in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"Expected a file of weights at {path}, found none. Check the path (a value of the config).")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"Expected a state dict (name -> tensor, or a dict with one under 'model' or 'state_dict') in {path}, "
            f"found {_kind(content)}. Save the weights with torch.save(model.state_dict(), path)."
        )
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in content.items()}


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


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"Expected a safetensors file at {path}, could not read it: {error}.") from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            raise UserError(
                f"{path} is a pickled module or object, not a plain state dict: reading it would run its code "
                f"({_wanted_global(error)}). Nothing in it was executed. "
                "Give a file saved with torch.save(model.state_dict(), path)."
            ) from error
        raise _unreadable(path, error) from error
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"Expected a checkpoint (torch or .safetensors) at {path}, found a file that is none or is cut off: "
        f"{first_line}. Download or copy it again."
    )


def _wanted_global(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {found.group(1)}" if found else "it asks for a Python object"


def _listed(keys: list[str], most: int = 12) -> str:
    rest = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest


def _kind(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a dict with {_listed([str(key) for key in content])}" if content else "an empty dict"
