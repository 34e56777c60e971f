"""Modules of MammoRegNet: encoder, coarse level with the affine map, fine levels that refine the field."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.registration.swin import SwinStage
from mammorisk.warping import affine_displacement, resize_displacement, warp

HEAD_STD = 1e-5  # of the heads' initial weights: the displacement of an untrained network is almost zero


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """Two times 3 x 3 convolution, LeakyReLU 0.2 and instance norm: [N, inputs, H, W] -> [N, outputs, H, W]."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, outputs, 3, padding=1), nn.LeakyReLU(0.2, inplace=True), ImageNorm(outputs)),
        *(nn.Conv2d(outputs, outputs, 3, padding=1), nn.LeakyReLU(0.2, inplace=True), ImageNorm(outputs)),
    )


class ImageNorm(nn.InstanceNorm2d):
    """Instance norm for channels-last maps without a copy; PyTorch's own copies them to channels first.

    PyTorch's group and batch norms are not exact for such maps: they sum in one float32 number, and are off by 3e-4.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        if torch.is_grad_enabled() or not input.is_contiguous(memory_format=torch.channels_last):
            return super().forward(input)
        lines = _at_least_float32(input.permute(0, 2, 3, 1))  # [N, C, H, W] -> [N, H, W, C]
        centred = lines - _mean(lines)
        normed = centred.mul_(torch.rsqrt(_mean(centred * centred) + self.eps))
        return normed.permute(0, 3, 1, 2).to(input.dtype)  # [N, H, W, C] -> [N, C, H, W]


def _mean(lines: Tensor) -> Tensor:
    """Mean over all positions of [N, H, W, C], over each row of the image first: [N, 1, 1, C]."""
    mean: Tensor = lines.sum(2, keepdim=True).sum(1, keepdim=True) / (lines.shape[1] * lines.shape[2])
    return mean


class PyramidEncoder(nn.Module):
    """Conv blocks with average pooling by 2 between them; fixed and moving images share it.

    Args:
        channels: of each level, finest first.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(conv_block(i, o) for i, o in zip([1, *channels], channels, strict=False))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Image [N, 1, H, W] -> feature maps [N, C_i, H / 2^i, W / 2^i], finest first."""
        features: list[Tensor] = []
        for block in self.blocks:
            image = F.avg_pool2d(features[-1], 2) if features else image
            features.append(block(image))
        return features


class CoarseLevel(nn.Module):
    """Affine map of the whole image, by Swin layers on both feature maps.

    Args:
        inputs: channels of each of the two maps.
        dim: D, channels of the Swin layers.
        attention: Swin layers of that width.
    """

    def __init__(self, inputs: int, dim: int, attention: SwinStage) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(2 * inputs, dim, 1)
        self.attention = attention
        last = nn.Linear(dim // 2, 6, bias=False)
        _start_still(last)
        self.affine = nn.Sequential(nn.Linear(dim, dim // 2, bias=False), nn.ReLU(), last)

    def forward(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
        """Feature maps [N, C, h, w] -> decoder features [N, D, h, w], affine parameters [N, 6] (off the identity)."""
        features: Tensor = self.attention(self.reduce(torch.cat((fixed, moving), dim=1)))
        return features, torch.tanh(_in_float32(self.affine, _at_least_float32(features).mean((2, 3))))


class FineLevel(nn.Module):
    """Refinement at twice the resolution: warp the moving features, estimate what is left, add it to the field.

    Args:
        inputs: channels of the fixed and of the moving feature map.
        above: channels of the decoder features of the coarser level.
        dim: D, channels of this level's decoder features.
        attention: Swin layers of that width, or None for a conv block.
    """

    def __init__(self, inputs: int, above: int, dim: int, attention: SwinStage | None) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(above, dim, 2, stride=2)
        self.up_norm = nn.LayerNorm(dim)
        joined = 2 * inputs + dim
        self.mix = conv_block(joined, dim) if attention is None else nn.Sequential(nn.Conv2d(joined, dim, 1), attention)
        self.head = nn.Conv2d(dim, 2, 3, padding=1)
        _start_still(self.head)

    def forward(self, fixed: Tensor, moving: Tensor, features: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
        """Refine ``field``.

        Args:
            fixed: feature map [N, C, h, w].
            moving: feature map [N, C, h, w].
            features: decoder features of the coarser level, [N, above, h/2, w/2].
            field: displacement in pixels of this level, [N, 2, h, w].

        Returns:
            Decoder features [N, D, h, w], refined displacement [N, 2, h, w].
        """
        up = self.up(features)  # [N, above, h/2, w/2] -> [N, D, h, w]
        up = self.up_norm(up.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # channels last and back
        warped = warp(moving, field)
        if fixed.is_contiguous(memory_format=torch.channels_last):  # so that all three have one memory format
            warped = warped.contiguous(memory_format=torch.channels_last)
        features = self.mix(torch.cat((fixed, up, warped), dim=1))
        return features, field + _in_float32(self.head, features)


def affine_field(parameters: Tensor, size: tuple[int, int]) -> Tensor:
    """Affine parameters [N, 6], off the identity, -> displacement [N, 2, H, W] in pixels of ``size``.

    The parameters are two rows of a map of positions as ``affine_displacement`` has them: x first.
    """
    identity = torch.eye(2, 3, device=parameters.device, dtype=parameters.dtype)
    return affine_displacement(identity + parameters.reshape(-1, 2, 3), size)  # [N, 6] -> [N, 2, 3]


def double(field: Tensor) -> Tensor:
    """Displacement [N, 2, h, w] on the grid of the next finer level, [N, 2, 2h, 2w], values doubled."""
    return resize_displacement(field, (2 * field.shape[-2], 2 * field.shape[-1]))


def _in_float32(head: nn.Module, features: Tensor) -> Tensor:
    """Output of a head without autocast: in bfloat16 a hundred pixels are off by half a pixel."""
    with torch.autocast(features.device.type, enabled=False):
        found: Tensor = head(_at_least_float32(features))
    return found


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _start_still(head: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(head.weight, std=HEAD_STD)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
