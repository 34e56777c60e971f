from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from helpers.ranks import on_ranks

from mammorisk.distributed.collectives import all_gather_objects
from mammorisk.distributed.errors import raise_on_all_ranks, run_main_first, run_on_all_ranks
from mammorisk.errors import UserError


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_together_runs_the_task_once_and_passes_its_error_on():
    ran = []
    assert run_main_first(lambda: ran.append(1) or "result") == "result"
    assert ran == [1]

    def fail() -> None:
        raise UserError("no such cohort")

    for run_it in (run_main_first, run_on_all_ranks):
        with pytest.raises(UserError, match="no such cohort") as caught:
            run_it(fail)
        assert isinstance(caught.value.__cause__, UserError)  # its trace is kept
    assert run_on_all_ranks(lambda: "result") == "result"
    raise_on_all_ranks(None)


def two_processes() -> dict[str, Any]:
    """Outcomes of shared tasks on each of two ranks."""
    other = os.environ["RANK"] == "1"
    order: list[str] = []
    return {
        "together": _run_main_first(lambda: order.append("ran"), order),
        "one fails": _run_main_first(lambda: _fail_if(other), order),
        "main fails": _run_main_first(lambda: _fail_if(not other), order),
        "one fails at once": _run_main_first(lambda: _fail_if(other), order, run_on_all_ranks),
        "at once": _run_main_first(
            lambda: all_gather_objects(1), ["ran"], run_on_all_ranks
        ),  # alone in it, a process would wait for ever
    }


def _run_main_first(task: Callable[[], Any], order: list[str], run_it: Callable[..., Any] = run_main_first) -> str:
    try:
        run_it(task)
    except UserError as error:
        return str(error)
    return " ".join(order)


def _fail_if(condition: bool) -> None:
    if condition:
        raise UserError(f"rank {os.environ['RANK']} cannot")


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, Any]]:
    return on_ranks(two_processes)


def on_both(ranks: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [found[name] for found in ranks]


def test_pitfall_06_a_task_that_fails_on_one_rank_fails_on_both(ranks):
    assert on_both(ranks, "together") == ["ran", "ran"]
    assert on_both(ranks, "one fails") == ["rank 1 cannot", "rank 1 cannot"]
    assert on_both(ranks, "main fails") == ["rank 0 cannot", "rank 0 cannot"]
    assert on_both(ranks, "one fails at once") == ["rank 1 cannot", "rank 1 cannot"]
    assert on_both(ranks, "at once") == ["ran", "ran"]
