from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from helpers.model_cases import CONF, quick_model, random_batch

from mammorisk.batch import Batch
from mammorisk.prediction.batch_invariant import one_at_a_time, single_samples

CPU = torch.device("cpu")
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


def some(batch: Batch, rows: list[int]) -> Batch:
    tensors = {f.name: getattr(batch, f.name) for f in fields(Batch)}
    whole = {k: v[rows] for k, v in tensors.items() if isinstance(v, torch.Tensor) and v.shape[:1] == (len(batch),)}
    return replace(batch, **whole)


def asked(model, batch: Batch, at_once: int, batch_size: int) -> torch.Tensor:
    with one_at_a_time(model, CPU, at_once) as ask:
        parts = [list(range(i, min(i + batch_size, len(batch)))) for i in range(0, len(batch), batch_size)]
        return torch.cat([model.risk(output) for rows in parts for _, output in ask(some(batch, rows))])


@pytest.mark.parametrize("name", MODELS)
def test_risks_are_the_same_for_any_batch_neighbours_and_threads(name):
    model = quick_model(name).eval()
    batch = random_batch(model.inputs, samples=5)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = asked(model, batch, at_once=1, batch_size=1)
        assert expected.unique(dim=0).shape[0] > 1
        for threads, at_once, batch_size in ((1, 1, 5), (2, 8, 5), (3, 2, 2)):
            torch.set_num_threads(threads)
            assert torch.equal(asked(model, batch, at_once, batch_size), expected)
            assert torch.get_num_threads() == threads  # given back
        order = [3, 0, 4, 2, 1]
        assert torch.equal(asked(model, some(batch, order), 2, 5), expected[order])
    finally:
        torch.set_num_threads(before)


def test_it_says_what_the_model_says_of_a_batch_but_for_rounding():
    model = quick_model("lmv_net").eval()
    batch = random_batch(model.inputs, samples=4)
    with torch.inference_mode():
        together = model.risk(model(batch))
    torch.testing.assert_close(asked(model, batch, 2, 4), together, atol=1e-6, rtol=0)


def test_samples_bring_what_is_theirs():
    batch = random_batch(quick_model("lmv_net").inputs, samples=3)
    batch.view_mask[1, 0] = False
    batch = replace(batch, race=["a", "b", "c"], sample_id=["x", "y", "z"], patient_id=["1", "2", "3"])
    samples = list(single_samples(batch))
    assert [sample.sample_id for sample in samples] == [["x"], ["y"], ["z"]]
    assert [sample.complete for sample in samples] == [True, False, True]
    for index, sample in enumerate(samples):
        assert len(sample) == 1
        assert torch.equal(sample.images[0], batch.images[index])
        assert torch.equal(sample.event[0], batch.event[index])
        assert sample.draw == []


def test_an_error_in_a_sample_is_raised_and_threads_are_given_back():
    model, before = quick_model("oa_breacr").eval(), torch.get_num_threads()
    wrong = random_batch(model.inputs, samples=2, size=(32, 32))
    with pytest.raises(Exception, match="made for images"), one_at_a_time(model, CPU, 2) as ask:
        list(ask(wrong))
    assert torch.get_num_threads() == before
