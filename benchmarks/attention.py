"""Memory of LMV-Net's attention at 1024 x 832 on a CPU: fused, and with its weights in memory.

    python benchmarks/attention.py [--json FILE]

Four views, four heads of 384 channels, float32; at strides 32 and 16 of the encoder. ``ours`` is PyTorch's fused
attention, as ``MultiHeadAttention`` calls it; the layers before and after are left out. In MB of the process beyond
queries, keys and values: memory that the forward pass keeps for the backward pass, and the peak with the gradients of
all three. Each is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from measuring import Row, conditions, own_process

VIEWS, HEADS, CHANNELS = 4, 4, 384
SIZE = (1024, 832)
STRIDES = (32, 16)
MB = 2**20


def one(variant: str, stride: int) -> Row:
    """MB that the forward pass keeps, and MB at the peak of both passes."""
    torch.manual_seed(0)
    positions = SIZE[0] // stride * (SIZE[1] // stride)
    query, key, value = torch.randn(3, VIEWS, HEADS, positions, CHANNELS).unbind(0)
    for each in (query, key, value):
        each.requires_grad_()
    small = [torch.randn(1, 1, 8, CHANNELS, requires_grad=True) for _ in range(3)]
    F.scaled_dot_product_attention(*small).sum().backward()  # libraries that a first call loads
    before = psutil.Process().memory_info().rss
    if variant == "plain":
        weights = (query @ key.transpose(-2, -1) * CHANNELS**-0.5).softmax(-1)
        seen = weights @ value
        del weights
    else:
        seen = F.scaled_dot_product_attention(query, key, value)
    left = psutil.Process().memory_info().rss
    seen.backward(torch.ones_like(seen))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"left": (left - before) / MB, "peak": (peak - before) / MB, "positions": positions}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--one", nargs=2, metavar=("VARIANT", "STRIDE"), help="measure this in this process")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(chosen.one[0], int(chosen.one[1]))))
        return
    rows: list[Row] = []
    for stride in STRIDES:
        plain, ours = (own_process(__file__, "--one", variant, str(stride)) for variant in ("plain", "ours"))
        for variant, found in (("plain", plain), ("ours", ours)):
            ratios = {f"{name} / plain": found[name] / plain[name] for name in ("left", "peak")}
            rows.append({"stride": stride, "variant": variant, **found, **ratios})
            print(json.dumps(rows[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
