"""Where a training step's time goes on a CPU, and how far it is from what its convolutions alone would take.

    python benchmarks/profile_step.py [--work mirai …] [--json FILE]

Prints a table, a line for each step of ``steps.py``: its seconds, the shares of kinds of operations (their own
time in PyTorch's profiler), and two limits. ``convolutions`` is the sum of each of its convolutions alone, forward and
backward, the fastest of three; ``rate`` is what its floating-point operations would take at the rate of a large matrix
product on this machine.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from measuring import Row, conditions, fastest
from steps import WORKS, built, step_parts
from torch import Tensor, nn
from torch.profiler import profile
from torch.utils.flop_counter import FlopCounterMode

from mammorisk.config import register_schemas
from mammorisk.loop import train_step
from mammorisk.run_directory import register_resolvers

KINDS = {
    "convolution": ("convolution", "conv2d"),
    "matrix product": ("mm", "linear", "attention"),
    "normalisation": ("norm",),
    "optimiser": ("adam",),
}
SIDE = 2048  # of the matrices whose product tells the machine's rate


def kind_of(name: str) -> str:
    """Which kind of operation one of PyTorch's is."""
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other")


def convolution_seconds(parts: Any, batch: Any) -> float:
    """Of all convolutions of a step, each alone; backward where its weights learn."""
    seen: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given: seen.append((module, given[0].detach())))
        for module in parts.learner.modules()
        if isinstance(module, nn.Conv2d)
    ]
    train_step(parts, batch, 0, 1, True)
    for hook in hooks:
        hook.remove()
    total = 0.0
    for number, (module, given) in enumerate(seen):
        learns = any(p.requires_grad for p in module.parameters())
        given.requires_grad_(learns and number > 0)  # nothing flows back into the images

        def alone(module: nn.Module = module, given: Tensor = given, learns: bool = learns) -> None:
            with torch.set_grad_enabled(learns):
                output = module(given)
                if learns:
                    output.backward(torch.ones_like(output))

        total += fastest(alone, 3)
    return total


def row_of(name: str, variant: str) -> Row:
    """One model's step."""
    model, config, batch = built(name, variant)
    parts = step_parts(model, config, plain=variant == "plain")
    model.train()
    train_step(parts, batch, 0, 1, True)
    seconds = fastest(lambda: train_step(parts, batch, 0, 1, True), 3)
    with profile() as recorded:
        train_step(parts, batch, 0, 1, True)
    own: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        own[kind_of(event.key.lower())] += event.self_cpu_time_total
    with FlopCounterMode(display=False) as counter:
        train_step(parts, batch, 0, 1, True)
    whole = sum(own.values())
    return {
        "work": name,
        "variant": variant,
        "seconds": seconds,
        "shares": {kind: own[kind] / whole for kind in (*KINDS, "other")},
        "convolutions_s": convolution_seconds(parts, batch) if variant != "plain" else None,
        "gflop": counter.get_total_flops() / 1e9,
    }


def matrix_rate() -> float:
    """Floating-point operations a second of a large product in float32."""
    one, other = torch.rand(2, SIDE, SIDE)
    return 2 * SIDE**3 / fastest(lambda: one @ other, 5)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", default=list(WORKS), choices=list(WORKS))
    parser.add_argument("--json", type=Path, help="file for the results")
    chosen = parser.parse_args()
    register_schemas()
    register_resolvers()
    rate = matrix_rate()
    rows = []
    kinds = (*KINDS, "other")
    print(f"{rate / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} thread(s)\n")
    print(f"| step | s | {' | '.join(kinds)} | convolutions alone, s | at the matrix rate, s |")
    print("|---|---|" + "---|" * (len(kinds) + 2))
    for name in chosen.work:
        for variant in ("plain", *WORKS[name].variants):
            row = row_of(name, variant)
            rows.append(row | {"at_matrix_rate_s": row["gflop"] * 1e9 / rate})
            shares = " | ".join(f"{100 * row['shares'][kind]:.0f} %" for kind in kinds)
            alone = "" if row["convolutions_s"] is None else f"{row['convolutions_s']:.2f}"
            print(
                f"| {name}, {variant} | {row['seconds']:.2f} | {shares} | {alone} | {row['gflop'] * 1e9 / rate:.2f} |",
                flush=True,
            )
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | {"flop_per_s": rate, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
