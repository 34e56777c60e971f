"""A stage of Swin transformer layers (Liu et al., ICCV 2021), windows shifted in every other layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mammorisk.registration.swin_inference import through_layers
from mammorisk.registration.window_attention import SwinLayer


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
