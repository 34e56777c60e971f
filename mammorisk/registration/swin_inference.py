"""Fast inference of Swin layers on a CPU, without gradient: the same numbers as ``swin.py``.

Between layers tokens stay in the order of the windows, so that a shift is one gather. A layer processes some windows at
a time, whose values stay in the processor's cache. Only windows at the border have a mask.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mammorisk.registration.window_attention import SwinLayer, WindowAttention, shifted_window_mask, split_windows

AT_ONCE = 2**17  # values of tokens that are processed at once
SAFE = 60.0  # the exponential of scores within +- this, and the sum over a window, are finite


@dataclass(frozen=True)
class Part:
    """Consecutive windows of one kind: with or without mask and padding."""

    start: int
    stop: int
    apart: Tensor | None  # [windows, 1, L, L] bool | pairs that must not attend to each other; None: all may
    padding: Tensor | None  # [windows, L, 1] bool | positions beyond the map; None: none


@dataclass(frozen=True)
class Layout:
    """Order of the positions of N maps in their windows; windows of one kind are consecutive."""

    place: Tensor  # [N*M*L] int64 | position, row by row; any position in place of padding
    back: Tensor  # [N*H*W] int64 | index of each position in that order
    parts: tuple[Part, ...]


@functools.lru_cache(maxsize=64)
def layout(count: int, size: tuple[int, int], window: int, shift: int, device: torch.device) -> Layout:
    """Layout of ``count`` maps of ``size`` in windows of side ``window`` that are shifted by ``shift``."""
    with torch.inference_mode(False), torch.no_grad():
        rows, columns = size
        position = torch.arange(count * rows * columns, device=device).reshape(count, rows, columns, 1)
        padded = F.pad(position, (0, 0, 0, -columns % window, 0, -rows % window), value=-1)
        place = split_windows(padded.roll((-shift, -shift), dims=(1, 2)), window).flatten(0, 1)[..., 0]  # [N*M, L]
        apart = shifted_window_mask(padded.shape[1:3], window, shift, device).repeat(count, 1, 1)  # [N*M, L, L]
        kind = 2 * apart.flatten(1).any(1).long() + (place < 0).any(1)
        order = kind.argsort(stable=True)
        place, apart, kind = place[order], apart[order].unsqueeze(1), kind[order]
        parts, start = [], 0
        for each, length in Counter(kind.tolist()).items():  # in their order
            own = slice(start, start + length)
            padding = (place[own] < 0).unsqueeze(-1) if each % 2 else None
            parts.append(Part(start, own.stop, apart[own].clone() if each >= 2 else None, padding))
            start = own.stop
        is_there, back = place.flatten() >= 0, place.new_empty(position.numel())
        back[place.flatten()[is_there]] = is_there.nonzero().flatten()
        return Layout(place.flatten().clamp(min=0), back, tuple(parts))


@functools.lru_cache(maxsize=128)
def _between(count: int, size: tuple[int, int], window: int, before: int, after: int, device: torch.device) -> Tensor:
    """Index of each position of the windows shifted by ``after`` in those shifted by ``before``, [N*M*L]."""
    return layout(count, size, window, before, device).back[layout(count, size, window, after, device).place]


def through_layers(layers: Sequence[SwinLayer], tokens: Tensor) -> Tensor:
    """Apply all layers to tokens [N, H, W, C] -> [N, H, W, C]."""
    count, rows, columns, dim = tokens.shape
    size, device, window = (rows, columns), tokens.device, layers[0].window
    tokens = tokens.reshape(-1, dim)  # [N, H, W, C] -> [N*H*W, C]
    index = layout(count, size, window, layers[0].shift, device).place
    for i, layer in enumerate(layers):
        if i:
            index = _between(count, size, window, layers[i - 1].shift, layer.shift, device)
        tokens = tokens.index_select(0, index)  # [N*H*W or N*M*L, C] -> [N*M*L, C]
        _through_layer(layer, tokens, layout(count, size, window, layer.shift, device))
    back = layout(count, size, window, layers[-1].shift, device).back
    return tokens.index_select(0, back).reshape(count, rows, columns, dim)


def _through_layer(layer: SwinLayer, tokens: Tensor, order: Layout) -> None:
    """Apply one layer in place to tokens [N*M*L, C] in the given order."""
    attention, up, down = layer.attention, layer.mlp[0], cast(nn.Linear, layer.mlp[2])
    bias = attention.position_bias[attention.relative_position].permute(2, 0, 1).contiguous()  # [heads, L, L]
    length = bias.shape[-1]
    for part in _pieces(order.parts, tokens, length):
        some = tokens[part.start * length : part.stop * length]
        normed = layer.attention_norm(some)
        if part.padding is not None:
            normed = normed.masked_fill(part.padding.flatten(0, 1), 0.0)
        _add_linear(some, _attended(attention, normed.unflatten(0, (-1, length)), bias, part.apart), attention.output)
        _add_linear(some, F.gelu(up(layer.mlp_norm(some))), down)


def _pieces(parts: Sequence[Part], tokens: Tensor, length: int) -> Iterator[Part]:
    """Split windows into pieces that are processed at once."""
    step = max(1, AT_ONCE // (length * tokens.shape[1]))
    for part in parts:
        for start in range(part.start, part.stop, step):
            stop = min(start + step, part.stop)
            own = slice(start - part.start, stop - part.start)
            yield Part(
                start,
                stop,
                None if part.apart is None else part.apart[own],
                None if part.padding is None else part.padding[own],
            )


def _add_linear(sum_: Tensor, x: Tensor, linear: nn.Linear) -> None:
    """Add ``linear(x)`` to ``sum_`` [P, C]."""
    if sum_.dtype == x.dtype and not torch.is_autocast_enabled(sum_.device.type):
        sum_.add_(linear.bias).addmm_(x, linear.weight.t())  # the product is added in place
    else:
        sum_ += linear(x)


def _attended(attention: WindowAttention, windows: Tensor, bias: Tensor, apart: Tensor | None) -> Tensor:
    """Attention within windows [m, L, C], without the pairs of ``apart`` [m, 1, L, L]: [m*L, C]."""
    qkv = attention.qkv(windows).unflatten(-1, (3, attention.num_heads, -1))  # [m, L, C] -> [m, L, 3, heads, d]
    query, key, value = (each.transpose(1, 2) for each in qkv.unbind(2))  # [m, heads, L, d] each
    seen = _weighted(query, key, value, bias, apart)
    return seen.transpose(1, 2).reshape(-1, windows.shape[-1])  # [m, heads, L, d] -> [m*L, C]


def _weighted(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, apart: Tensor | None) -> Tensor:
    """softmax(q k' / sqrt(d) + bias) v of [W, heads, L, d].

    Windows are small: PyTorch's fused attention takes twice as long as the single products. The search for the
    largest score of each row would take longer than all else, and is skipped where all scores are moderate.
    """
    if query.dtype == torch.float32:
        scores = query.contiguous() @ key.transpose(-1, -2).contiguous()  # [m, heads, L, L]
        torch.add(bias, scores, alpha=query.shape[-1] ** -0.5, out=scores)
        low, high = torch.aminmax(scores)
        if float(low) > -SAFE and float(high) < SAFE:
            scores.exp_()
            if apart is not None:
                scores.masked_fill_(apart, 0.0)
            return (scores @ value.contiguous()).div_(scores.sum(-1, keepdim=True))
    mask = bias.to(query.dtype) if apart is None else bias.to(query.dtype).masked_fill(apart, float("-inf"))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
