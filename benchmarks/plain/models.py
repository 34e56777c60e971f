"""Plain variants of our models: the same weights and arithmetic, written in the common way."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.models.attention import MultiHeadAttention
from mammorisk.models.base import RiskModel
from mammorisk.models.encoders import GreyConv2d, PointwiseConv2d, ResNetEncoder
from mammorisk.registration.mammoregnet import Registered
from mammorisk.registration.swin import SwinStage
from plain.swin import PlainStage


class PlainAttention(nn.Module):
    """A MultiHeadAttention's arithmetic with its weights: all attention weights are in memory.

    Args:
        attention: whose layers are taken over.
    """

    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.num_heads, self.dropout = attention.num_heads, attention.dropout
        self.query, self.key, self.value, self.output = (
            getattr(attention, name) for name in ("query", "key", "value", "output")
        )

    def forward(self, x: Tensor, context: Tensor | None = None, key_mask: Tensor | None = None) -> Tensor:
        """Attend as MultiHeadAttention does."""
        context = x if context is None else context
        query, key, value = (
            layer(given).reshape(*given.shape[:-1], self.num_heads, -1).transpose(1, 2)
            for layer, given in ((self.query, x), (self.key, context), (self.value, context))
        )
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # [B, heads, N, M]
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[:, None, None, :], float("-inf"))
        weights = F.dropout(scores.softmax(-1), self.dropout, self.training)
        output: Tensor = self.output((weights @ value).transpose(1, 2).flatten(2))
        return output


class PlainEncoder(nn.Module):
    """A ResNetEncoder on a grey image as three equal channels, channel by channel in memory.

    Args:
        encoder: whose layers are taken over.
    """

    def __init__(self, encoder: ResNetEncoder) -> None:
        super().__init__()
        self.trunk = replaced(encoder, (GreyConv2d, PointwiseConv2d), plain_convolution)
        self.trunk.to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 1, H, W] -> [N, C, h, w]."""
        trunk = self.trunk
        x = (images.repeat(1, 3, 1, 1) * 65535.0 - trunk.input_mean) / trunk.input_std
        x = trunk.maxpool(F.relu(trunk.bn1(trunk.conv1(x)), inplace=True))
        features: Tensor = trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x))))
        return features


class PlainRegistration(nn.Module):
    """A MammoRegNet that also warps the image and, in training, builds the graph of what it computes.

    Args:
        registration: a MammoRegNet; its weights are taken over, and its Swin layers written plainly.
        graph_of: as if it was not frozen; number of views, registered one after the other, each with its graph.
            None: no graph, all images at once.
    """

    def __init__(self, registration: Any, graph_of: int | None) -> None:
        super().__init__()
        self.network = replaced(registration, SwinStage, PlainStage)
        self.network.encoder.register_forward_pre_hook(channel_by_channel)
        self.graph_of = graph_of
        self.kept: list[Registered] = []  # as the variables of a model's forward pass are, until it ends
        self.image_size = registration.image_size
        if graph_of:
            registration.requires_grad_(True)

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """(dy, dx) in pixels of the images, [N, 2, H, W]."""
        if not (self.graph_of and self.training):
            with torch.no_grad():
                return self.network.register(fixed, moving, images=True).displacement
        with torch.enable_grad():
            pairs = zip(fixed.chunk(self.graph_of), moving.chunk(self.graph_of), strict=True)
            found = [self.network.register(*pair, images=True) for pair in pairs]
        self.kept += found
        return torch.cat([each.displacement.detach() for each in found])


def channel_by_channel(_: nn.Module, given: tuple[Tensor, ...]) -> Tensor:
    """Lay the image of a call channel by channel in memory, and so all maps made of it."""
    return given[0].clone(memory_format=torch.contiguous_format)


def plain_convolution(convolution: nn.Conv2d) -> nn.Conv2d:
    """PyTorch's convolution with the weights of one of ours."""
    weight, stride, padding = convolution.weight, convolution.stride, convolution.padding
    plain = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], stride, padding, bias=False)  # type: ignore
    plain.weight = weight
    return plain


def replaced(module: nn.Module, kind: Any, plain: Any) -> Any:
    """Replace each part of a kind in a module by its plain form."""
    for name, part in module.named_children():
        if isinstance(part, kind):
            setattr(module, name, plain(part))
        else:
            replaced(part, kind, plain)
    return module


def plain_model(model: RiskModel, builds_graph: bool) -> RiskModel:
    """A risk model in plain form; it takes over the weights of the given model, which must not be used afterwards.

    Args:
        model: freshly built.
        builds_graph: whether the registration's graph is built, as the common LMV-Net does.
    """
    registration = getattr(model, "registration", None)
    if registration is not None:
        plain = PlainRegistration(registration, model.inputs.views if builds_graph else None)
        model.register_forward_hook(lambda *_: plain.kept.clear())
        model.registration = plain
    return replaced(replaced(model, MultiHeadAttention, PlainAttention), ResNetEncoder, PlainEncoder)
