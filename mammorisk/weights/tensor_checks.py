"""Checks of stored tensors before a network gets them: bytes, layout, types, finite values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.weights.pickle_names import STORAGES

SHARED_MOST = 4  # bytes of all tensors, as a multiple of the file's: layers may share their weights, not endlessly
TYPES = frozenset(STORAGES.values())  # of tensors that are read at all


def is_dense(size: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether a tensor's elements are contiguous in some order of its axes, each in its own place."""
    if not all(size):
        return True
    step = 1
    for length, own in sorted(zip(size, stride, strict=True), key=lambda axis: axis[1]):
        if length > 1 and own != step:
            return False
        step *= length
    return True


def not_finite(tensor: Tensor) -> int:
    """Number of elements that are NaN or infinite; of a tensor without memory, none."""
    if tensor.is_meta or not tensor.is_floating_point():
        return 0
    return tensor.numel() - int(torch.isfinite(tensor).sum())


def check_finite(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        state: name -> tensor.
        source: of the weights, for the message.

    Raises:
        UserError: names the first tensor with a NaN or an infinite number.
    """
    for name, tensor in state.items():
        if bad := not_finite(tensor):
            raise UserError(
                f"The weights in {source} cannot be used: {bad:,} of {tensor.numel():,} numbers of the tensor {name} "
                "are NaN or infinite. The weights of that training diverged, or the file is damaged: take weights "
                "of an earlier epoch, or copy the file again."
            )


def check_types(state: Mapping[str, Tensor], source: str) -> None:
    """Refuse tensors of types that no network here has, complex numbers first of all.

    Raises:
        UserError: names the first such tensor.
    """
    for name, tensor in state.items():
        if tensor.dtype not in TYPES:
            raise UserError(
                f"The weights in {source} cannot be used: the tensor {name} is {type_name(tensor)}. Expected ordinary "
                "numbers, as float32; save the weights as such."
            )


def check_bytes(tensors: Iterable[Tensor], size: int, source: str) -> None:
    """Refuse a file whose tensors share memory until they are far larger together than the file.

    Args:
        tensors: of the file.
        size: bytes of the file.
        source: of the file, for the message.

    Raises:
        UserError: they are.
    """
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if total > SHARED_MOST * size:
        raise UserError(
            f"The weights in {source} are inconsistent: the tensors have {total:,} bytes, and the file has "
            f"{size:,}. They share their numbers, as no network's weights do."
        )


def converted(state: Mapping[str, Tensor], wanted: Mapping[str, torch.dtype]) -> tuple[dict[str, Tensor], str]:
    """Convert floating-point tensors to the wanted types; others stay as they are.

    Args:
        state: name -> tensor.
        wanted: type of each tensor; a tensor that is not in it keeps its own.

    Returns:
        The tensors, and a sentence about the change, empty if all had the wanted types.
    """
    changed: dict[tuple[str, str], int] = {}
    found = {}
    for name, tensor in state.items():
        to = wanted.get(name, tensor.dtype)
        if tensor.dtype != to and tensor.is_floating_point() and to.is_floating_point:
            pair = (type_name(tensor), str(to).removeprefix("torch."))
            changed[pair] = changed.get(pair, 0) + 1
            tensor = tensor.to(to)
        found[name] = tensor
    return found, ", ".join(f"{count} tensors are {old} and are used as {new}" for (old, new), count in changed.items())


def type_name(tensor: Tensor) -> str:
    """The type of a tensor's numbers, as ``float32``."""
    return str(tensor.dtype).removeprefix("torch.")
