"""Inert records in place of the objects that a pickle would build (see ``safe_pickle``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeGuard

import torch

from mammorisk.system.printing import cited

NUMBER_MOST = 1 << 40  # of elements, and of whatever else is counted


class UnsafePickle(ValueError):  # noqa: N818
    """A pickle that would run code, or is damaged; the text continues a sentence that begins with "the file"."""


@dataclass(eq=False, slots=True)
class Name:
    """A global that the pickle names: admitted, and never imported."""

    name: str  # with its module


@dataclass(eq=False, slots=True)
class Inert:
    """Record of an object of an admitted class: the callable, and the state it was given."""

    name: str
    state: object = None


@dataclass(eq=False, slots=True)
class Storage:
    """A stored array or a part of one; its numbers are elsewhere in the file."""

    key: str
    dtype: torch.dtype
    total: int  # elements of the whole array
    start: int  # first element of this part
    numel: int  # elements of this part


@dataclass(eq=False, slots=True)
class TensorView:
    """A tensor: within the bounds of its storage, and with no more elements than it."""

    storage: Storage
    offset: int  # elements from the storage's own start
    size: tuple[int, ...]
    stride: tuple[int, ...]


def is_count(number: object) -> TypeGuard[int]:
    """Whether a value of the file may be a number of elements."""
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= NUMBER_MOST


def kind_of(value: object) -> str:
    """Kind of a value, for messages."""
    return printable(value.name) if isinstance(value, Name | Inert) else f"a {type(value).__name__}"


def printable(text: str, most: int = 100) -> str:
    """A text of the file, cut, and safe to print."""
    return cited(text[:most])
