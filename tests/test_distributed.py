from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from torch import nn

from mammorisk import distributed
from mammorisk.distributed import (
    StopSignals,
    agree,
    broadcast_buffers,
    check_world_size,
    end_processes,
    gather,
    gather_by_sample,
    is_main_rank,
    rank,
    share_of_known_years,
    start_processes,
    world_size,
)
from mammorisk.errors import STOP_SIGNALS, UserError
from mammorisk.run_directory import STAMP

# Started by a process whose command line is that of `accelerate launch`.
AS_ACCELERATE = """
import subprocess, sys
sys.exit(subprocess.run([sys.executable, "-c", '''
from mammorisk.distributed import check_world_size
check_world_size(None)
''']).returncode)
"""


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def rows(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def values(numbers: np.ndarray, offset: float = 0.0) -> dict[str, np.ndarray]:
    """What was computed for samples: a vector that tells the sample, and the process that computed it."""
    base = numbers.astype(np.float32)
    return {"logits": np.stack([base, base + 0.5], axis=1), "loss": base + np.float32(offset)}


def test_rank_and_world_size_are_the_launchers(monkeypatch):
    assert (world_size(), rank(), is_main_rank()) == (1, 0, True)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("RANK", "3")
    assert (world_size(), rank(), is_main_rank()) == (4, 3, False)
    monkeypatch.setenv("RANK", "0")
    assert is_main_rank()


def test_one_process_needs_no_exchange(monkeypatch):
    monkeypatch.delenv(STAMP, raising=False)
    arguments = list(sys.argv)
    start_processes()
    assert os.environ[STAMP].startswith("20")
    assert sys.argv == arguments
    assert agree("x") == "x"
    assert gather("x") == ["x"]
    norm = nn.BatchNorm1d(2)
    broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [0, 0]
    end_processes()
    assert not torch.distributed.is_initialized()


def test_pitfall_08_one_process_counts_a_repeated_sample_once():
    seen = rows(5, 2, 5, 9, 2)
    first = {"loss": np.arange(5, dtype=np.float32)}
    samples, found = gather_by_sample(seen, first)
    assert samples.tolist() == [2, 5, 9]
    assert found["loss"].tolist() == [1, 0, 3]  # the first of each
    samples, found = gather_by_sample(rows(), {})
    assert (samples.tolist(), found) == ([], {})


def test_a_port_that_is_taken_is_a_message(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        meeting = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in meeting.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError, match=f"another program uses the port of 127.0.0.1:{port}") as caught:
            start_processes()
    assert "--rdzv-endpoint localhost:0" in str(caught.value)


def test_processes_that_do_not_meet_are_a_message(monkeypatch):
    monkeypatch.setattr(distributed, "_MEETING", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in meeting.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"have not met at 127.0.0.1:{port} within 0:00:01"):
        start_processes()


def exchanges() -> dict[str, Any]:
    """Everything that two ranks exchange, one after the other: starting them takes long."""
    rank = int(os.environ["RANK"])
    norm = nn.BatchNorm1d(2)
    norm.running_mean += 1 + rank
    norm.num_batches_tracked += 5 + rank
    broadcast_buffers(norm)
    seen = rows(4, 0, 2) if rank == 0 else rows(3, 1, 4, 1)
    later = rows(5, 6, 7) if rank == 0 else rows(7, 5)  # 7 is rank 1's first turn and rank 0's third
    found = {
        "argv": sys.argv[-1] == "hydra.output_subdir=null",
        "stamp": os.environ[STAMP],
        "agreed": agree({"row": rank, "c_index": float("nan")})["row"],
        "gathered": gather((rank, "x" * (1 + 1000 * rank))),
        "main": is_main_rank(),
        "mean": norm.running_mean.tolist(),
        "batches": int(norm.num_batches_tracked),
        "weight": norm.weight.tolist(),
        "both": gather_by_sample(seen, values(seen, 100 * rank)),
        "turns": gather_by_sample(later, values(later, 100 * rank)),
        "one": gather_by_sample(rows(7, 3) if rank else rows(), values(rows(7, 3)) if rank else {}),
        "none": gather_by_sample(rows(), {}),
        "share": share_of_known_years(torch.ones(3, 2, 5 if rank == 0 else 1)).tolist(),  # type: ignore[union-attr]
        "unknown": share_of_known_years(torch.zeros(3, 2, 5)).tolist(),  # type: ignore[union-attr]
        "wanted": _message(lambda: check_world_size(3)) or _message(lambda: check_world_size(2)),
    }
    return found


def _message(check: Any) -> str:
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def exchanged() -> list[dict[str, Any]]:
    return on_ranks(exchanges)


def test_pitfall_08_every_sample_of_all_ranks_once_and_in_order(exchanged):
    for found in exchanged:
        samples, named = found["both"]
        assert samples.tolist() == [0, 1, 2, 3, 4]
        assert samples.dtype == np.int64
        assert named["logits"].tolist() == [[n, n + 0.5] for n in range(5)]
        assert named["loss"].tolist() == [0, 101, 2, 103, 4]  # sample 4 is rank 0's, the first
        assert found["turns"][0].tolist() == [5, 6, 7]
        assert found["turns"][1]["loss"].tolist() == [5, 6, 107]


def test_a_rank_without_samples_takes_part(exchanged):
    for found in exchanged:
        samples, named = found["one"]
        assert samples.tolist() == [3, 7]
        assert named["logits"][:, 0].tolist() == [3, 7]
        assert found["none"][0].tolist() == []


def test_pitfall_09_all_ranks_have_one_stamp_and_rank_0_writes_hydras_files(exchanged):
    assert exchanged[0]["stamp"] == exchanged[1]["stamp"]
    assert [found["argv"] for found in exchanged] == [False, True]
    assert [found["main"] for found in exchanged] == [True, False]


def test_rank_0_decides_and_all_are_heard_in_order(exchanged):
    assert [found["agreed"] for found in exchanged] == [0, 0]
    assert [[rank for rank, _ in found["gathered"]] for found in exchanged] == [[0, 1], [0, 1]]
    assert [len(text) for _, text in exchanged[0]["gathered"]] == [1, 1001]


def test_buffers_become_rank_0s(exchanged):
    for found in exchanged:
        assert found["mean"] == [1, 1]
        assert found["batches"] == 5
        assert found["weight"] == [1, 1]


def test_a_process_s_share_is_of_all_known_years(exchanged):
    assert [found["share"] for found in exchanged] == [[pytest.approx(10 / 6)] * 2, [pytest.approx(2 / 6)] * 2]
    assert all(found["unknown"] == [0, 0] for found in exchanged)
    assert share_of_known_years(torch.ones(3, 2, 5)) is None  # one process


def test_pitfall_22_another_number_of_processes_is_refused(exchanged):
    for found in exchanged:
        assert "You asked for 3 processes, but 2 started" in found["wanted"]
    check_world_size(1)
    check_world_size(None)
    with pytest.raises(UserError, match="You asked for 2 processes, but 1 started") as caught:
        check_world_size(2)
    assert "torchrun --nproc-per-node 2 -m mammorisk.train" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--num_processes", "2"], 2),
        (["--num-processes=3"], 3),
        (["--num_processes", "1"], None),
        (["--mixed_precision", "no"], None),
    ],
)
def test_pitfall_22_accelerates_silent_single_process_is_noticed(tmp_path, options, asked):
    (tmp_path / "accelerate").write_text(AS_ACCELERATE)
    command = [sys.executable, str(tmp_path / "accelerate"), "launch", *options, "-m", "mammorisk.train"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode == 0) is (asked is None), done.stderr
    if asked is not None:
        assert f"You asked for {asked} processes, but 1 started" in done.stderr


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signals_are_noted_and_given_back(number):
    heard = []
    before = signal.signal(number, lambda *_: heard.append("before"))
    try:
        with StopSignals() as signals:
            assert signals.received is None
            signal.raise_signal(number)
            assert signals.received == number
        assert heard == []
        signal.raise_signal(number)
        assert heard == ["before"]
    finally:
        signal.signal(number, before)


def test_signals_are_given_back_after_an_exception():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopSignals():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_outside_the_main_thread_signals_stay_as_they_were():
    found = []

    def listen() -> None:
        with StopSignals() as signals:
            found.append(signals.received)

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [None]
    assert signal.getsignal(signal.SIGTERM) is before
