"""The Swin transformer layer (Liu et al., ICCV 2021): attention within windows of a feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SwinLayer(nn.Module):
    """Window attention and MLP, each after a LayerNorm and on a residual branch.

    Args:
        dim: C, channels.
        num_heads: attention heads.
        window: side of a window.
        shift: how far the windows are shifted; 0 for not at all.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, window: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, num_heads, window)
        self.mlp_norm = nn.LayerNorm(dim)
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, H, W, C] -> [N, H, W, C]."""
        tokens = tokens + self._attend(self.attention_norm(tokens))
        output: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return output

    def _attend(self, tokens: Tensor) -> Tensor:
        rows, columns = tokens.shape[1:3]
        below, right = -rows % self.window, -columns % self.window
        padded = F.pad(tokens, (0, 0, 0, right, 0, below))  # [N, H, W, C] -> [N, H', W', C]
        size = (rows + below, columns + right)
        rolled = padded.roll((-self.shift, -self.shift), dims=(1, 2)) if self.shift else padded
        apart = shifted_window_mask(size, self.window, self.shift, tokens.device) if self.shift else None
        attended = join_windows(self.attention(split_windows(rolled, self.window), apart), self.window, size)
        if self.shift:
            attended = attended.roll((self.shift, self.shift), dims=(1, 2))
        return attended[:, :rows, :columns]  # [N, H', W', C] -> [N, H, W, C]


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias for each relative position.

    Args:
        dim: C, channels.
        num_heads: heads; divides ``dim``.
        window: side of a window; a window has L = window² positions.
    """

    relative_position: Tensor

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.output = nn.Linear(dim, dim)
        self.position_bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, num_heads))
        nn.init.trunc_normal_(self.position_bias, std=0.02)
        self.register_buffer("relative_position", relative_positions(window), persistent=False)

    def forward(self, windows: Tensor, apart: Tensor | None = None) -> Tensor:
        """Attend within each window.

        Args:
            windows: [N, M, L, C], M windows of each image.
            apart: pairs of positions that must not attend to each other, [M, L, L] bool.

        Returns:
            [N, M, L, C].
        """
        count, num, length, dim = windows.shape
        qkv = self.qkv(windows).reshape(count, num, length, 3, self.num_heads, dim // self.num_heads)
        # [N, M, L, 3, heads, d] -> 3 x [N, M*heads, L, d]: windows count as heads, so that all images share one mask
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3).unbind(0)
        bias = self.position_bias[self.relative_position].permute(2, 0, 1)  # [L, L, heads] -> [heads, L, L]
        mask = bias.expand(num, -1, -1, -1)  # [M, heads, L, L]
        if apart is not None:
            mask = mask.masked_fill(apart.unsqueeze(1), float("-inf"))
        mask = mask.flatten(0, 1).to(query.dtype).expand(count, -1, -1, -1)  # [N, M*heads, L, L]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        attended = attended.reshape(count, num, self.num_heads, length, -1).transpose(2, 3).flatten(3)
        output: Tensor = self.output(attended)  # [N, M, L, C]
        return output


def split_windows(tokens: Tensor, window: int) -> Tensor:
    """Tokens [N, H, W, C], sides divisible by ``window``, -> [N, M, window², C], windows row by row."""
    count, rows, columns, dim = tokens.shape
    tiles = tokens.reshape(count, rows // window, window, columns // window, window, dim)
    return tiles.transpose(2, 3).reshape(count, -1, window * window, dim)


def join_windows(windows: Tensor, window: int, size: Sequence[int]) -> Tensor:
    """The reverse of ``split_windows``: [N, M, window², C] -> [N, H, W, C] of ``size`` (H, W)."""
    rows, columns = size
    tiles = windows.reshape(windows.shape[0], rows // window, columns // window, window, window, -1)
    return tiles.transpose(2, 3).reshape(windows.shape[0], rows, columns, -1)


def relative_positions(window: int) -> Tensor:
    """Row of the bias table for each pair of positions in a window, [L, L] int64: (dr + w-1)(2w-1) + dc + w-1."""
    axis = torch.arange(window)
    r, c = (grid.flatten() for grid in torch.meshgrid(axis, axis, indexing="ij"))
    down, along = r[:, None] - r, c[:, None] - c  # [L, L], query minus key
    return (down + window - 1) * (2 * window - 1) + along + window - 1


def shifted_window_mask(size: Sequence[int], window: int, shift: int, device: torch.device | None = None) -> Tensor:
    """Mask of pairs that share a shifted window only because the map was rolled, [M, L, L] bool."""
    region = torch.zeros(1, *size, 1, dtype=torch.int64, device=device)
    for axis, extent in enumerate(size, start=1):
        place = torch.arange(extent, device=device)
        part = (place >= extent - window).long() + (place >= extent - shift).long()  # 0 | 1 | 2, the last rolled in
        region = 3 * region + part.reshape([-1 if dim == axis else 1 for dim in range(4)])
    inside = split_windows(region, window)[0, :, :, 0]  # [M, L]
    return inside.unsqueeze(1) != inside.unsqueeze(2)
