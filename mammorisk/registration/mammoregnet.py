"""MammoRegNet: coarse-to-fine registration of two mammograms of one breast and view, affine first, then deformable.

ImgFeatAlign (Thrun et al., MICCAI 2025, arXiv 2506.19363) and LMV-Net (arXiv 2607.11343) align prior exams with this
network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.registration.pyramid import CoarseLevel, FineLevel, PyramidEncoder, affine_field, double
from mammorisk.registration.swin import SwinStage
from mammorisk.warping import resize_displacement, warp
from mammorisk.weights.loading import load_state, read_state_dict
from mammorisk.weights.renaming import MAMMOREGNET

CacheSize = Literal["feature", "registration"]
Precision = Literal["float32", "bfloat16"]


@dataclass
class Registered:
    """Result of registering N pairs, at the images' own resolution."""

    displacement: Tensor  # [N, 2, H, W] pixels | (dy, dx): fixed(r, c) lies at moving(r + dy, c + dx)
    affine: Tensor  # [N, 6] | two rows of the map of (x, y) in [-1, 1], less the identity
    affine_displacement: Tensor  # [N, 2, H, W] pixels | the affine part alone
    warped: Tensor | None = None  # [N, 1, H, W] | moving, warped by the displacement
    affine_warped: Tensor | None = None  # [N, 1, H, W] | moving, warped by the affine part


class MammoRegNet(nn.Module):
    """Registration network; defaults are the published architecture (4.8 M parameters).

    Args:
        image_size: (rows, columns) the network works at; images are resized to it, and the displacement back to theirs
            (published: 1024 x 512). None: at the images' own size.
        checkpoint: weights, ``.safetensors`` or torch file in MammoRegNet's own names. None: random weights, whose
            displacement is close to zero and means nothing.
        channels: of the encoder's levels, finest first.
        decoder_channels: of the decoder's levels, coarsest first; the last is a conv block, the others Swin layers.
        num_heads: attention heads of the Swin levels, coarsest first.
        depth: Swin layers per level.
        window: side of an attention window, in positions.
        shift: how far every other layer shifts its windows.
        mlp_ratio: hidden width of the Swin layers' MLP over their channels.
        cache: folder where a risk training keeps the displacement of each pair (``caching/displacements.py``); the
            network itself does not use it. None: displacements are computed for every batch.
        cache_size: grid of the kept displacements: ``feature``, on which the model warps, or ``registration``, of
            ``image_size``.
        precision: of the network, ``float32`` or ``bfloat16``; the displacement is float32 in both.
        compile: compile the network by ``torch.compile`` where no gradient is needed, for each size of images and
            batch at its first use.

    Raises:
        UserError: the checkpoint is missing, unreadable or of another architecture (lists the keys), the numbers of
            levels do not match, or a setting has another value than allowed.
    """

    def __init__(
        self,
        image_size: Sequence[int] | None = None,
        checkpoint: str | Path | None = None,
        channels: Sequence[int] = (8, 16, 32, 64, 128),
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        num_heads: Sequence[int] = (16, 8, 4, 2),
        depth: int = 4,
        window: int = 5,
        shift: int = 2,
        mlp_ratio: float = 4,
        cache: str | Path | None = None,
        cache_size: CacheSize = "feature",
        precision: Precision = "float32",
        compile: bool = False,
    ) -> None:
        super().__init__()
        _check_architecture(image_size, channels, decoder_channels, num_heads)
        _check_choice("cache_size", cache_size, get_args(CacheSize))
        _check_choice("precision", precision, get_args(Precision))
        self.cache, self.cache_size = cache, cache_size
        self.precision, self.compiled = precision, compile
        self.image_size = (int(image_size[0]), int(image_size[1])) if image_size is not None else None
        # What its displacements depend on besides the weights, for the cache's key.
        self.settings = {
            "image_size": None if self.image_size is None else list(self.image_size),
            **{"channels": list(channels), "decoder_channels": list(decoder_channels), "num_heads": list(num_heads)},
            **{"depth": depth, "window": window, "shift": shift, "mlp_ratio": float(mlp_ratio)},
            **({"precision": precision} if precision != "float32" else {}),  # older caches stay
        }
        self.multiple = 2 ** (len(channels) - 1)  # pixels per position of the coarsest level
        swin = [
            SwinStage(dim, depth, heads, window, shift, mlp_ratio)
            for dim, heads in zip(decoder_channels, num_heads, strict=False)
        ]
        self.encoder = PyramidEncoder(channels)
        self.coarse = CoarseLevel(channels[-1], decoder_channels[0], swin[0])
        self.fine = nn.ModuleDict()  # by the level's number as published: 1 is the finest
        for i, stage in enumerate([*swin[1:], None], start=1):
            level = len(channels) - i
            self.fine[str(level)] = FineLevel(channels[level - 1], decoder_channels[i - 1], decoder_channels[i], stage)
        if checkpoint is not None:
            load_state(self, read_state_dict(checkpoint), MAMMOREGNET, str(checkpoint))

    def forward(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Compute the displacement that warps ``moving`` onto ``fixed``.

        Args:
            fixed: the current exam's images, [N, 1, H, W] in [0, 1].
            moving: the prior exam's images, same breast and view, [N, 1, H, W] in [0, 1].

        Returns:
            (dy, dx) in pixels of the images, [N, 2, H, W].

        Raises:
            ValueError: the images differ in shape.
        """
        return self.register(fixed, moving).displacement

    def register(self, fixed: Tensor, moving: Tensor, images: bool = False) -> Registered:
        """Register as ``forward`` does; return the affine part too, and the warped images if ``images``."""
        return self._registered(fixed, moving, images, only_affine=False)

    def _registered(self, fixed: Tensor, moving: Tensor, images: bool, only_affine: bool) -> Registered:
        if fixed.shape != moving.shape:
            raise ValueError(f"expected images of one shape, got {list(fixed.shape)} and {list(moving.shape)}")
        own, work = (fixed.shape[-2], fixed.shape[-1]), self.image_size or (fixed.shape[-2], fixed.shape[-1])
        below, right = -work[0] % self.multiple, -work[1] % self.multiple
        pair = [F.pad(_resized(image, work), (0, right, 0, below)) for image in (fixed, moving)]
        find = _compiled_find() if self.compiled and not torch.is_grad_enabled() else MammoRegNet._find
        with torch.autocast(fixed.device.type, torch.bfloat16) if self.precision == "bfloat16" else nullcontext():
            displacement, affine = find(self, pair[0], pair[1], only_affine)
        affine_displacement = affine_field(affine, (work[0] + below, work[1] + right))
        displacements = [
            resize_displacement(field[..., : work[0], : work[1]], own)
            for field in (affine_displacement if displacement is None else displacement, affine_displacement)
        ]
        warped = [warp(moving, field) for field in displacements] if images else [None, None]
        return Registered(displacements[0], affine, displacements[1], *warped)

    def _find(self, fixed: Tensor, moving: Tensor, only_affine: bool) -> tuple[Tensor | None, Tensor]:
        """Displacement [N, 2, H, W] (not with ``only_affine``) and affine parameters [N, 6]; H, W in ``multiple``s."""
        if not torch.is_grad_enabled() and fixed.device.type == "cpu":  # convolutions and norms take half the time so
            fixed, moving = (image.to(memory_format=torch.channels_last) for image in (fixed, moving))
        fixed_maps, moving_maps = self.encoder(fixed), self.encoder(moving)
        features, affine = self.coarse(fixed_maps[-1], moving_maps[-1])
        if only_affine:
            return None, affine
        field = affine_field(affine, (features.shape[-2], features.shape[-1]))
        for level, refine in self.fine.items():
            at = int(level) - 1
            features, field = refine(fixed_maps[at], moving_maps[at], features, double(field))
        return field, affine


@functools.cache
def _compiled_find() -> Callable[..., tuple[Tensor | None, Tensor]]:
    """The compiled function of the class: copies of a network share it."""
    return torch.compile(MammoRegNet._find, dynamic=False)


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"registration.{name}={value}: expected {' or '.join(choices)}.")


def _check_architecture(
    image_size: Sequence[int] | None,
    channels: Sequence[int],
    decoder_channels: Sequence[int],
    num_heads: Sequence[int],
) -> None:
    if image_size is not None and (len(image_size) != 2 or min(image_size) < 1):
        raise UserError(f"registration.image_size: expected [rows, columns] or null, found {list(image_size)}.")
    if not len(channels) == len(decoder_channels) == len(num_heads) + 1 > 1:
        raise UserError(
            "registration: expected as many decoder_channels as channels, at least two, and one num_heads fewer; "
            f"found channels={list(channels)}, decoder_channels={list(decoder_channels)}, num_heads={list(num_heads)}."
        )
    if any(dim % heads for dim, heads in zip(decoder_channels, num_heads, strict=False)):
        raise UserError(
            f"registration.num_heads: expected divisors of the decoder_channels {list(decoder_channels)[:-1]}, "
            f"found {list(num_heads)}."
        )


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Image [N, 1, H, W] -> [N, 1, *size], low-pass filtered where it shrinks."""
    if tuple(image.shape[-2:]) == size:
        return image
    return F.interpolate(image, size=size, mode="bilinear", antialias=True, align_corners=False)
