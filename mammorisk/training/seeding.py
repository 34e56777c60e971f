"""Seeds, and the state of every random number generator of a process as plain values for a checkpoint."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def seed_everything(seed: int, deterministic: bool = True) -> None:
    """Seed ``random``, NumPy, torch and all GPUs; ``deterministic`` makes cuDNN choose reproducible kernels."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  other people's code draws from the global generator
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def random_state() -> State:
    """State of this process's generators: tensors and Python values only (docs/pitfalls.md#p10)."""
    version, internal, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def restore_random_state(state: State) -> None:
    """Put the generators where ``random_state`` found them; that of a GPU only if there is one."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])
