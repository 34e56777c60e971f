"""Swin layers in the common way: biases and masks computed for each map, attention weights in memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.registration.swin import SwinStage


class PlainStage(nn.Module):
    """A SwinStage's arithmetic with its weights.

    Args:
        stage: whose layers are taken over.
    """

    def __init__(self, stage: SwinStage) -> None:
        super().__init__()
        self.layers = stage.layers

    def forward(self, features: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        tokens = features.permute(0, 2, 3, 1).contiguous()
        side, shift = self.layers[-1].window, self.layers[-1].shift
        (rows, columns), mask = tokens.shape[1:3], None
        if shift:
            mask = shifted_mask(rows + -rows % side, columns + -columns % side, side, shift)
        for layer in self.layers:
            tokens = tokens + self._attend(layer, layer.attention_norm(tokens), mask if layer.shift else None)
            tokens = tokens + layer.mlp(layer.mlp_norm(tokens))
        return tokens.permute(0, 3, 1, 2).contiguous()

    @staticmethod
    def _attend(layer: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
        (rows, columns), side, shift = tokens.shape[1:3], layer.window, layer.shift
        tokens = F.pad(tokens, (0, 0, 0, -columns % side, 0, -rows % side))
        count, height, width, dim = tokens.shape
        if shift:
            tokens = tokens.roll((-shift, -shift), (1, 2))
        tiles = tokens.reshape(count, height // side, side, width // side, side, dim).transpose(2, 3)
        windows = tiles.reshape(-1, side * side, dim)  # [N M, L, C]
        seen = window_attention(layer.attention, windows, mask)
        tiles = seen.reshape(count, height // side, width // side, side, side, dim).transpose(2, 3)
        tokens = tiles.reshape(count, height, width, dim)
        if shift:
            tokens = tokens.roll((shift, shift), (1, 2))
        return tokens[:, :rows, :columns].contiguous()


def window_attention(attention: nn.Module, windows: Tensor, mask: Tensor | None) -> Tensor:
    """[N M, L, C] -> [N M, L, C]; ``mask`` [M, L, L] is added to the scores."""
    count, length, dim = windows.shape
    heads = attention.num_heads
    qkv = attention.qkv(windows).reshape(count, length, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
    query, key, value = qkv.unbind(0)  # [N M, heads, L, d] each
    scores = (query * (dim // heads) ** -0.5) @ key.transpose(-2, -1)  # [N M, heads, L, L]
    scores = scores + attention.position_bias[attention.relative_position].permute(2, 0, 1).unsqueeze(0)
    if mask is not None:
        scores = scores.reshape(-1, len(mask), heads, length, length) + mask[:, None]
        scores = scores.reshape(count, heads, length, length)
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(count, length, dim)
    output: Tensor = attention.output(mixed)
    return output


def shifted_mask(height: int, width: int, side: int, shift: int) -> Tensor:
    """0 or minus infinity for each pair of positions of each shifted window, [M, L, L]."""
    region = torch.zeros(1, height, width, 1)
    number = 0
    for down in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
        for along in (slice(0, -side), slice(-side, -shift), slice(-shift, None)):
            region[:, down, along] = number
            number += 1
    tiles = region.reshape(1, height // side, side, width // side, side, 1).transpose(2, 3).reshape(-1, side * side)
    apart = tiles.unsqueeze(1) - tiles.unsqueeze(2)
    return apart.masked_fill(apart != 0, float("-inf"))
