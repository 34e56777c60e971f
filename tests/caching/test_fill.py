from __future__ import annotations

import logging
import multiprocessing
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mammorisk.caching.arrays import ArrayEntries
from mammorisk.caching.entries import DamagedEntry
from mammorisk.caching.fill import Computation, precompute
from mammorisk.errors import UserError

CPU = torch.device("cpu")
FORK = multiprocessing.get_context("fork")  # no imports anew


class Means(ArrayEntries):
    setting, advice, suffix, record_name = "some.cache", "some.cache=null", ".mean", "means.json"
    dtype, what, of = "<f4", "means", "pictures"


@dataclass(frozen=True)
class Picture:
    value: int

    @property
    def name(self) -> str:
        return f"{self.value % 100:032d}"  # 100 apart: of equal content

    def load(self, image_size: tuple[int, int]) -> Tensor:
        if self.value < 0:
            raise UserError("this one cannot be read")
        return torch.full((1, *image_size), float(self.value % 100))


@pytest.fixture
def calls() -> list[int]:
    return []


@pytest.fixture
def mean(calls) -> Computation:
    def compute(images: Tensor) -> Tensor:
        calls.append(len(images))
        return images.mean((1, 2, 3))[:, None]

    return Computation(nn.Identity(), compute, (4, 3), batch_size=3)


def test_each_entry_is_computed_once_in_batches_and_belongs_to_its_source(tmp_path, mean, calls):
    cache, pictures = Means(tmp_path, {}, (1,)), [Picture(value) for value in (*range(8), 103, 107)]
    assert precompute(cache, pictures, mean, CPU, threads=2) == 8
    assert calls == [3, 3, 2]
    assert [cache.read(each.name).item() for each in pictures] == [0, 1, 2, 3, 4, 5, 6, 7, 3, 7]
    assert precompute(cache, pictures, mean, CPU) == 0
    assert calls == [3, 3, 2]


def test_only_what_is_missing_or_damaged_is_computed(tmp_path, mean, calls, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mammorisk"), "propagate", True)
    cache, pictures = Means(tmp_path, {}, (1,)), [Picture(value) for value in range(6)]
    cache.write(pictures[2].name, np.full(1, 20, np.float32))  # is kept as it is
    cache.write(pictures[4].name, np.full(1, 40, np.float32))
    path = cache.path(pictures[4].name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedEntry):
        cache.read(pictures[4].name)
    assert precompute(cache, pictures, mean, CPU) == 5
    assert [cache.read(each.name).item() for each in pictures] == [0, 1, 20, 3, 4, 5]
    assert f"1 damaged means in {cache.folder} are computed again" in caplog.text


def test_an_image_that_cannot_be_read_ends_it_with_a_message(tmp_path, mean):
    with pytest.raises(UserError, match="this one cannot be read"):
        precompute(Means(tmp_path, {}, (1,)), [Picture(1), Picture(-1)], mean, CPU)


def fill_slowly(cache: Means, pictures: list[Picture]) -> None:
    def compute(images: Tensor) -> Tensor:
        time.sleep(0.05)
        return images[:, 0, 0, :1]

    torch.set_num_threads(1)
    precompute(cache, pictures, Computation(nn.Identity(), compute, (4, 3), batch_size=3), CPU)


def test_a_killed_fill_goes_on_where_it_was(tmp_path, mean, calls):
    """Fields and features are filled by this; images by tests/caching/test_fill_images.py's."""
    cache, pictures = Means(tmp_path, {}, (1,)), [Picture(value) for value in range(90)]
    process = FORK.Process(target=fill_slowly, args=(cache, pictures))
    process.start()
    while len(before := {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mean")}) < 6:
        assert process.is_alive()
        time.sleep(0.005)
    process.kill()
    process.join()
    before |= {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mean")}
    assert len(before) < 90
    assert precompute(cache, pictures, mean, CPU) == sum(calls) == 90 - len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [cache.read(each.name).item() for each in pictures] == list(range(90))
