from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from mammorisk.batch import Batch
from mammorisk.datasets.loaders import EpochSampler, make_loader
from mammorisk.errors import UserError


def epoch(n: int, size: int, number: int = 0, **settings: object) -> list[list[int]]:
    sampler = EpochSampler(n, size, **{"training": True, "seed": 1, **settings})  # type: ignore[arg-type]
    sampler.set_epoch(number)
    batches = list(sampler)
    assert len(batches) == len(sampler) == sampler.num_batches
    return batches


def flat(batches: list[list[int]]) -> list[int]:
    return [sample for batch in batches for sample in batch]


def test_order_depends_on_seed_and_epoch_only():
    assert epoch(20, 4) == epoch(20, 4)
    assert epoch(20, 4) != epoch(20, 4, number=1)
    assert epoch(20, 4) != epoch(20, 4, seed=2)
    assert flat(epoch(20, 4)) == flat(epoch(20, 3))


def test_one_process_sees_every_sample_once():
    assert sorted(flat(epoch(23, 4))) == list(range(23))
    assert flat(epoch(23, 4, training=False)) == list(range(23))


@pytest.mark.parametrize("n", [1, 2, 7, 16, 23, 24, 25])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_pitfall_08_ranks_share_global_batches(n, world):
    ranks = [epoch(n, 4, rank=rank, world_size=world) for rank in range(world)]
    whole = epoch(n, 4 * world)
    assert len({tuple(map(len, batches)) for batches in ranks}) == 1  # all ranks alike
    for number, batch in enumerate(whole):
        together = [sample for batches in ranks for sample in batches[number]]
        assert set(together) >= set(batch)
    assert len(flat(whole)) <= sum(len(flat(batches)) for batches in ranks) < n + world
    assert {sample for batches in ranks for sample in flat(batches)} == set(range(n))


@pytest.mark.parametrize("n", [1, 2, 7, 16, 23, 24, 25])
def test_pitfall_08_evaluation_repeats_nothing(n):
    ranks = [flat(epoch(n, 4, training=False, rank=rank, world_size=3)) for rank in range(3)]
    assert sorted(sample for samples in ranks for sample in samples) == list(range(n))
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


def test_set_epoch_goes_on_in_the_middle():
    sampler = EpochSampler(23, 4, training=True, seed=1)
    sampler.set_epoch(3, start_batch=2)
    assert list(sampler) == epoch(23, 4, number=3)[2:]
    assert (len(sampler), sampler.num_batches) == (4, 6)
    sampler.set_epoch(3, start_batch=6)
    assert list(sampler) == []
    assert len(sampler) == 0


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_class_balance_draws_evenly_and_keeps_the_length(share):
    cases = np.arange(100) % 10 == 0  # 10 cases
    order = flat(epoch(100, 8, cases=cases, class_balance=share))
    assert len(set(order)) == 100  # each draw of a sample has a number of its own
    drawn = Counter(sample % 100 for sample in order)
    assert all(sample + 100 * draw in order for sample, times in drawn.items() for draw in range(times))
    assert sum(drawn.values()) == 100
    of_cases = [drawn[sample] for sample in np.flatnonzero(cases)]
    of_controls = [drawn[sample] for sample in np.flatnonzero(~cases)]
    assert sum(of_cases) == round(100 * share)
    assert max(of_cases) - min(of_cases) <= 1
    assert max(of_controls) - min(of_controls) <= 1
    if share >= 0.1:
        assert max(of_controls) == 1  # without replacement


def test_class_balance_draws_other_controls_each_epoch():
    cases = np.arange(100) < 10
    first, second = (set(flat(epoch(100, 8, number, cases=cases, class_balance=0.5))) for number in (0, 1))
    assert first != second


@pytest.mark.parametrize(
    ("share", "cases", "words"),
    [
        (1.5, np.array([True, False]), "between 0 and 1"),
        (0.0, np.array([True, False]), "between 0 and 1"),
        (0.5, np.array([False, False]), "no case"),
        (0.5, np.array([True, True]), "no control"),
        (0.5, None, "no case"),
    ],
)
def test_impossible_balance_is_a_message(share, cases, words):
    with pytest.raises(UserError, match=words):
        EpochSampler(2, 1, training=True, cases=cases, class_balance=share)


def test_empty_batches_are_refused():
    with pytest.raises(UserError, match=r"dataset\.batch_size=0"):
        EpochSampler(2, 0, training=True)


class Numbers(Dataset[Batch]):
    """Samples whose images are noise that depends on the sample; sample 99 is a user's mistake."""

    def __getitem__(self, index: int) -> Batch:
        if index == 99:
            raise UserError("sample 99 cannot be read")
        noise = torch.from_numpy(np.random.default_rng(index).random((1, 2, 1, 4, 3), dtype=np.float32))
        zeros, one = torch.zeros(1, 5), torch.zeros(1, dtype=torch.int64)
        threads = torch.tensor(torch.get_num_threads())
        gap, known = torch.zeros(1), torch.ones(1, 2, dtype=torch.bool)
        words = {"race": [""], "sample_id": [str(index)], "patient_id": [str(index)]}
        return Batch(noise, known, gap, zeros, zeros, one, one.bool(), torch.tensor(index), threads, one[0], **words)


def batches(workers: int, n: int = 11) -> list[Batch]:
    sampler = EpochSampler(n, 3, training=True, seed=1)
    loader = make_loader(Numbers(), sampler, num_workers=workers, pin_memory=False, seed=5)
    found = []
    for number in (0, 1):
        sampler.set_epoch(number)
        assert len(loader) == 4
        found += list(loader)
    return found


def test_batches_are_the_same_for_any_number_of_workers():
    reference = batches(0)
    assert [sample for batch in reference[:4] for sample in batch.sample.tolist()] == flat(epoch(11, 3))
    for workers in (1, 2):
        others = batches(workers)
        assert len(others) == len(reference) == 8
        for one, other in zip(reference, others, strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.sample, other.sample)
            assert one.sample_id == other.sample_id
            assert other.density.tolist() == [1] * len(other)  # threads of a worker


@pytest.mark.parametrize("workers", [0, 2])
def test_iterating_leaves_the_global_random_numbers_alone(workers):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    batches(workers)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_message_from_a_worker_arrives_as_written(workers):
    loader = make_loader(Numbers(), EpochSampler(100, 10, training=False), workers, pin_memory=False, seed=0)
    with pytest.raises(UserError) as caught:
        list(loader)
    assert str(caught.value) == "sample 99 cannot be read"


def test_an_epoch_can_be_left_and_begun_anew():
    sampler = EpochSampler(11, 3, training=True, seed=1)
    loader = make_loader(Numbers(), sampler, num_workers=1, pin_memory=False, seed=5)
    for _ in loader:
        break
    sampler.set_epoch(1, start_batch=2)
    assert [batch.sample.tolist() for batch in loader] == epoch(11, 3, number=1)[2:]


@pytest.mark.parametrize("begun", [False, True])
def test_a_user_of_a_loader_ends_the_workers_it_began_and_no_others(begun):
    loader = make_loader(Numbers(), EpochSampler(6, 2, training=False), 1, pin_memory=False, seed=5)
    if begun:
        list(loader)
    before, own = loader.leave, loader._iterator
    with loader.in_use(lambda: False):
        assert loader.leave is not before
        list(loader)
    assert loader.leave is before
    assert loader._iterator is own
    assert len(list(loader)) == 3  # and it can be read again
    loader.close()
