from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cohorts import cohort_rows, write_cohort, write_png
from helpers.png_files import FAULTY
from helpers.ranks import on_ranks
from helpers.tiny_training import assert_goes_on_with, tiny_parts, undisturbed
from helpers.training_runs import assert_equal, assert_same_training, last_epoch, only_run, start, train

from mammorisk.caching.fill_images import precompute_images, precomputed_images
from mammorisk.caching.images import ImageStore
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import as_floats, read_image
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import InputSpec, build_samples
from mammorisk.errors import UserError
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.loop import predict_epoch, train_epoch

SIZE = (64, 52)
FORK = multiprocessing.get_context("fork")  # no imports anew


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Enough to be caught in the middle."""
    folder = tmp_path_factory.mktemp("images")
    for n in range(60):
        write_png(folder / f"{n}.png", np.random.default_rng(n).integers(0, 65536, (400, 300)))
    return folder


def store_of(folder: Path, images: Path) -> ImageStore:
    return ImageStore(folder, SIZE, image_identities(sorted(map(str, images.glob("*.png")))))


def entries(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.b2")}


def started(folder: Path, images: Path):
    """A process that fills a store."""
    process = FORK.Process(target=lambda: precompute_images(store_of(folder, images)))
    process.start()
    return process


def test_a_store_is_filled_once_with_what_is_missing(tmp_path, images, said):
    store = store_of(tmp_path, images)
    assert precompute_images(store, threads=2) == 60
    assert f"60 of 60 images of 64 x 52, about {60 * 8192 / 1e6:.1f} MB, are decoded and kept in {tmp_path}" in said()
    whole = entries(tmp_path)
    assert len(whole) == 60
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.b2")}
    assert precompute_images(store) == 0
    assert f"all 60 images are in {store.folder}" in said()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.b2")} == before
    for file in store.identities:
        np.testing.assert_array_equal(as_floats(store.pixels(file)), read_image(file, SIZE))
    assert precompute_images(store_of(tmp_path / "alone", images), threads=1) == 60
    assert entries(tmp_path / "alone") == whole  # whatever the number of threads


def test_damaged_and_missing_entries_are_made_anew(tmp_path, images, said):
    store = store_of(tmp_path, images)
    precompute_images(store)
    whole = entries(tmp_path)
    paths = sorted(tmp_path.rglob("*.b2"))
    paths[0].unlink()
    paths[1].write_bytes(b"")
    content = bytearray(paths[2].read_bytes())
    content[len(content) // 2] ^= 1
    paths[2].write_bytes(content)
    paths[3].unlink()
    paths[3].mkdir()
    with pytest.raises(UserError, match=r"dataset\.cache=.*cannot be written to"):
        precompute_images(store)
    paths[3].rmdir()
    assert precompute_images(store) in (1, 2, 3, 4)  # some may have been made before the folder was met
    assert "damaged images in" in said()
    assert entries(tmp_path) == whole


def test_a_killed_fill_goes_on_where_it_was(tmp_path, images):
    process = started(tmp_path / "kept", images)
    ends = time.monotonic() + 60
    while len(entries(tmp_path / "kept")) < 5:
        assert process.is_alive()
        assert time.monotonic() < ends
        time.sleep(0.002)
    process.kill()
    process.join()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*.b2")}
    store = store_of(tmp_path / "kept", images)
    assert 0 < len(before) < 60
    assert precompute_images(store) == 60 - len(before)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    precompute_images(store_of(tmp_path / "uninterrupted", images))
    assert entries(tmp_path / "kept") == entries(tmp_path / "uninterrupted")


def test_jobs_that_fill_one_store_at_once_share_the_work(tmp_path, images):
    jobs = [started(tmp_path / "kept", images) for _ in range(2)]
    for job in jobs:
        job.join(60)
        assert job.exitcode == 0
    assert not list(tmp_path.rglob("*unfinished"))
    precompute_images(store_of(tmp_path / "alone", images))
    assert entries(tmp_path / "kept") == entries(tmp_path / "alone")


def share_of_two_ranks() -> tuple[int, int, int]:
    """Fill the store that the environment names twice; how many were missing, and made by this process."""
    own: list[str] = []
    decoded = ImageStore.decoded
    ImageStore.decoded = lambda self, file: own.append(file) or decoded(self, file)  # type: ignore
    store = store_of(Path(os.environ["TEST_STORE"]), Path(os.environ["TEST_IMAGES"]))
    return precompute_images(store), precompute_images(store), len(own)


def test_ranks_share_the_work(tmp_path, images, monkeypatch):
    monkeypatch.setenv("TEST_STORE", str(tmp_path))
    monkeypatch.setenv("TEST_IMAGES", str(images))
    assert on_ranks(share_of_two_ranks) == [(60, 0, 30), (60, 0, 30)]
    assert len(entries(tmp_path)) == 60


def test_too_little_room_is_told_before_anything_is_decoded(tmp_path, images, monkeypatch):
    usage = type("Usage", (), {"free": 60 * 8192 - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"60 of 60 images of 64 x 52, about 0\.5 MB, are to be kept .* 0\.5 MB free"):
        precompute_images(store_of(tmp_path, images))
    assert entries(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk")
def test_a_disk_that_runs_full_is_a_message_and_what_was_kept_stays(tmp_path, images):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        store = store_of(disk, images)
        store.reserve = lambda what, needed: None  # type: ignore[method-assign] # others fill the disk meanwhile
        with pytest.raises(UserError, match=r"dataset\.cache=.*The disk is full\. What was kept so far stays good"):
            precompute_images(store)
        kept = [file for file in store.identities if store.path(store.name(file)).exists()]
        assert 3 < len(kept) < 60
        for file in kept:
            np.testing.assert_array_equal(store.read(store.name(file)), store.decoded(file))
        assert not list(disk.rglob("*unfinished"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_unreadable_image_names_the_way_out(tmp_path, images):
    shutil.copytree(images, tmp_path / "images")
    bad = tmp_path / "images" / "bad.png"
    bad.write_bytes((tmp_path / "images" / "3.png").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"bad\.png is truncated.*\n.*dataset\.on_error=skip"):
        precompute_images(store_of(tmp_path / "kept", tmp_path / "images"), threads=2)


def test_only_images_of_samples_are_kept_and_the_dataset_reads_them(tmp_path):
    config = write_cohort(tmp_path, cohort_rows(8), cache=str(tmp_path / "kept"))
    table = load_cohort(config).split("train")
    samples = build_samples(table, InputSpec("exam", 1), load_cohort(config).attrition)
    assert precomputed_images(write_cohort(tmp_path, cohort_rows(8)), (samples, table)) is None
    store = precomputed_images(config, (samples, table))
    assert set(store.identities) == set(table["file"][np.unique(samples.images)])
    plain, stored = (RiskDataset(samples, table, (12, 10), "left", store=each) for each in (None, store))
    for one, other in zip(plain, stored, strict=True):
        assert torch.equal(one.images, other.images)
    for file in store.identities:
        Path(file).unlink()
    assert all(torch.equal(one.images, other.images) for one, other in zip(stored, stored, strict=True))


def one_epoch(folder: Path, *overrides: str):
    """The weights, the training's and the validation's outputs after one epoch."""
    parts, files = tiny_parts(folder, *overrides)
    state = TrainingState()
    train_epoch(parts, state, files, undisturbed())
    validation = predict_epoch(parts, state, files, undisturbed())
    for split in (parts.train, parts.val):
        split.loader.close()
    return parts.unwrapped_model.state_dict(), state.predictions.state_dict(), validation.state_dict()


@pytest.mark.parametrize("size", ["[32,26]", "[24,20]"])
def test_training_is_the_same_with_and_without_for_any_number_of_workers(tmp_path, size):
    settings = ["model=lmv_net", f"dataset.image_size={size}"]
    settings += ["trainer.samples_per_epoch=64", "trainer.validation_samples=32"]
    plain = one_epoch(tmp_path / "plain", *settings)
    for workers in (0, 2):
        stored = [f"dataset.cache={tmp_path / 'kept'}", f"dataset.num_workers={workers}"]
        assert_equal(one_epoch(tmp_path / str(workers), *settings, *stored), plain, f"{workers} workers")
    assert len(entries(tmp_path / "kept")) > 300


def test_a_training_goes_on_with_without_or_with_another_store(tmp_path):
    kept, *others = (
        ["model=lmv_net", f"dataset.cache={cache}"] for cache in (tmp_path / "kept", "none", tmp_path / "other")
    )
    assert_goes_on_with(tmp_path, kept, *others)


@pytest.mark.slow
def test_runs_with_a_store_are_those_without(tmp_path):
    """Whole trainings: one without, and two at once that fill one store."""
    cache = f"dataset.cache={tmp_path / 'kept'}"
    train(tmp_path / "plain", "model=lmv_net")
    expected = last_epoch(only_run(tmp_path / "plain"))
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    jobs = [start(folder, "model=lmv_net", cache) for folder in folders]
    printed = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], printed
    for folder in folders:
        assert_same_training(last_epoch(only_run(folder)), expected)


@pytest.mark.parametrize("name", FAULTY)
def test_an_incomplete_image_is_never_kept(tmp_path, name):
    data, message = FAULTY[name]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(data())
    store = store_of(tmp_path / "kept", tmp_path / "images")
    with pytest.raises(UserError, match=rf"a\.png.*{message}.*\ndataset\.on_error=skip"):
        precompute_images(store)
    assert not entries(tmp_path)
