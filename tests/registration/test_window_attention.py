from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mammorisk.registration.window_attention import (
    WindowAttention,
    join_windows,
    relative_positions,
    shifted_window_mask,
    split_windows,
)


def plain_attention(layer: WindowAttention, window: Tensor, apart: Tensor | None = None) -> Tensor:
    """The textbook form for one window [L, C]: softmax(q k / sqrt(d) + bias) v, head by head, pair by pair."""
    length, dim = window.shape
    side, heads = int(length**0.5), layer.num_heads
    query, key, value = (layer.qkv(window)).reshape(length, 3, heads, dim // heads).permute(1, 2, 0, 3)
    scores = query @ key.transpose(-1, -2) / (dim // heads) ** 0.5  # [heads, L, L]
    for i in range(length):
        for j in range(length):
            down, along = i // side - j // side, i % side - j % side
            scores[:, i, j] += layer.position_bias[(down + side - 1) * (2 * side - 1) + along + side - 1]
    if apart is not None:
        scores = scores.masked_fill(apart, float("-inf"))
    return layer.output((scores.softmax(-1) @ value).transpose(0, 1).reshape(length, dim))


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_attention_equals_the_textbook(masked):
    torch.manual_seed(0)
    layer, windows = WindowAttention(12, 3, 3), torch.randn(2, 4, 9, 12)
    layer.position_bias.normal_()
    apart = shifted_window_mask((6, 6), 3, 1) if masked else None
    attended = layer(windows, apart)
    for n in range(2):
        for m in range(4):
            expected = plain_attention(layer, windows[n, m], None if apart is None else apart[m])
            torch.testing.assert_close(attended[n, m], expected)


def test_windows_split_and_join():
    tokens = torch.arange(2 * 6 * 9 * 1.0).reshape(2, 6, 9, 1)
    windows = split_windows(tokens, 3)
    assert windows.shape == (2, 6, 9, 1)
    assert torch.equal(windows[1, 1].reshape(3, 3), tokens[1, :3, 3:6, 0])
    assert torch.equal(join_windows(windows, 3, (6, 9)), tokens)


def test_relative_positions_count_rows_before_columns():
    index = relative_positions(3)
    assert index.shape == (9, 9)
    assert (index.diagonal() == 12).all()
    assert index[0, 1] == 11  # one to the right
    assert index[0, 3] == 7  # one down: a whole row of 2 w - 1
    assert index.unique().numel() == 25


def test_strangers_are_pairs_from_both_sides_of_the_seam():
    apart = shifted_window_mask((6, 6), 3, 1)  # four windows; the last row and column were rolled in
    assert not apart[0].any()
    seam = torch.tensor([False, False, True])
    right = seam.repeat(3)
    assert torch.equal(apart[1], right[:, None] != right)
    below = seam.repeat_interleave(3)
    assert torch.equal(apart[2], below[:, None] != below)
    assert torch.equal(apart[3], apart[1] | apart[2])
