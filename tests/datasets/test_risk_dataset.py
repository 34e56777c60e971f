from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cohorts import SIZE, cohort_rows, write_cohort, write_png
from helpers.png_files import FAULTY

from mammorisk.batch import VIEWS, Batch, InputSpec, collate
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.loaders import EpochSampler, make_loader
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import WORDS, SampleTable, build_samples
from mammorisk.errors import UserError

BREAST_PAIR = InputSpec("breast", 2)


def dataset(folder: Path, inputs: InputSpec, orientation: str = "native", **settings: object) -> RiskDataset:
    """Training split of a cohort of eight women on disk."""
    config = write_cohort(folder, cohort_rows(8), images=not (folder / "images").exists(), **settings)
    table = load_cohort(config).split("train")
    return RiskDataset(build_samples(table, inputs, Attrition()), table, SIZE, orientation)


def test_a_sample_has_the_documented_shapes_and_types(tmp_path):
    sample = dataset(tmp_path, BREAST_PAIR)[1]
    shapes = {f.name: tuple(getattr(sample, f.name).shape) for f in fields(Batch) if f.type == "Tensor"}
    shapes["host_mask"] = tuple(sample.host_mask.shape)
    assert shapes == {
        "images": (2, 2, 1, *SIZE),
        "view_mask": (2, 2),
        "time_gap": (2,),
        "target": (2, 5),
        "target_mask": (2, 5),
        "event_index": (2,),
        "event": (2,),
        "sample": (),
        "density": (),
        "cancer_type": (),
        "host_mask": (2, 2),
    }
    assert sample.risk_factors is sample.displacement is sample.features is None
    kinds = {name: getattr(sample, name).dtype for name in shapes}
    assert kinds["images"] == kinds["time_gap"] == kinds["target"] == kinds["target_mask"] == torch.float32
    assert kinds["view_mask"] == kinds["host_mask"] == kinds["event"] == torch.bool
    assert kinds["event_index"] == kinds["sample"] == kinds["density"] == kinds["cancer_type"] == torch.int64
    assert (sample.race, sample.patient_id) == (["Asian"], ["000000"])


def test_every_image_is_where_its_breast_view_and_exam_belong(tmp_path):
    rows = cohort_rows(8)
    for patient, exam, side, view, name in zip(
        rows["patient_id"], rows["exam_id"], rows["laterality"], rows["view"], rows["file_name"], strict=True
    ):
        code = int(patient) * 100 + int(exam[6]) * 10 + VIEWS.index((side, view))
        write_png(tmp_path / "images" / name, code)
    data = dataset(tmp_path, InputSpec("exam", 2))
    for number, patient in enumerate(range(4)):
        codes = torch.round(data[number].images[..., 0, 0, 0] * 65535)  # [T, V]
        np.testing.assert_array_equal(codes, [[patient * 100 + t * 10 + v for v in range(4)] for t in range(2)])


def test_pitfall_31_right_breasts_are_mirrored_to_the_left(tmp_path):
    native = dataset(tmp_path, InputSpec("exam", 1))[0]
    left = dataset(tmp_path, InputSpec("exam", 1), "left")[0]
    for v, (side, _) in enumerate(VIEWS):
        expected = native.images[:, v].flip(-1) if side == "R" else native.images[:, v]
        assert torch.equal(left.images[:, v], expected)
    assert not torch.equal(left.images, native.images)


def test_masked_views_and_priors_are_zero(tmp_path):
    rows = cohort_rows(2, 1)
    config = write_cohort(tmp_path, rows[~((rows["laterality"] == "L") & (rows["view"] == "CC"))])
    table = load_cohort(config).split("train")
    inputs = InputSpec("exam", 2, missing_views="mask", missing_priors="mask")
    sample = RiskDataset(build_samples(table, inputs, Attrition()), table, SIZE)[0]
    assert sample.view_mask.tolist() == [[False] * 4, [True, True, False, True]]
    assert (sample.images[~sample.view_mask] == 0).all()
    assert sample.images[sample.view_mask].amax(dim=(1, 2, 3)).min() > 0
    assert sample.target_mask[0].sum() == 0


def test_an_unreadable_image_names_file_and_csv_row(tmp_path):
    data = dataset(tmp_path, BREAST_PAIR)
    path = tmp_path / "images" / "000000_1_R_MLO.png"  # sixth row of the CSV's data
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"000000_1_R_MLO\.png is truncated.*\n.*row 7 of the cohort CSV") as caught:
        data[0]
    assert "dataset.on_error=skip" in str(caught.value)
    loader = make_loader(data, EpochSampler(len(data), 2, training=False), 1, pin_memory=False, seed=0)
    with pytest.raises(UserError) as from_worker:
        list(loader)
    loader.close()  # the exception holds on to it, and at its end the process would wait for the worker
    assert str(from_worker.value) == str(caught.value)


@pytest.mark.parametrize("name", FAULTY)
def test_a_sample_never_has_an_incomplete_image(tmp_path, name):
    data, (spoilt, message) = dataset(tmp_path, BREAST_PAIR), FAULTY[name]
    path = tmp_path / "images" / "000000_1_R_MLO.png"
    path.write_bytes(spoilt())
    with pytest.raises(UserError, match=rf"000000_1_R_MLO\.png.*{message}.*\n.*row 7 of the cohort CSV"):
        data[0]
    assert len(dataset(tmp_path, BREAST_PAIR, on_error="skip")) == len(data) - 1


def test_skipping_leaves_every_remaining_sample_readable(tmp_path):
    dataset(tmp_path, BREAST_PAIR)
    path = tmp_path / "images" / "000000_1_R_MLO.png"
    path.write_bytes(path.read_bytes()[:-20])
    data = dataset(tmp_path, BREAST_PAIR, on_error="skip")
    assert len(data) == 7
    assert [data[i].sample_id[0].split("/")[0] for i in range(len(data))].count("000000") == 1


def test_a_tensor_of_a_sample_can_be_changed_without_changing_the_next(tmp_path):
    data = dataset(tmp_path, BREAST_PAIR)
    before = data[0].target.clone()
    data[0].target.add_(1)
    assert torch.equal(data[0].target, before)


def test_batches_of_a_real_cohort_are_the_same_for_any_number_of_workers(tmp_path):
    data = dataset(tmp_path, BREAST_PAIR)
    found = []
    for workers in (0, 1, 2):
        sampler = EpochSampler(len(data), 3, training=True, seed=4, cases=data.samples.cases, class_balance=0.25)
        found.append(list(make_loader(data, sampler, workers, pin_memory=False, seed=4)))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.target, other.target)
            assert one.sample_id == other.sample_id


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_brings_16_bit_values_which_on_the_device_are_the_samples(tmp_path, workers):
    rows = cohort_rows(6, 2)
    config = write_cohort(tmp_path, rows[~((rows["laterality"] == "L") & (rows["view"] == "CC"))])
    table = load_cohort(config).split("train")
    inputs = InputSpec("exam", 2, missing_views="mask", missing_priors="zero_gap")
    data = RiskDataset(build_samples(table, inputs, Attrition()), table, SIZE, "left")
    batches = list(make_loader(data, EpochSampler(len(data), 2, training=False), workers, False, 0))
    assert sum(map(len, batches)) == len(data) > 2
    for batch in batches:
        assert batch.images.dtype == torch.uint16
        moved = batch.to("cpu")
        one_by_one = collate([data[int(number)] for number in batch.sample])
        for f in fields(Batch):
            found, expected = getattr(moved, f.name), getattr(one_by_one, f.name)
            if isinstance(expected, torch.Tensor):
                assert (found.dtype, found.shape) == (expected.dtype, expected.shape), f.name
                assert torch.equal(found, expected), f.name
            else:
                assert found == expected, f.name


class Numbered:
    """Fields that tell of which pair of rows they are."""

    size = (4, 3)

    def read(self, current, prior):
        return np.stack([np.full(self.size, value, dtype=np.float32) for value in (100 + current, 200 + prior)])


def test_a_sample_brings_the_fields_of_its_last_pair(tmp_path):
    plain = dataset(tmp_path, InputSpec("breast", 2))
    table = load_cohort(write_cohort(tmp_path, cohort_rows(8), images=False)).split("train")
    data = RiskDataset(plain.samples, table, SIZE, displacements=Numbered())
    for index, sample in enumerate(data):
        assert sample.displacement.shape == (2, 2, 4, 3)
        assert sample.displacement.dtype == torch.float32
        for view, (prior, current) in enumerate(plain.samples.images[index].T):
            assert (sample.displacement[view, 0] == 100 + current).all()
            assert (sample.displacement[view, 1] == 200 + prior).all()
    assert make_loader(
        data, EpochSampler(len(data), 3, training=False), 0, False, 0
    ).__iter__().__next__().displacement.shape == (3, 2, 2, 4, 3)


class Kept:
    """Features that tell of which row they are; notes what it is asked."""

    shape = (2, 4, 3)

    def __init__(self):
        self.asked = []

    def read(self, row):
        self.asked.append(row)
        if row == 3:
            raise UserError("it is gone")
        return np.full(self.shape, 10 + row, dtype=np.float32)


@pytest.mark.parametrize("with_images", [True, False])
def test_a_sample_brings_the_features_of_each_image_read_once(tmp_path, with_images):
    rows = cohort_rows(4)
    rows = rows[~((rows["patient_id"] == "000000") & (rows["exam_id"].str[6] == "0"))]
    table = load_cohort(write_cohort(tmp_path, rows)).split("train")
    samples, kept = build_samples(table, InputSpec("breast", 2, missing_priors="zero_gap"), Attrition()), Kept()
    data = RiskDataset(samples, table, SIZE, features=kept, with_images=with_images)
    broken = [index for index in range(len(data)) if (samples.images[index] == 3).any()]
    for index in set(range(len(data))) - set(broken):
        kept.asked.clear()
        sample = data[index]
        shown = torch.from_numpy(samples.images[index])[..., None, None, None]
        assert torch.equal(sample.features, (10.0 + shown).expand(2, 2, *kept.shape))
        assert sample.images.shape == (2, 2, 1, *(SIZE if with_images else (0, 0)))
        assert sorted(kept.asked) == np.unique(samples.images[index]).tolist()
    with pytest.raises(UserError, match=r"it is gone\nIt is named in row \d+ of the cohort CSV"):
        data[broken[0]]


@pytest.mark.parametrize("missing_priors", ["mask", "zero_gap"])
def test_without_a_prior_the_field_is_zero(tmp_path, missing_priors):
    rows = cohort_rows(4)
    rows = rows[~((rows["patient_id"] == "000000") & (rows["exam_id"].str[6] == "0"))]
    table = load_cohort(write_cohort(tmp_path, rows)).split("train")
    samples = build_samples(table, InputSpec("breast", 2, missing_priors=missing_priors), Attrition())
    moved = [sample.displacement.any().item() for sample in RiskDataset(samples, table, SIZE, displacements=Numbered())]
    assert moved == [name.startswith("000001/0000011") for name in samples.sample_id]  # the others are first exams


def test_unknown_orientation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="orientation"):
        dataset(tmp_path, BREAST_PAIR, "right")


def test_a_worker_shares_the_words_of_a_large_cohort(tmp_path):
    """Looked at as Python's objects, each word's page would become the worker's own: 60 MB of half a million."""
    data = dataset(tmp_path, BREAST_PAIR)
    many = 200_000
    rows = np.arange(many) % len(data)
    words = {name: np.array([f"{name} {i:060d}" for i in range(many)], dtype=object) for name in WORDS}
    arrays = {f.name: getattr(data.samples, f.name) for f in fields(data.samples)}
    samples = SampleTable(**{name: None if a is None else a[rows] for name, a in arrays.items()} | words)
    table = load_cohort(write_cohort(tmp_path, cohort_rows(8), images=False)).split("train")
    large = RiskDataset(samples, table, SIZE)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # as a loader's worker
        for index in range(100):
            large[index]
        before = own_memory()
        for index in range(0, many, many // 3000):
            large[index]
        os.write(writing, str(own_memory() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert float(os.read(reading, 100)) < 8


def own_memory() -> float:
    """What this process shares with no other, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("Private_Dirty"))
