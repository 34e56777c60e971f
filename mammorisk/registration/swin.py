"""Swin transformer layers (Liu et al., ICCV 2021): attention within windows, shifted in every other layer."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.registration.swin_inference import through_layers
from mammorisk.registration.window_attention import WindowAttention, join_windows, shifted_window_mask, split_windows


class SwinStage(nn.Module):
    """Swin layers at one resolution, odd ones with shifted windows.

    Args:
        dim: C, channels.
        depth: number of layers.
        num_heads: attention heads; divides ``dim``.
        window: side of a window in positions.
        shift: how far the windows of odd layers are shifted.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, depth: int, num_heads: int, window: int, shift: int, mlp_ratio: float) -> None:
        super().__init__()
        shifts = [shift if layer % 2 else 0 for layer in range(depth)]
        self.layers = nn.ModuleList(SwinLayer(dim, num_heads, window, s, mlp_ratio) for s in shifts)

    def forward(self, features: Tensor) -> Tensor:
        """Feature map [N, C, H, W] of any size -> [N, C, H, W]."""
        tokens = features.permute(0, 2, 3, 1)  # [N, C, H, W] -> [N, H, W, C]
        # A GPU has one kernel for the attention of all windows; nothing else was measured there.
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or tokens.device.type != "cpu":
            for layer in self.layers:
                tokens = layer(tokens)
        else:
            tokens = through_layers(self.layers, tokens)  # type: ignore[arg-type]
        return tokens.permute(0, 3, 1, 2)  # [N, H, W, C] -> [N, C, H, W]


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
