"""Small real checkpoint of a training, and ways to damage it."""

from __future__ import annotations

import copy
import functools
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from helpers.tiny_training import tiny_parts
from mammorisk.training.checkpoint import TrainingState, save

MEASURES = ("Training Risk Loss", "Validation Risk Loss", "Training C-index", "Validation C-index", "Learning Rate")
OTHERS: dict[str, object] = {
    "none": None,
    "truth": True,
    "below": -1,
    "huge": 10**400,
    "nan": math.nan,
    "text": "x\x1b[31m",
    "surrogate": "\ud800",
    "bytes": b"x",
    "empty list": [],
    "list": [[[[[[[]]]]]]],
    "dict": {"a": 1},
    "keys": {1.5: 2, None: 3},
    "float64": torch.zeros(3, dtype=torch.float64),
    "complex": torch.zeros(3, dtype=torch.complex64),
    "meta": torch.zeros(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(),
    "expanded": torch.zeros(9).as_strided((3, 3), (0, 1)),
    "infinite": torch.tensor([1.0, math.inf]),
}


@functools.cache
def stepped() -> Path:
    """Write the checkpoint of a training after a step in mid-epoch; tests must not change the file."""
    parts, files = tiny_parts(
        Path(tempfile.mkdtemp(prefix="mammorisk-run-")), "model=mirai", "trainer.resume_from=auto"
    )
    for parameter in parts.unwrapped_model.parameters():
        parameter.grad = torch.full_like(parameter, 0.01)
    parts.optimizer.step()
    history = [{"epoch": float(epoch), **dict.fromkeys(MEASURES, 0.5)} for epoch in (1, 2, 3)]
    state = TrainingState(epoch=3, batch=2, best=0.7, best_epoch=2, epochs_without_improvement=1, history=history)
    state.predictions.load_state_dict({"sample": torch.tensor([3, 1]), "logits/risk": torch.zeros(2, 5)})
    save(parts, state, files, [files.best])
    return files.resume


@functools.cache
def whole() -> dict[str, Any]:
    """Its content, as torch reads it; copy it before you change it."""
    content: dict[str, Any] = torch.load(stepped(), weights_only=True)
    return content


def cut() -> dict[str, Any]:
    """A copy with the first few of its many tensors: quick to write and to read, every entry still there."""
    content = copy.deepcopy({name: value for name, value in whole().items() if name not in ("model", "optimizer")})
    content["model"] = {name: whole()["model"][name].clone() for name in list(whole()["model"])[:3]}
    optimizer = whole()["optimizer"]
    content["optimizer"] = copy.deepcopy(
        {"state": {0: optimizer["state"][0]}, "param_groups": optimizer["param_groups"]}
    )
    return {name: content[name] for name in whole()}


def places(content: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a nested content, the first three of a list or of a dict of tensors."""
    names = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else []
    for name in names[:12]:
        yield (*path, name)
        yield from places(content[name], (*path, name))  # type: ignore[index]


def changed(content: dict[str, Any], path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """The content after ``change(container, name)`` of a place."""
    node: Any = content
    for name in path[:-1]:
        node = node[name]
    change(node, path[-1])
    return content


def written(content: object, path: Path) -> Path:
    """A content as a torch file."""
    torch.save(content, path)
    return path
