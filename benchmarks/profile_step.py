"""Profile of a training step on a CPU, and its distance to the time of its convolutions alone.

    python benchmarks/profile_step.py [--work mirai …] [--json FILE]

Prints a table, a line for each step of ``steps.py`` and for MammoRegNet's displacement of a pair: its seconds, the
shares of kinds of operations (their own time in PyTorch's profiler), and three limits. ``convolutions`` is the sum of
its convolutions, each alone, forward and backward, the fastest of three. ``matrix rate`` is the time of its
floating-point operations at the rate of a large matrix product on this machine. ``copy rate`` is the time of the bytes
that its operations read and write at the rate of a large copy. Each variant has a process of its own, as in
``steps.py``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measuring import Row, conditions, fastest, own_process
from steps import REGISTRATION, WORKS, built, field_of_pair, step_parts
from torch import Tensor, nn
from torch.profiler import profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mammorisk.config import register_schemas
from mammorisk.runs.directory import register_resolvers
from mammorisk.training.cpu_allocator import keep_freed_memory
from mammorisk.training.loop import train_step

KINDS = {  # kind: parts of the name of an operation or of its callers; the first match counts
    "optimiser": ("Optimizer.step",),
    "normalisation": ("norm",),
    "convolution": ("convolution", "conv2d"),
    "matrix product": ("::mm", "::bmm", "::addmm", "::baddbmm", "dot_product_attention"),
}
SIDE = 2048  # of the matrices whose product measures the machine's rate
COPIED = 2**26  # values of the copy that measures its other rate


@dataclass(frozen=True)
class Work:
    """A step to profile."""

    network: nn.Module
    step: Callable[[], object]


class Bytes(TorchDispatchMode):
    """Count the bytes that operations read and write: each tensor once, twice if changed; views cost nothing."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run ``func`` and count."""
        result = func(*args, **(kwargs or {}))
        if not func.is_view and func is not torch.ops.aten.detach.default:
            self._count(args, kwargs, result)
            written = [given for given, about in zip(args, func._schema.arguments, strict=False) if about.is_write]
            self._count(written)
        return result

    def _count(self, *trees: Any) -> None:
        tensors = {id(leaf): leaf for leaf in tree_leaves(trees) if isinstance(leaf, Tensor)}
        self.total += sum(min(t.nbytes, t.untyped_storage().nbytes()) for t in tensors.values())  # expanded or not


def attention_flop(query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Operations of the scores and of the weighted sum; [B, heads, N, d] and [B, heads, M, d]."""
    flop: int = 4 * math.prod(query) * key[-2]
    return flop


# Operations without a counter in PyTorch: (shapes of the arguments) -> floating-point operations.
FLOP: dict[Any, Callable[..., int]] = {
    torch.ops.aten.addmm_: lambda _, one, other, **__: 2 * one[0] * one[1] * other[1],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flop,
    # five products, of which one is the scores again
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda _, query, key, *__, **___: (
        5 * attention_flop(query, key) // 2
    ),
}


def work_of(name: str, variant: str) -> Work:
    """A step of a model, or the displacement of a pair."""
    if name == REGISTRATION:
        network, find = field_of_pair(variant)
        return Work(network, find)
    model, config, batch = built(name, variant)
    parts = step_parts(model, config, plain=variant == "plain")
    model.train()
    return Work(model, lambda: train_step(parts, batch, 0, 1, True))


def kind_of(event: Any) -> str:
    """The kind of operation of an event of the profiler."""
    names = []
    while event is not None:
        names.append(event.name)
        event = event.cpu_parent
    return next((kind for kind, words in KINDS.items() if any(w in name for w in words for name in names)), "other")


@contextmanager
def named_norms(network: nn.Module) -> Iterator[None]:
    """Name norms that consist of other operations for the profiler."""
    ranges: list[record_function] = []

    def begin(module: nn.Module, given: Any) -> None:
        ranges.append(record_function("norm"))
        ranges[-1].__enter__()

    def end(module: nn.Module, given: Any, output: Any) -> None:
        ranges.pop().__exit__(None, None, None)

    norms = [module for module in network.modules() if isinstance(module, nn.InstanceNorm2d)]
    hooks = [hook for m in norms for hook in (m.register_forward_pre_hook(begin), m.register_forward_hook(end))]
    yield
    for hook in hooks:
        hook.remove()


def convolution_seconds(work: Work) -> float:
    """Seconds of all convolutions of a step, each alone; backward only for the gradients of the step."""
    convolutions = [m for m in work.network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    seen: list[tuple[nn.Module, Tensor, bool]] = []
    learned: set[nn.Module] = set()
    hooks: list[Any] = []
    for module in convolutions:
        note = lambda module, given: seen.append((module, given[0].detach(), given[0].requires_grad))  # noqa: E731
        hooks.append(module.register_forward_pre_hook(note))
        if module.weight.requires_grad:
            learn = lambda _, module=module: learned.add(module)  # noqa: E731
            hooks.append(module.weight.register_post_accumulate_grad_hook(learn))
    work.step()
    for hook in hooks:
        hook.remove()
    total = 0.0
    for module, given, wanted in seen:
        learns = module in learned
        given.requires_grad_(learns and wanted)

        def alone(module: nn.Module = module, given: Tensor = given, learns: bool = learns) -> None:
            with torch.set_grad_enabled(learns):
                output = module(given)
                if learns:
                    output.backward(torch.ones_like(output))

        total += fastest(alone, 3)
    return total


def row_of(name: str, variant: str) -> Row:
    """One step."""
    if variant != "plain":
        keep_freed_memory()  # as in a training
    work = work_of(name, variant)
    work.step()
    seconds = fastest(work.step, 3)
    with named_norms(work.network), profile() as recorded:
        work.step()
    own: dict[str, float] = defaultdict(float)
    for event in recorded.events():
        own[kind_of(event)] += event.self_cpu_time_total
    with FlopCounterMode(display=False, custom_mapping=FLOP) as counter, Bytes() as moved:
        work.step()
    whole = sum(own.values())
    return {
        "work": name,
        "variant": variant,
        "seconds": seconds,
        "shares": {kind: own[kind] / whole for kind in (*KINDS, "other")},
        "convolutions_s": convolution_seconds(work),
        "gflop": counter.get_total_flops() / 1e9,
        "gbyte": moved.total / 1e9,
    }


def rates() -> tuple[float, float]:
    """Floating-point operations a second of a large product in float32; bytes a second that a large copy moves."""
    one, other = torch.rand(2, SIDE, SIDE)
    source, target = torch.rand(2, COPIED)
    copy = 2 * source.nbytes / fastest(lambda: target.copy_(source), 5)
    return 2 * SIDE**3 / fastest(lambda: one @ other, 5), copy


def table_row(row: Row) -> str:
    """A row of the printed table."""
    shares = [f"{100 * share:.0f} %" for share in row["shares"].values()]
    limits = [f"{row[name]:.2g}" for name in ("convolutions_s", "at_matrix_rate_s", "at_copy_rate_s")]
    return " | ".join([f"| {row['work']}, {row['variant']}", f"{row['seconds']:.2g}", *shares, *limits]) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = [REGISTRATION, *WORKS]
    parser.add_argument("--work", nargs="+", default=works, choices=works)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "VARIANT"), help="profile this in this process")
    chosen = parser.parse_args()
    register_schemas()
    register_resolvers()
    if chosen.one:
        print(json.dumps(row_of(*chosen.one)))
        return
    matrix, copy = rates()
    print(f"{matrix / 1e9:.0f} GFLOP/s, {copy / 1e9:.1f} GB/s, {torch.get_num_threads()} thread(s)\n")
    columns = ["step", "s", *KINDS, "other", "convolutions alone, s", "at the matrix rate, s", "at the copy rate, s"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    rows = []
    for name in chosen.work:
        for variant in ("plain", *(WORKS[name].variants if name in WORKS else ("ours",))):
            if "recomputed" in variant:
                continue  # the same convolutions, some of them twice
            row = own_process(__file__, "--one", name, variant)
            limits = {"at_matrix_rate_s": row["gflop"] * 1e9 / matrix, "at_copy_rate_s": row["gbyte"] * 1e9 / copy}
            rows.append(row | limits)
            print(table_row(rows[-1]), flush=True)
    if chosen.json:
        found = conditions() | {"flop_per_s": matrix, "bytes_per_s": copy, "rows": rows}
        chosen.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
