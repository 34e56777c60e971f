"""Reference blocks in tests/reference: their state dicts and inputs by formula, their outputs from file.

A state dict is not stored: every tensor follows from its name and shape (`weights`), every input from its shape
and a seed (`wave`). tests/reference/README.md describes their computation.
"""

from __future__ import annotations

import json
import zlib

import numpy as np
import torch
from torch import Tensor

from helpers.places import REFERENCE


def wave(shape: tuple[int, ...], seed: float) -> Tensor:
    """Input tensor X(shape, seed) = 0.5 + 0.5 sin(0.013 i + seed) over the row-major index i."""
    index = np.arange(np.prod(shape), dtype=np.float64)
    return torch.from_numpy((0.5 + 0.5 * np.sin(0.013 * index + seed)).astype(np.float32).reshape(shape))


def weights(block: str, prefix: str = "") -> dict[str, Tensor]:
    """The reference's own state dict of `block`, filled by the formula; with `prefix`, that part, prefix cut off."""
    entries = json.loads((REFERENCE / f"{block}.keys.json").read_text())["state_dict"]
    return {entry["key"].removeprefix(prefix): _filled(entry) for entry in entries if entry["key"].startswith(prefix)}


def outputs(block: str) -> dict[str, Tensor]:
    """The stored arrays of `block`, by name."""
    path = REFERENCE / f"{block}.v2.npz"
    with np.load(path if path.exists() else REFERENCE / f"{block}.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def assert_parity(ours: Tensor, reference: Tensor) -> None:
    """Equal within 1e-4 relative and 1e-4 of the largest value, the tolerance reordered sums need."""
    largest = float(reference.abs().max())
    torch.testing.assert_close(ours.detach(), reference, rtol=1e-4, atol=1e-4 * largest, check_dtype=False)


def _filled(entry: dict[str, object]) -> Tensor:
    key, shape, kind = str(entry["key"]), tuple(entry["shape"]), entry["fill"]  # type: ignore[arg-type]
    size = int(np.prod(shape))
    noise = _unit_noise(key, size)
    if kind == "as built":  # tables and counters that the tables of our formats drop, or that start at zero
        return torch.zeros(shape, dtype=getattr(torch, str(entry["dtype"]).removeprefix("torch.")))
    if kind == "norm":
        values = 1 + 0.05 * noise
    elif kind == "mean" or len(shape) < 2 or "reghead_" in key:
        values = 1 + 0.5 * np.abs(noise) if kind == "var" else 0.05 * noise
    else:
        gain = 2 if len(shape) == 4 else 1
        values = np.sqrt(3 * gain / (size // shape[0])) * noise
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def _unit_noise(key: str, size: int) -> np.ndarray:
    phase = zlib.crc32(key.encode()) % 1000
    wild = 43758.5453 * np.sin((np.arange(size, dtype=np.float64) % 4099) * 12.9898 + phase)
    return 2 * (wild - np.floor(wild)) - 1
