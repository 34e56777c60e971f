from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from helpers.ranks import on_ranks
from torch import nn

from mammorisk.distributed.collectives import (
    all_gather_objects,
    broadcast_buffers,
    broadcast_object,
    gather_by_sample,
    share_of_known_years,
)


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


def test_one_process_needs_no_exchange():
    assert broadcast_object("x") == "x"
    assert all_gather_objects("x") == ["x"]
    norm = nn.BatchNorm1d(2)
    broadcast_buffers(norm)
    assert norm.running_mean.tolist() == [0, 0]


def test_pitfall_08_one_process_counts_a_repeated_sample_once():
    seen = rows(5, 2, 5, 9, 2)
    first = {"loss": np.arange(5, dtype=np.float32)}
    samples, found = gather_by_sample(seen, first)
    assert samples.tolist() == [2, 5, 9]
    assert found["loss"].tolist() == [1, 0, 3]  # the first of each
    samples, found = gather_by_sample(rows(), {})
    assert (samples.tolist(), found) == ([], {})


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
        "agreed": broadcast_object({"row": rank, "c_index": float("nan")})["row"],
        "gathered": all_gather_objects((rank, "x" * (1 + 1000 * rank))),
        "mean": norm.running_mean.tolist(),
        "batches": int(norm.num_batches_tracked),
        "weight": norm.weight.tolist(),
        "both": gather_by_sample(seen, values(seen, 100 * rank)),
        "turns": gather_by_sample(later, values(later, 100 * rank)),
        "one": gather_by_sample(rows(7, 3) if rank else rows(), values(rows(7, 3)) if rank else {}),
        "none": gather_by_sample(rows(), {}),
        "share": share_of_known_years(torch.ones(3, 2, 5 if rank == 0 else 1)).tolist(),  # type: ignore[union-attr]
        "unknown": share_of_known_years(torch.zeros(3, 2, 5)).tolist(),  # type: ignore[union-attr]
    }
    return found


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
