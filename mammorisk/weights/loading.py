"""Reading of foreign weights without running code, and strict loading through a renaming table."""

from __future__ import annotations

import logging
import os
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mammorisk.errors import UserError
from mammorisk.system.regular_files import NotRegular, check_regular, open_regular
from mammorisk.weights.pickle_records import printable
from mammorisk.weights.renaming import State, Table, rename
from mammorisk.weights.snapshots import DEPTH_MOST, NAME_MOST, PARTS_MOST, read_torch_state
from mammorisk.weights.tensor_checks import check_finite, check_types, converted, type_name
from mammorisk.weights.torch_files import FILE_MOST

LOGGER = logging.getLogger("mammorisk")  # as runs.logs.LOGGER, whose module imports this one indirectly
HEADER_MOST = 8 << 20  # bytes of a safetensors file's header; a network's has 100 a tensor
OPTIONAL = r"(^|\.)input_(mean|std)$"  # an encoder's intensity scale, a buffer that only our files have


def load_state(module: nn.Module, state: Mapping[str, Tensor], table: Table, source: str = "the checkpoint") -> None:
    """Load a state dict through a table, all of it into all of the module.

    Numbers of another precision (float64, float16) become the module's, with a line in the log.

    Args:
        module: what to fill.
        state: key -> tensor, in the file's own names.
        table: renaming rules of the file's format.
        source: where the state comes from, for the message.

    Raises:
        UserError: as ``load_weights``.
    """
    wanted = {key: tensor.dtype for key, tensor in module.state_dict().items()}
    renamed, note = converted(renamed_state(state, table, source), wanted)
    load_weights(module, renamed, source)
    if note:
        LOGGER.warning("%s: %s", source, note)


def load_weights(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load a state dict in the module's own names, shapes and types, all of it into all of the module.

    Args:
        module: what to fill.
        state: name -> tensor.
        source: where the state comes from, for the message.

    Raises:
        UserError: names are missing, left over, of another shape or type, or a number is NaN or infinite; lists them
            and leaves the module unchanged. An encoder's intensity scale may be missing, and then stays.
    """
    check_fits(module, state, source)
    check_finite(state, source)
    module.load_state_dict(dict(state))


def check_fits(module: nn.Module, renamed: Mapping[str, Tensor], source: str) -> None:
    """Compare names, shapes and types of a state dict in our names with those of a module.

    Raises:
        UserError: as ``load_weights``.
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
        "of another type": [
            f"{key} {type_name(renamed[key])}, expected {type_name(own[key])}"
            for key in own
            if key in renamed and renamed[key].dtype != own[key].dtype
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
    """Rename tensors of a foreign file, as ``rename`` does.

    Raises:
        UserError: the table cannot be applied to them.
    """
    try:
        return rename(state, table)
    except (ValueError, RuntimeError, IndexError) as error:
        raise UserError(f"The weights in {source} are not of the format they look like: {error}.") from error


def read_state_dict(path: str | Path) -> State:
    """Tensors of a ``.safetensors`` or torch file; nothing in the file is executed (see ``snapshots``).

    A dict with ``model`` or ``state_dict`` is unwrapped, and a ``module.`` prefix (DataParallel) removed.

    Raises:
        UserError: no such file, not a checkpoint, one that would run code, or no tensors in it.
    """
    path = existing(path)
    return without_prefix(read_safetensors(path) if path.suffix == ".safetensors" else read_torch_state(path).state)


def existing(path: str | Path) -> Path:
    """The path with ``~`` expanded.

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
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} may not be read by you. Ask its owner for the right, or copy it.")
    return path


def without_prefix(state: State) -> State:
    """Remove the ``module.`` that DataParallel puts before every key."""
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): tensor for key, tensor in state.items()}


def read_safetensors(path: Path) -> State:
    """Tensors of a safetensors file; the library compares their sizes with the file's.

    Raises:
        UserError: it is not one, holds no tensor, or one that cannot be a network's.
    """
    try:
        _check_header(path)
        state = load_file(path)
    except (SafetensorError, OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"Expected a safetensors file at {path}, could not read it: {printable(str(error))}."
        ) from error
    if not state:
        raise UserError(f"Expected tensors in {path}, found none.")
    if len(state) > PARTS_MOST or not all(len(key) <= DEPTH_MOST * NAME_MOST and key.isprintable() for key in state):
        raise UserError(
            f"Expected the tensors of a network in {path}, found {len(state):,}, or names not to be printed."
        )
    check_types(state, str(path))
    return state


def _check_header(path: Path) -> None:
    """Check the declared size of the header, and that of the file, before a library reads them."""
    size = path.stat().st_size
    with open_regular(path) as file:
        start = file.read(8)
    header = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < header <= min(HEADER_MOST, size - 8) or size > FILE_MOST:
        raise ValueError(f"its header declares {header:,} bytes, and the file has {size:,}")


def _listed(keys: list[str], most: int = 12) -> str:
    rest = f", and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(keys[:most]) + rest
