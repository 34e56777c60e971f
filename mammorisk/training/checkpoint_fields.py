"""Types of the entries of a checkpoint: each reads a value, or raises an error that names what is wrong.

They read the records of ``weights.safe_pickle``. A file may name one list in many places, and so have far more entries
than bytes. Therefore each visit of an entry counts, and so do the bytes of tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor

from mammorisk.weights.pickle_records import TensorView, kind_of, printable
from mammorisk.weights.safe_pickle import STEPS_MOST
from mammorisk.weights.tensor_checks import TYPES, is_dense, not_finite, type_name

COUNT_MOST = 1 << 53  # of whatever is counted
DEPTH_MOST = 4  # of lists in the plain values of an optimiser
NAME_MOST = 3200  # letters of an entry's name

T = TypeVar("T")


class BadEntry(ValueError):  # noqa: N818
    """An invalid entry; the text names it, what was expected and what was found."""


@dataclass
class Reader:
    """The entries and bytes that may still be read from a file."""

    tensor: Callable[[TensorView], Tensor]  # reads one
    bytes_left: int  # of all tensors
    entries_left: int = STEPS_MOST  # an honest file has a pickle instruction for each
    owners: dict[str, str] = field(default_factory=dict)  # key of a stored array -> the tensor that has it to itself

    def enter(self, where: str) -> None:
        """Count a visit.

        Raises:
            BadEntry: there were too many.
        """
        self.entries_left -= 1
        if self.entries_left < 0:
            raise BadEntry(f"{where}: its lists name each other over and over, to more than {STEPS_MOST:,} entries")


Type = Callable[[object, str, Reader], Any]


def count(low: int = 0, high: int = COUNT_MOST) -> Type:
    """A whole number within bounds."""

    def read(value: object, where: str, reader: Reader) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise _unlike(where, "a whole number", value)
        if not low <= value <= high:
            raise BadEntry(f"{where}: expected {low:,} to {high:,}, found another number")
        return value

    return read


def number(value: object, where: str, reader: Reader) -> float:
    """A number; NaN stands for a measure that is not defined."""
    if isinstance(value, bool) or not isinstance(value, int | float) or (isinstance(value, int) and abs(value) > 1e300):
        raise _unlike(where, "a number", value)
    return value


def text(most: int, lines: bool = False) -> Type:
    """A text of at most so many letters; of one line that can be printed, unless ``lines``."""

    def read(value: object, where: str, reader: Reader) -> str:
        if not isinstance(value, str):
            raise _unlike(where, "a text", value)
        if len(value) > most:
            raise BadEntry(f"{where}: expected a text of at most {most:,} letters, found {len(value):,}")
        if not (lines or value.isprintable()) or any("\ud800" <= letter <= "\udfff" for letter in value):
            raise BadEntry(f"{where}: expected a text that can be printed, found '{printable(value)}'")
        return value

    return read


def nothing_or(type_: Type) -> Type:
    """A value, or none."""
    return lambda value, where, reader: None if value is None else type_(value, where, reader)


def items(*types: Type) -> Type:
    """A list of so many values, each of its own type."""

    def read(value: object, where: str, reader: Reader) -> list[Any]:
        if not isinstance(value, list) or len(value) != len(types):
            raise _unlike(where, f"a list of {len(types)}", value)
        return [type_(value[i], f"{where}.{i}", _entered(reader, where)) for i, type_ in enumerate(types)]

    return read


def list_of(type_: Type, most: int = STEPS_MOST) -> Type:
    """A list of values of one type."""

    def read(value: object, where: str, reader: Reader) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise _unlike(where, f"a list of at most {most:,}", value)
        return [type_(each, f"{where}.{i}", _entered(reader, where)) for i, each in enumerate(value)]

    return read


def dict_of(type_: Type, key: type[str] | type[int] = str) -> Type:
    """A dict of values of one type, its keys texts that can be printed, or whole numbers."""

    def read(value: object, where: str, reader: Reader) -> dict[Any, Any]:
        return {name: type_(each, f"{where}.{name}", reader) for name, each in _dict(value, where, reader, key).items()}

    return read


def record(**types: Type) -> Type:
    """A dict of just these entries."""

    def read(value: object, where: str, reader: Reader) -> dict[str, Any]:
        found = _dict(value, where, reader, str)
        prefix = f"{where}." if where else ""
        if missing := [name for name in types if name not in found]:
            raise BadEntry(f"{prefix}{missing[0]}: it is not there")
        if unknown := [name for name in found if name not in types]:
            raise BadEntry(f"{prefix}{unknown[0]}: no checkpoint has such an entry")
        return {name: type_(found[name], f"{prefix}{name}", reader) for name, type_ in types.items()}

    return read


def tensor(
    types: Collection[torch.dtype] = TYPES,
    shape: tuple[int, ...] | None = None,
    finite: bool = True,
    within: tuple[int, int] | None = None,
    shared: bool = False,
) -> Type:
    """A dense tensor.

    Args:
        types: allowed dtypes.
        shape: required shape; None: any.
        finite: whether NaN and infinite numbers are refused.
        within: bounds of its numbers, both included.
        shared: whether it may share its storage with others.
    """

    def read(value: object, where: str, reader: Reader) -> Tensor:
        if not isinstance(value, TensorView):
            raise _unlike(where, "a tensor", value)
        _check_layout(value, where, reader, shared)
        found = reader.tensor(value)
        if found.dtype not in types:
            raise BadEntry(f"{where}: expected {' or '.join(_names(types))}, found {type_name(found)}")
        if shape is not None and found.shape != shape:
            raise BadEntry(f"{where}: expected a tensor of the shape {list(shape)}, found {list(found.shape)}")
        if finite and (bad := not_finite(found)):
            raise BadEntry(f"{where}: {bad:,} of its {found.numel():,} numbers are NaN or infinite")
        if within is not None and found.numel() and not within[0] <= int(found.min()) <= int(found.max()) <= within[1]:
            raise BadEntry(f"{where}: expected numbers from {within[0]:,} to {within[1]:,}, found others")
        return found

    return read


def plain(value: object, where: str, reader: Reader, depth: int = 0) -> Any:
    """A value of an optimiser's state: None, a truth value, a number, a name, a tensor, or a list of these."""
    reader.enter(where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if not (abs(value) <= COUNT_MOST or (isinstance(value, float) and math.isinf(value))):
            raise BadEntry(f"{where}: expected a number, found NaN or one that is too large")
        return value
    if isinstance(value, str):
        return text(NAME_MOST)(value, where, reader)
    if isinstance(value, TensorView):
        return tensor()(value, where, reader)
    if isinstance(value, list | tuple) and depth < DEPTH_MOST:
        return type(value)(plain(each, f"{where}.{i}", reader, depth + 1) for i, each in enumerate(value))
    raise _unlike(where, "a number, a name or a tensor", value)


def _check_layout(view: TensorView, where: str, reader: Reader, shared: bool) -> None:
    if not is_dense(view.size, view.stride):
        raise BadEntry(
            f"{where}: its elements do not lie one after another (shape {list(view.size)}, strides {list(view.stride)})"
        )
    key, size = view.storage.key, view.storage.dtype.itemsize * math.prod(view.size)
    reader.bytes_left -= size
    if reader.bytes_left < 0:
        raise BadEntry(f"{where}: the tensors up to this one have more bytes together than the file")
    if not shared and size and reader.owners.setdefault(key, where) != where:
        raise BadEntry(f"{where}: has its numbers in common with {reader.owners[key]}")


def _dict(value: object, where: str, reader: Reader, key: type) -> dict[Any, object]:
    if not isinstance(value, dict):
        raise _unlike(where, "a dict", value)
    for name in value:
        reader.enter(where)
        if type(name) is not key or (isinstance(name, str) and (len(name) > NAME_MOST or not name.isprintable())):
            raise BadEntry(f"{where}: has an entry named '{printable(str(name))}'; expected a {key.__name__} there")
    return value


def _entered(reader: Reader, where: str) -> Reader:
    reader.enter(where)
    return reader


def _unlike(where: str, expected: str, value: object) -> BadEntry:
    found = "a tensor" if isinstance(value, TensorView) else "nothing" if value is None else kind_of(value)
    if isinstance(value, list):
        found = f"a list of {len(value):,}"
    return BadEntry(f"{where}: expected {expected}, found {found}")


def _names(types: Collection[torch.dtype]) -> list[str]:
    return sorted(str(each).removeprefix("torch.") for each in types)
