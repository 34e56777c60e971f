from __future__ import annotations

import os
import sys
from typing import Any

import pytest
import torch
from helpers.ranks import on_ranks

from mammorisk.distributed.launch import check_world_size, end_processes, is_main_rank
from mammorisk.errors import UserError
from mammorisk.runs.directory import STAMP
from mammorisk.runs.start import start_processes


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_has_a_stamp_and_no_group(monkeypatch):
    monkeypatch.delenv(STAMP, raising=False)
    arguments = list(sys.argv)
    start_processes()
    assert os.environ[STAMP].startswith("20")
    assert sys.argv == arguments
    end_processes()
    assert not torch.distributed.is_initialized()


def started() -> dict[str, Any]:
    """State of a rank after its start."""
    return {
        "argv": sys.argv[-1] == "hydra.output_subdir=null",
        "stamp": os.environ[STAMP],
        "main": is_main_rank(),
        "wanted": _message(lambda: check_world_size(3)) or _message(lambda: check_world_size(2)),
    }


def _message(check: Any) -> str:
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def exchanged() -> list[dict[str, Any]]:
    return on_ranks(started)


def test_pitfall_09_all_ranks_have_one_stamp_and_rank_0_writes_hydras_files(exchanged):
    assert exchanged[0]["stamp"] == exchanged[1]["stamp"]
    assert [found["argv"] for found in exchanged] == [False, True]
    assert [found["main"] for found in exchanged] == [True, False]


def test_pitfall_22_another_number_of_processes_than_started_is_refused(exchanged):
    for found in exchanged:
        assert "You asked for 3 processes, but 2 started" in found["wanted"]
