"""Weights of other people's files: read without running them, load them strictly through a renaming table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.regular_files import NotRegular, check_regular
from mammorisk.weights.renaming import State, Table, rename
from mammorisk.weights.snapshots import read_torch_state

# What torch.load raises, with weights_only, for a file that is no checkpoint or a part of one.
UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
OPTIONAL = r"(^|\.)input_(mean|std)$"  # an encoder's intensity scale, a buffer of ours that nobody else's files have


def load_state(module: nn.Module, state: Mapping[str, Tensor], table: Table, source: str = "the checkpoint") -> None:
    """Load a state dict through a table, all of it into all of the module.

    Args:
        module: what to fill.
        state: key -> tensor, in the file's own names.
        table: renaming rules of the file's format.
        source: where the state comes from, for the message.

    Raises:
        UserError: keys are missing, left over or of another shape; lists them and leaves the module unchanged. An
            encoder's intensity scale may be missing, and then stays.
    """
    renamed = renamed_state(state, table, source)
    check_fits(module, renamed, source)
    module.load_state_dict(renamed)


def check_fits(module: nn.Module, renamed: State, source: str) -> None:
    """Compare a state dict in our names with what a module wants; only shapes are looked at.

    Raises:
        UserError: as ``load_state``.
    """
    own = module.state_dict()
    wrong = {
        "missing": [key for key in own if key not in renamed and not re.search(OPTIONAL, key)],
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


def renamed_state(state: Mapping[str, Tensor], table: Table, source: str) -> State:
    """As ``rename``, for tensors of someone else's file.

    Raises:
        UserError: the table cannot be applied to them.
    """
    try:
        return rename(state, table)
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"The weights in {source} are not of the format they look like: {error}.") from error


def read_state_dict(path: str | Path) -> State:
    """Tensors of a ``.safetensors`` or torch file; nothing in the file is executed (see ``snapshots``).

    A dict with ``model`` or ``state_dict`` is opened, and a ``module.`` prefix (DataParallel) taken off.

    Raises:
        UserError: no such file, not a checkpoint, one that asks for code, or no tensors in it.
    """
    path = existing(path)
    return without_prefix(read_safetensors(path) if path.suffix == ".safetensors" else read_torch_state(path).state)


def existing(path: str | Path) -> Path:
    """The path, ``~`` put in full.

    Raises:
        UserError: there is no such file.
    """
    path = Path(path).expanduser()
    try:
        check_regular(path)
    except NotRegular as error:
        raise UserError(f"Expected a file of weights at {path}: {error}.") from error
    except (OSError, ValueError) as error:
        raise UserError(
            f"Expected a file of weights at {path}, found none. Check the path (a value of the config)."
        ) from error
    return path


def without_prefix(state: State) -> State:
    """A state dict without the ``module.`` that DataParallel puts before every key."""
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def read_safetensors(path: Path) -> State:
    """Tensors of a safetensors file.

    Raises:
        UserError: it is none, or holds no tensor.
    """
    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError) as error:
        raise UserError(f"Expected a safetensors file at {path}, could not read it: {error}.") from error
    if not state:
        raise UserError(f"Expected tensors in {path}, found none.")
    return state


def _listed(keys: list[str], most: int = 12) -> str:
    rest = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest
