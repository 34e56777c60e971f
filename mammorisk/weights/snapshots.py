"""State dicts of torch files: plain ones, and snapshots (whole modules pickled with their classes)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular
from mammorisk.weights.pickle_records import Inert, TensorView, kind_of, printable
from mammorisk.weights.tensor_checks import check_bytes
from mammorisk.weights.torch_files import open_torch_file

PARTS_MOST, DEPTH_MOST, NAME_MOST = 20_000, 32, 100  # modules or tensors, levels, and letters of a name
WRAPPERS = ("model", "state_dict")


@dataclass(frozen=True)
class TorchState:
    """The state dict of a torch file."""

    state: dict[str, Tensor]
    container: str  # zip | legacy
    snapshot_of: str | None = None  # class of the pickled module; None for a plain state dict
    config: str | None = None  # text beside the weights, in our own checkpoints


def read_torch_state(path: Path) -> TorchState:
    """State dict of a file of ``torch.save``: of a whole module, plain, or under ``model`` or ``state_dict``.

    Nothing in the file is executed, and of a checkpoint only the weights are read.

    Raises:
        UserError: the file is damaged, would run code, or holds no state dict.
    """
    with open_regular(path) as file:
        opened = open_torch_file(file, path)
        content, config = _unwrapped(opened.content)
        name = printable(content.name) if isinstance(content, Inert) else None
        if isinstance(content, Inert):
            state = module_state(content, opened.tensor)
            found = "" if state else f"a {name} without tensors"
        elif not (found := _no_state(content)) and isinstance(content, dict):
            state = {key: opened.tensor(view) for key, view in content.items()}
    if found:
        raise UserError(
            f"Expected a state dict (name -> tensor, or a dict with one under 'model' or 'state_dict') in {path}, "
            f"found {found}. Save the weights with torch.save(model.state_dict(), path)."
        )
    check_bytes(state.values(), opened.size, str(path))
    return TorchState(state, opened.container, name, config)


def _unwrapped(content: object) -> tuple[object, str | None]:
    """The content under ``model`` or ``state_dict``, and the config beside it."""
    config = None
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict | Inert):
            config = content["config"] if isinstance(content.get("config"), str) else config
            content = content[wrapper]
    return content, config


def _no_state(content: object) -> str:
    """Describe what is in the place of a state dict; empty if it is one."""
    if not isinstance(content, dict):
        return "a tensor" if isinstance(content, TensorView) else kind_of(content)
    if len(content) > PARTS_MOST:
        return f"a dict of {len(content):,} entries"
    if not all(len(key) <= DEPTH_MOST * NAME_MOST and key.isprintable() for key in content):
        return "a dict of names that cannot be printed"
    if content and all(isinstance(value, TensorView) for value in content.values()):
        return ""
    names = [printable(key) for key in list(content)[:12]]
    return f"a dict with {', '.join(names)}" if names else "an empty dict"


def module_state(module: Inert, tensor: Callable[[TensorView], Tensor]) -> dict[str, Tensor]:
    """State dict of a pickled module: parameters and persistent buffers by their dotted names.

    An object that is no module has none.

    Raises:
        UserError: endless nesting of modules, or a parameter that is no tensor.
    """
    state: dict[str, Tensor] = {}
    waiting: list[tuple[str, Inert, int]] = [("", module, 0)]
    seen = 0
    while waiting:
        prefix, part, depth = waiting.pop()
        seen += 1
        if depth > DEPTH_MOST or seen + len(waiting) + len(state) > PARTS_MOST:
            raise UserError(
                f"The pickled module {printable(module.name)} holds more than {PARTS_MOST:,} parts or {DEPTH_MOST} "
                "levels, perhaps itself: this is no network of ours to read."
            )
        attributes = part.state if isinstance(part.state, dict) else {}
        for name, value in _own_tensors(attributes, f"{printable(module.name)} {prefix}"):
            state[prefix + name] = tensor(value)
        children = [(name, child) for name, child in _named(attributes, "_modules") if isinstance(child, Inert)]
        waiting += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(children)]
    return state


def _own_tensors(attributes: dict[str, object], where: str) -> list[tuple[str, TensorView]]:
    excluded = attributes.get("_non_persistent_buffers_set")
    hidden = {name for name in excluded if isinstance(name, str)} if isinstance(excluded, list) else set()
    buffers = [(name, value) for name, value in _named(attributes, "_buffers") if name not in hidden]
    found = []
    for name, value in [*_named(attributes, "_parameters"), *buffers]:
        if isinstance(value, TensorView):
            found.append((name, value))
        elif value is not None:
            raise UserError(f"The pickled module {where} has a parameter {name} that is no tensor: it cannot be read.")
    return found


def _named(attributes: dict[str, object], group: str) -> list[tuple[str, object]]:
    named = attributes.get(group)
    if not isinstance(named, dict):
        return []
    if len(named) > PARTS_MOST:
        raise UserError(f"A pickled module has {len(named):,} parts in {group}: this is no network of ours to read.")
    bad = next((name for name in named if not re.fullmatch(rf"\w{{1,{NAME_MOST}}}", name)), None)
    if bad is not None:
        raise UserError(f"A pickled module has a part named '{printable(bad)}': expected a word of letters and digits.")
    return list(named.items())
