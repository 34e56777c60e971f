from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from mammorisk import batch as batch_module
from mammorisk.batch import MAX_FOLLOWUP, VIEWS, Batch, InputSpec, RiskOutput, Unit, collate, unit_range

LISTS = ("race", "sample_id", "patient_id")
OTHERS = (*LISTS, "draw", "complete", "host_mask")


def sample(number: int, words: bool = True) -> Batch:
    """A sample of one exam of two views; every tensor holds values that follow from its number."""
    return Batch(
        images=torch.full((1, 2, 1, 4, 3), number / 10),
        view_mask=torch.tensor([[True, number % 2 == 0]]),
        time_gap=torch.tensor([0.5 * number]),
        target=torch.full((1, 5), float(number)),
        target_mask=torch.full((1, 5), number + 0.25),
        event_index=torch.tensor([number]),
        event=torch.tensor([number % 2 == 1]),
        sample=torch.tensor(number + 100),
        density=torch.tensor(number + 200),
        cancer_type=torch.tensor(number + 300),
        risk_factors=torch.tensor([number % 2, -1.0, number]),
        displacement=torch.full((2, 2, 3, 2), number + 0.5),
        features=torch.full((1, 2, 4, 2, 2), number + 0.75),
        **{name: [f"{name} {number}"] for name in LISTS} if words else {},
    )


def tensors(batch: Batch) -> dict[str, Tensor]:
    return {f.name: getattr(batch, f.name) for f in fields(batch) if f.name not in OTHERS}


def test_pitfall_14_one_view_order():
    assert VIEWS == (("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO"))


def test_the_horizon_is_five_years():
    assert MAX_FOLLOWUP == 5


def test_every_16_bit_value_becomes_what_numpy_makes_of_it():
    values = np.arange(65536, dtype=np.uint16).reshape(1, 1, 1, 1, 256, 256)
    expected = torch.from_numpy((values / 65535).astype(np.float32))
    assert torch.equal(unit_range(torch.from_numpy(values)), expected)
    assert unit_range(expected) is expected


@pytest.mark.parametrize(("unit", "views"), [("image", 1), ("breast", 2), ("exam", len(VIEWS))])
def test_views_follow_from_the_unit(unit, views):
    assert InputSpec(unit, exams=2).views == views
    assert unit in get_args(Unit)


def test_every_unit_has_its_views():
    assert [InputSpec(unit, exams=1).views for unit in get_args(Unit)] == [1, 2, 4]


def test_samples_are_dropped_unless_asked_otherwise():
    spec = InputSpec("breast", exams=2)
    assert (spec.missing_views, spec.missing_priors) == ("drop", "drop")
    with pytest.raises(AttributeError):
        spec.exams = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (InputSpec("exam", 1, "mask"), "all four views, one exam; missing views: mask"),
        (InputSpec("image", 2), "one view of a breast, 2 exams, the current one and its priors; missing priors: drop"),
        (
            InputSpec("breast", 3, "drop", "zero_gap", risk_factors=True),
            "both views of a breast, 3 exams, the current one and its priors; missing views: drop; missing priors: "
            "zero_gap; risk factors",
        ),
    ],
)
def test_what_a_model_eats_can_be_said(spec, words):
    assert str(spec) == words


def test_collate_stacks_every_tensor_in_order():
    samples = [sample(number) for number in (3, 1, 2)]
    together = collate(samples)
    assert len(together) == 3
    for name, values in tensors(together).items():
        assert torch.equal(values, torch.stack([getattr(one, name) for one in samples])), name
    assert together.images.shape == (3, 1, 2, 1, 4, 3)
    assert together.sample.tolist() == [103, 101, 102]


def test_collate_keeps_types():
    one, together = sample(1), collate([sample(1)])
    assert {name: t.dtype for name, t in tensors(together).items()} == {n: t.dtype for n, t in tensors(one).items()}


def test_collate_joins_the_lists_in_order():
    together = collate([sample(number) for number in (3, 1, 2)])
    for name in LISTS:
        assert getattr(together, name) == [f"{name} {number}" for number in (3, 1, 2)]
    assert collate([sample(1, words=False), sample(2, words=False)]).race == []


def test_a_batch_knows_whether_it_is_complete():
    assert not collate([sample(2), sample(1)]).complete  # an odd number lacks a view
    assert collate([sample(2), sample(4)]).complete
    assert collate([sample(2)]).to("meta").complete


def test_a_batch_keeps_on_the_host_which_images_it_has():
    """Asked there, nobody waits for a GPU."""
    there = collate([sample(2), sample(1)]).to("meta")
    assert there.view_mask.device.type == "meta"
    assert there.presence.tolist() == [[[True, True]], [[True, False]]]
    alone = sample(1)
    assert alone.presence is alone.view_mask


def test_collate_leaves_the_samples_alone():
    samples = [sample(1), sample(2)]
    together = collate(samples)
    together.images.zero_()
    together.race.append("x")
    assert float(samples[0].images.max()) == pytest.approx(0.1)
    assert samples[0].race == ["race 1"]


def test_samples_of_different_size_do_not_collate():
    other = replace(sample(2), images=torch.zeros(1, 2, 1, 4, 4))
    with pytest.raises(RuntimeError, match="equal size"):
        collate([sample(1), other])


def test_a_model_that_asks_for_no_risk_factors_gets_none():
    assert not InputSpec("exam", exams=1).risk_factors
    silent = Batch(**{name: values for name, values in tensors(sample(1)).items() if name != "risk_factors"})
    assert silent.risk_factors is None
    assert collate([silent, silent]).to("meta").risk_factors is None


@pytest.mark.parametrize("name", ["risk_factors", "displacement", "features"])
def test_what_samples_lack_their_batch_lacks(name):
    lacking = [replace(sample(number), **{name: None}) for number in (1, 2)]
    assert getattr(collate(lacking), name) is None
    assert getattr(collate(lacking).to("meta"), name) is None
    assert getattr(collate([sample(1), sample(2)]), name) is not None
    with pytest.raises(ValueError, match=f"{name}: expected it of all samples of a batch or of none"):
        collate([sample(1), lacking[1]])


def test_images_that_are_stacked_already_are_taken_as_they_are():
    images = torch.rand(2, 1, 2, 1, 4, 3)
    together = collate([sample(1), sample(2)], images)
    assert together.images is images
    assert together.sample.tolist() == [101, 102]


def test_to_moves_every_tensor_and_keeps_the_rest():
    here = collate([sample(1), sample(2)])
    there = here.to("meta")
    assert {t.device.type for t in tensors(there).values()} == {"meta"}
    assert {t.device.type for t in tensors(here).values()} == {"cpu"}
    for name in LISTS:
        assert getattr(there, name) is getattr(here, name)
    back = here.to(torch.device("cpu"))
    for name, values in tensors(back).items():
        assert torch.equal(values, getattr(here, name))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a GPU's driver")
def test_pin_memory_pins_every_tensor():
    here = collate([sample(1), sample(2)])
    pinned = here.pin_memory()
    assert all(values.is_pinned() for values in tensors(pinned).values())
    assert pinned.race is here.race


@pytest.mark.parametrize("n", [1, 2, 5])
def test_the_length_is_the_number_of_samples(n):
    assert len(collate([sample(number) for number in range(n)])) == n


def test_every_field_is_a_tensor_or_a_list_of_words():
    one = sample(1)
    assert all(isinstance(values, Tensor) for values in tensors(one).values())
    assert all(isinstance(getattr(one, name), list) for name in LISTS)


def test_lists_and_outputs_are_not_shared_between_instances():
    assert sample(1, words=False).race is not sample(1, words=False).race
    first, second = RiskOutput({}), RiskOutput({})
    assert first.maps is not second.maps
    assert first.auxiliary is not second.auxiliary
    assert first.maps == first.auxiliary == {}


def test_the_batch_knows_neither_datasets_nor_models():
    names = {getattr(value, "__module__", "") or "" for value in vars(batch_module).values()}
    assert not {name for name in names if name.startswith("mammorisk.") and name != "mammorisk.batch"}
