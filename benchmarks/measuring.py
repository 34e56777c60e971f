"""Shared code of the benchmarks: variants in turn, each in a process of its own; conditions; JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


def conditions() -> Row:
    """The conditions of a result: date, processor, cores, threads, load, release of PyTorch."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "torch": torch.__version__,
    }


def fastest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some rounds: disturbances only add time."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def own_process(script: str, *words: str, last_line: bool = True) -> Row:
    """The JSON that a script prints, all of it or as its last line, run in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
    found: Row = json.loads(done.stdout.splitlines()[-1] if last_line else done.stdout)
    return found


def in_turn(script: str, work: str, variants: Sequence[str], rounds: int) -> list[Row]:
    """Measure each variant of a work in processes of its own, in turn over several rounds; ratios to the first variant.

    Returns:
        A row a variant: ``seconds`` (fastest), ``MB`` (smallest peak of the process), ``faster`` and ``memory``
        against the first variant, which is the plain one.
    """
    found: dict[str, list[Row]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in variants:
            found[name].append(own_process(script, "--one", work, name))
    rows = []
    for name, each in found.items():
        row = {
            "work": work,
            "variant": name,
            "seconds": min(r["seconds"] for r in each),
            "MB": min(r["MB"] for r in each),
        }
        first = rows[0] if rows else row
        rows.append(row | {"faster": first["seconds"] / row["seconds"], "memory": row["MB"] / first["MB"]})
    return rows
