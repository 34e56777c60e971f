"""Check of an optimiser's stored state against the optimiser; torch's own loading trusts names, shapes and types."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mammorisk.training.checkpoint_fields import BadEntry
from mammorisk.weights.tensor_checks import type_name

# Progress of a training. Other values that a state lacks (other releases of torch) come from the configuration.
COUNTERS = ("steps", "last_epoch", "base_lrs", "best", "num_bad_epochs", "lr", "initial_lr", "scale", "name")
RETIRED = ("verbose", "default_min_lr")  # not in every release of torch


def fitting_state(optimizer: Optimizer, stored: dict[str, Any]) -> dict[str, Any]:
    """An optimiser's stored state, each tensor laid out as the parameter that it belongs to.

    Args:
        optimizer: the optimiser of the state.
        stored: its state, as ``read_payload`` gives it.

    Raises:
        BadEntry: it has other groups, parameters, names, shapes or types.
    """
    own, groups = optimizer.state_dict()["param_groups"], stored["param_groups"]
    if len(groups) != len(own):
        raise BadEntry(f"optimizer.param_groups: expected {len(own)} groups, found {len(groups)}")
    pairs = enumerate(zip(own, groups, strict=True))
    fitted = [_group(mine, group, f"optimizer.param_groups.{i}") for i, (mine, group) in pairs]
    numbers = [number for group in fitted for number in group["params"]]
    if len(set(numbers)) != len(numbers) or not stored["state"].keys() <= set(numbers):
        raise BadEntry("optimizer.state: expected each parameter once, and no other")
    parameters = [(group, parameter) for group in optimizer.param_groups for parameter in group["params"]]
    state = {}
    for number, (group, parameter) in zip(numbers, parameters, strict=True):
        if found := stored["state"].get(number):
            expected = _first_state(optimizer, group, parameter)
            where = f"optimizer.state.{number}"
            state[number] = found if expected is None else _of_parameter(expected, parameter, found, where)
    return {"state": state, "param_groups": fitted}


def alike(own: Any, found: Any, where: str) -> Any:
    """The stored value, if it is like the present one; dicts are compared entry by entry.

    Args:
        own: the present value.
        found: the stored one.
        where: its name, for messages.

    Raises:
        BadEntry: it is not.
    """
    if isinstance(own, dict) and isinstance(found, dict):
        return _alike_dict(own, found, where)
    if isinstance(own, list | tuple) and type(found) is type(own) and len(found) == len(own):
        return type(own)(alike(a, b, f"{where}.{i}") for i, (a, b) in enumerate(zip(own, found, strict=True)))
    if isinstance(own, Tensor):
        same = isinstance(found, Tensor) and found.shape == own.shape and found.dtype == own.dtype
    elif own is None or isinstance(own, bool | str):
        same = found is None or isinstance(found, bool) if not isinstance(own, str) else found == own
    else:
        same = isinstance(own, int | float) and _is_number_like(own, found)
    if not same:
        raise BadEntry(f"{where}: expected a value like {_shown(own)}, found {_shown(found)}")
    return found


def _alike_dict(own: dict[str, Any], found: dict[str, Any], where: str) -> dict[str, Any]:
    known = {name: value for name, value in found.items() if name in own}
    for name in found.keys() - known.keys():
        if not name.startswith("_") and name not in RETIRED:
            raise BadEntry(f"{where}.{name}: there is no such setting")
    for name in own:
        if name in COUNTERS and name not in known:
            raise BadEntry(f"{where}.{name}: it is not there")
    return {**own, **{name: alike(own[name], value, f"{where}.{name}") for name, value in known.items()}}


def _is_number_like(own: float, found: object) -> bool:
    """Whether the stored value is a number, finite and not below 0 if the present one is."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return False
    return math.isinf(own) or (math.isfinite(found) and (found >= 0 or own < 0))


def _group(own: dict[str, Any], found: dict[str, Any], where: str) -> dict[str, Any]:
    numbers, length = found.get("params"), len(own["params"])
    if not isinstance(numbers, list) or len(numbers) != length or any(type(number) is not int for number in numbers):
        raise BadEntry(f"{where}.params: expected the numbers of {length} parameters")
    return _alike_dict(own | {"params": numbers}, found, where)


def _first_state(optimizer: Optimizer, group: dict[str, Any], parameter: Tensor) -> dict[str, Any] | None:
    """The state that torch's optimiser keeps for a parameter of two elements along each axis; None for others."""
    if not type(optimizer).__module__.startswith("torch.optim."):
        return None
    probe = torch.zeros((2,) * parameter.dim(), dtype=parameter.dtype, device=parameter.device, requires_grad=True)
    probe.grad = torch.zeros_like(probe)
    try:
        other = type(optimizer)([probe])  # type: ignore[call-arg]
        other.param_groups[0].update({name: value for name, value in group.items() if name != "params"})
        other.step()
    except (TypeError, ValueError, RuntimeError):
        return None
    return dict(other.state[probe])


def _of_parameter(expected: dict[str, Any], parameter: Tensor, found: dict[str, Any], where: str) -> dict[str, Any]:
    if found.keys() != expected.keys():
        raise BadEntry(f"{where}: expected {', '.join(sorted(expected))}, found {', '.join(sorted(found))}")
    fitted = {}
    for name, mine in expected.items():
        value = found[name]
        if isinstance(mine, Tensor):
            full = mine.dim() == parameter.dim()  # two elements stand for the whole axis
            sizes = enumerate(mine.shape)
            shape = [parameter.shape[i] if full and size == 2 else size for i, size in sizes]
            if not isinstance(value, Tensor) or list(value.shape) != shape or value.dtype != mine.dtype:
                raise BadEntry(f"{where}.{name}: expected {type_name(mine)} {shape}, found {_shown(value)}")
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                value = torch.empty_like(parameter, device="cpu", requires_grad=False).copy_(value)
        fitted[name] = value if isinstance(mine, Tensor) else alike(mine, value, f"{where}.{name}")
    return fitted


def _shown(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{type_name(value)} {list(value.shape)}"
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 60):
        return str(value)
    return f"a {type(value).__name__}"
