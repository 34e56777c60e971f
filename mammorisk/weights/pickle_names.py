"""Names that a pickle may contain: those that become inert records, and the few whose result is data."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import prod
from typing import TypeGuard

import torch

from mammorisk.weights.pickle_records import NUMBER_MOST, Name, Storage, TensorView, UnsafePickle, is_count, printable

Spend = Callable[[int], None]  # counts steps, and refuses a pickle that takes too many
DIMENSIONS_MOST = 16

# Modules whose classes a snapshot of a network is made of, and single names: all of them become records.
MODULES = ("onconet.", "torch.nn.")
NAMES = frozenset(
    [
        "argparse.Namespace",  # a snapshot's training arguments
        "torch.device",
        "_codecs.encode",  # numpy's bytes in protocol 2
        "numpy.dtype",
        "numpy.ndarray",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    ]
)
STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

# Tensors that network weights never are, by the part of their builder's or storage's name that identifies them.
FOREIGN_TENSORS = {
    "_rebuild_meta_tensor": "a meta tensor, which has a shape and no numbers",
    "_rebuild_sparse": "a sparse tensor",
    "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_qtensor": "a quantised tensor",
    "_rebuild_tensor_v3": "a tensor of a rare type (float8, uint16, complex32 ...)",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
    "Complex": "a tensor of complex numbers",
    "QInt": "a quantised tensor",
    "QUInt": "a quantised tensor",
}


def admitted(module: object, name: object) -> Name:
    """Make the record of a global that is on the list.

    Raises:
        UnsafePickle: it is not.
    """
    if not isinstance(module, str) or not isinstance(name, str):
        raise UnsafePickle("is damaged (the name of a global is no text)")
    text = f"{module}.{name}"
    shaped = re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text, re.ASCII) is not None and "." not in name
    if shaped and (text.startswith(MODULES) or text in NAMES or text in BUILDERS or _is_storage_name(text)):
        return Name(text)
    for start, what in FOREIGN_TENSORS.items():
        if text.startswith((f"torch._utils.{start}", f"torch.{start}")):
            raise UnsafePickle(f"holds {what} ({printable(text)}); expected dense tensors of ordinary numbers")
    raise UnsafePickle(
        f"refers to {printable(text)}. Only tensors, containers and the classes of a network (onconet, torch.nn) are "
        "read, and those as data; nothing in the file was executed"
    )


def _is_storage_name(text: str) -> bool:
    module, _, name = text.rpartition(".")
    return module in ("torch", "torch.cuda") and name in STORAGES


def _tensor(arguments: tuple[object, ...], spend: Spend) -> TensorView:
    storage, offset, size, stride = arguments[:4] if len(arguments) >= 4 else (None,) * 4
    if not isinstance(storage, Storage) or not is_count(offset) or not _are_counts(size) or not _are_counts(stride):
        raise UnsafePickle("is damaged (a tensor without a storage, an offset, sizes or strides)")
    if len(size) != len(stride) or prod(max(n, 1) for n in size) > NUMBER_MOST:
        raise UnsafePickle("is damaged (a tensor's sizes and strides do not go together)")
    count = prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > storage.numel or (count and last >= storage.numel):
        raise UnsafePickle(f"is damaged (a tensor goes beyond the {storage.numel:,} elements of its storage)")
    return TensorView(storage, offset if count else 0, size, stride)


def _parameter(arguments: tuple[object, ...], spend: Spend) -> TensorView:
    if not arguments or not isinstance(arguments[0], TensorView):
        raise UnsafePickle("is damaged (a parameter without a tensor)")
    return arguments[0]


def _ordered_dict(arguments: tuple[object, ...], spend: Spend) -> dict[str, object]:
    pairs = arguments[0] if arguments else []
    if len(arguments) > 1 or not isinstance(pairs, list | tuple):
        raise UnsafePickle("is damaged (an OrderedDict of something else than pairs)")
    spend(len(pairs))  # the memo may return one list many times
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise UnsafePickle("is damaged (an OrderedDict of something else than pairs)")
    return {pair[0]: pair[1] for pair in pairs if isinstance(pair[0], str)}


def _members(arguments: tuple[object, ...], spend: Spend) -> object:
    """A set or torch.Size as the list it was made of, not copied: the memo may return one list many times."""
    if len(arguments) > 1 or not all(isinstance(argument, list | tuple) for argument in arguments):
        raise UnsafePickle("is damaged (a set of something else than a list)")
    return arguments[0] if arguments else []


BUILDERS: dict[str, Callable[[tuple[object, ...], Spend], object]] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _members,
    **{f"{module}.{name}": _members for module in ("builtins", "__builtin__") for name in ("set", "frozenset")},
}


def _are_counts(numbers: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(numbers, tuple) and len(numbers) <= DIMENSIONS_MOST and all(map(is_count, numbers))
