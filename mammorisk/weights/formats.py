"""Formats of weights from other sources: how each is recognised, renamed and checked, and its image settings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from hydra.utils import get_object
from torch import nn

from mammorisk.errors import UserError
from mammorisk.weights import renaming
from mammorisk.weights.image_settings import BCRBENCH_IMAGES, IMAGENET_IMAGES, MIRAI_IMAGES, ImageSettings
from mammorisk.weights.loading import check_fits
from mammorisk.weights.renaming import State, Table

ENCODER = "mammorisk.models.encoders.ResNetEncoder"
REGISTRATION = "mammorisk.registration.mammoregnet.MammoRegNet"


@dataclass(frozen=True)
class WeightFormat:
    """A format of weights.

    A new format is an entry in ``FORMATS``: names that identify it, its renaming table, and the class that it fills.
    """

    name: str  # for kind= of mammorisk-import-weights
    title: str  # for messages
    markers: tuple[str, ...]  # regular expressions; each is found in some key
    table: Table
    target: str | None = None  # class of ours that the renamed weights fill; None: not checked
    images: ImageSettings | None = None  # None: it takes no images, or the weights hold them
    settings: Callable[[State], dict[str, Any]] = lambda state: {}  # sizes of the class, from the renamed weights


def width_of(state: State, key: str, axis: int = 0) -> int:
    """Size of a tensor along an axis; 1 if it is missing or empty, which the comparison of keys reports."""
    tensor = state.get(key)
    return tensor.shape[axis] if tensor is not None and tensor.dim() > axis and tensor.numel() else 1


def _encoder_sizes(state: State) -> dict[str, Any]:
    return {"width": width_of(state, "conv1.weight")}


MOST_LAYERS = 25  # of a transformer that is built to compare: one more than bounds allow


def _aggregator_sizes(state: State) -> dict[str, Any]:
    return {
        "in_features": width_of(state, "projection.weight", 1),
        "hidden_dim": width_of(state, "projection.weight"),
        "num_heads": 1,  # no tensor's shape depends on it
        "num_layers": min(MOST_LAYERS, len({key.split(".")[1] for key in state if key.startswith("layers.")})),
        "dropout": 0.0,
        "risk_factors": any(key.startswith("risk_factors.") for key in state),
        "max_followup": width_of(state, "risk.hazards.weight"),
    }


# The first whose markers are all there is taken, so whole models come before the parts they hold.
FORMATS: list[WeightFormat] = [
    WeightFormat(
        "lmv_net",
        "BCRBench's LMV-Net",
        (r"^cross_attn_blocks\.", r"^view_fc\."),
        [*renaming.LMV_NET, *renaming.MAMMOREGNET],
        "mammorisk.models.lmv_net.LMVNet",
        BCRBENCH_IMAGES,
    ),
    WeightFormat(
        "imgfeatalign",
        "BCRBench's ImgFeatAlign",
        (r"^encoder\.", r"^risk_model\.attention_layer\."),
        [*renaming.IMGFEATALIGN, *renaming.MAMMOREGNET],
        "mammorisk.models.imgfeatalign.ImgFeatAlign",
        BCRBENCH_IMAGES,
    ),
    WeightFormat(
        "oa_breacr",
        "BCRBench's OA-BreaCR",
        (r"^model\.model\.0\.", r"^POELatent\."),
        renaming.OA_BREACR,
        "mammorisk.models.oa_breacr.OABreaCR",
        BCRBENCH_IMAGES,
        # The attention map has a weight per position, in whatever shape.
        lambda state: {"image_size": (32 * width_of(state, "pool.norm.weight"), 32)},
    ),
    WeightFormat(
        "vmra_mar",
        "BCRBench's VMRA-MaR",
        (r"^image_encoder\.", r"^vmrnn\.", r"^sad\."),
        renaming.VMRA_MAR,
        "mammorisk.models.vmra_mar.VMRAMaR",
        BCRBENCH_IMAGES,
        lambda state: {"orientation": "native"},
    ),
    WeightFormat(
        "mirai",
        "BCRBench's Mirai",
        (r"^image_encoder\.", r"^transformer\.transformer\."),
        renaming.MIRAI,
        "mammorisk.models.mirai.Mirai",
        BCRBENCH_IMAGES,
    ),
    WeightFormat(
        "mammoregnet",
        "MammoRegNet",
        (r"^Encoder\.conv_1\.", r"^Decoder\."),
        renaming.MAMMOREGNET,
        REGISTRATION,
    ),
    WeightFormat(
        "mirai_transformer",
        "Mirai's transformer",
        (r"^transformer\.transformer_layer_0\.", r"^projection_layer\."),
        renaming.MIRAI_TRANSFORMER,
        "mammorisk.models.mirai.ImageAggregator",
        None,
        _aggregator_sizes,
    ),
    WeightFormat(
        "mirai_encoder",
        "Mirai's image encoder",
        (r"^_model\.downsampler\.",),
        renaming.MIRAI_TRUNK,
        ENCODER,
        MIRAI_IMAGES,
        _encoder_sizes,
    ),
    WeightFormat(
        "bcrbench_encoder",
        "BCRBench's image encoder",
        (r"^(downsampler|0)\.conv1\.",),
        renaming.MIRAI_TRUNK,
        ENCODER,
        BCRBENCH_IMAGES,
        _encoder_sizes,
    ),
    WeightFormat(
        "resnet",
        "ResNet-18 in torchvision's names",
        (r"^conv1\.weight$", r"^layer1\.0\.conv1\."),
        renaming.RESNET,
        ENCODER,
        IMAGENET_IMAGES,
        _encoder_sizes,
    ),
    WeightFormat("mammorisk", "a model of mammorisk's", (r"^encoder\.conv1\.weight$", r"^encoder\.layer1\.0\."), []),
]


def find_format(keys: Iterable[str]) -> WeightFormat | None:
    """Find the format of a state dict by its keys; None if it is unknown."""
    keys = list(keys)
    return next((kind for kind in FORMATS if all(_any(marker, keys) for marker in kind.markers)), None)


def check_whole(kind: WeightFormat, state: State, source: str) -> None:
    """Compare renamed weights with the class that they fill, built with published or the weights' own sizes.

    Raises:
        UserError: lists keys that are missing, left over or of another shape.
    """
    if kind.target is None:
        return
    try:
        with torch.device("meta"):  # shapes without memory
            module = _built(kind.target, kind.settings(state), state)
    except (RuntimeError, ValueError, TypeError, ArithmeticError, LookupError) as error:
        raise UserError(
            f"The weights in {source} cannot be those of {kind.title}: no such network can be built of their sizes "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})."
        ) from error
    check_fits(module, state, source)


def _built(target: str, settings: dict[str, Any], state: State) -> nn.Module:
    parameters = inspect.signature(get_object(target)).parameters
    if "encoder" in parameters:
        settings["encoder"] = get_object(ENCODER)(width=width_of(state, "encoder.conv1.weight"))
    if "registration" in parameters:
        settings["registration"] = get_object(REGISTRATION)()
    return cast(nn.Module, get_object(target)(**settings))


def _any(marker: str, keys: list[str]) -> bool:
    return any(re.search(marker, key) for key in keys)
