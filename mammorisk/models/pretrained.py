"""Weights of other people's files: read without running them, load them strictly through a renaming table."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.models.renaming import State, Table, rename

# What torch.load raises, with weights_only, for a file that is no checkpoint or a part of one.
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)


def load_state(module: nn.Module, state: Mapping[str, Tensor], table: Table, source: str = "the checkpoint") -> None:
    """Load a state dict through a table, all of it into all of the module.

    Args:
        module: what to fill.
        state: key -> tensor, in the file's own names.
        table: renaming rules of the file's format.
        source: where the state comes from, for the message.

    Raises:
        UserError: keys are missing, left over or of another shape; lists them and leaves the module unchanged.
    """
    renamed, own = rename(state, table), module.state_dict()
    wrong = {
        "missing": [key for key in own if key not in renamed],
        "unexpected": [key for key in renamed if key not in own],
        "of another shape": [
            f"{key} {list(renamed[key].shape)}, expected {list(own[key].shape)}"
            for key in own
            if key in renamed and renamed[key].shape != own[key].shape
        ],
    }
    if any(wrong.values()):
        lines = [f"  {len(keys)} {what}: {_listed(keys)}" for what, keys in wrong.items() if keys]
        raise UserError(
            f"The weights in {source} do not fit {type(module).__name__} ({len(own)} tensors expected, "
            f"{len(renamed)} found):\n"
            + "\n".join(lines)
            + "\nUse the file of this very model, or set the model's sizes (width, heads, layers) to the file's."
        )
    module.load_state_dict(renamed)


def read_state_dict(path: str | Path) -> State:
    """Tensors of a ``.safetensors`` or torch file; nothing in the file is executed.

    A dict with ``model`` or ``state_dict`` is opened, and a ``module.`` prefix (DataParallel) taken off.

    Raises:
        UserError: no such file, not a checkpoint, a pickled module, or no tensors in it.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UserError(f"Expected a file of weights at {path}, found none. Check the path (a value of the config).")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for wrapper in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(
            f"Expected a state dict (name -> tensor, or a dict with one under 'model' or 'state_dict') in {path}, "
            f"found {_kind(content)}. Save the weights with torch.save(model.state_dict(), path)."
        )
    prefix = "module." if all(key.startswith("module.") for key in content) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in content.items()}


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(f"Expected a safetensors file at {path}, could not read it: {error}.") from error


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "global" in str(error).lower():
            raise UserError(
                f"{path} is a pickled module or object, not a plain state dict: reading it would run its code "
                f"({_wanted_global(error)}). Nothing in it was executed. "
                "Give a file saved with torch.save(model.state_dict(), path)."
            ) from error
        raise _unreadable(path, error) from error
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> UserError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(
        f"Expected a checkpoint (torch or .safetensors) at {path}, found a file that is none or is cut off: "
        f"{first_line}. Download or copy it again."
    )


def _wanted_global(error: Exception) -> str:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it asks for {found.group(1)}" if found else "it asks for a Python object"


def _listed(keys: list[str], most: int = 12) -> str:
    rest = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest


def _kind(content: object) -> str:
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a dict with {_listed([str(key) for key in content])}" if content else "an empty dict"
