"""User errors that all ranks raise together, so that no rank waits for one that has ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from mammorisk.distributed.collectives import all_gather_objects, broadcast_object
from mammorisk.distributed.launch import is_main_rank, world_size
from mammorisk.errors import UserError

T = TypeVar("T")


def run_main_first(task: Callable[[], T]) -> T:
    """Run ``task`` on every process, the main process first; raise a user error of any process on all. Collective.

    The other processes find the files that the main process writes.
    """
    tried: tuple[T | None, UserError | None] = (None, None)
    for turn in ("main", "others") if world_size() > 1 else ("main",):
        if world_size() == 1 or is_main_rank() == (turn == "main"):
            tried = _tried(task)
        raise_on_all_ranks(tried[1])
    return cast(T, tried[0])


def run_on_all_ranks(task: Callable[[], T]) -> T:
    """Run ``task`` on all processes at the same time; raise a user error of any process on all.

    Collective.
    """
    result, error = _tried(task)
    raise_on_all_ranks(error)
    return cast(T, result)


def run_on_main_rank(task: Callable[[], T]) -> T:
    """Run ``task`` on the main process only; return its value, or raise its user error, on all. Collective."""
    result, error = _tried(task) if is_main_rank() else (None, None)
    raise_on_all_ranks(error)
    return cast(T, broadcast_object(result))


def _tried(task: Callable[[], T]) -> tuple[T | None, UserError | None]:
    """Run a task; return its value, or its user error."""
    try:
        return task(), None
    except UserError as error:
        return None, error


def raise_on_all_ranks(error: UserError | None) -> None:
    """Raise the error of the lowest rank that has one on all processes. Collective."""
    for found in all_gather_objects(None if error is None else str(error)):
        if found is not None:
            raise UserError(found) from error
