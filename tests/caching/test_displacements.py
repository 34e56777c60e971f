from __future__ import annotations

import dataclasses
import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.model_cases import small_registration
from helpers.ranks import on_ranks
from helpers.tiny_training import assert_goes_on_with, tiny_parts, undisturbed
from helpers.training_runs import COHORTS, assert_equal, start

from mammorisk.caching.displacements import (
    MANY,
    CachedDisplacements,
    ImagePair,
    displacement_source,
    displacements_of,
    precompute_displacements,
)
from mammorisk.caching.entries import HEADER
from mammorisk.distributed.errors import run_main_first
from mammorisk.errors import UserError
from mammorisk.registration.identity import IdentityRegistration
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.loop import predict_epoch, train_epoch
from mammorisk.training.trained_model import rebuild_model
from mammorisk.warping import resize_displacement

CPU = torch.device("cpu")
SIZE = (32, 26)
NETWORK = ["registration.channels=[4,4,8]", "registration.decoder_channels=[8,8,4]", "registration.num_heads=[2,2]"]
NETWORK += ["registration.depth=2", "registration.image_size=[32,32]"]


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many pairs each call of a registration network got."""
    counted: list[int] = []
    forward = MammoRegNet.forward

    def count(self, fixed, moving):
        counted.append(len(fixed))
        return forward(self, fixed, moving)

    monkeypatch.setattr(MammoRegNet, "forward", count)
    return counted


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A registration whose fields are pixels large."""
    path = tmp_path_factory.mktemp("weights") / "registration.pth"
    torch.save(small_registration().state_dict(), path)
    return path


def registered(weights: Path, cache: Path | None) -> list[str]:
    kept = "null" if cache is None else str(cache)
    return [
        "model=lmv_net",
        "registration=mammoregnet",
        f"registration.checkpoint={weights}",
        *NETWORK,
        f"registration.cache={kept}",
    ]


@pytest.fixture(scope="module")
def all_fields(weights, tmp_path_factory) -> Path:
    """A cache with the fields of all pairs of a tiny training."""
    folder = tmp_path_factory.mktemp("fields")
    tiny_parts(folder / "run", *registered(weights, folder / "cache"))
    return folder / "cache"


@pytest.fixture
def warm(all_fields, tmp_path) -> Path:
    """The same in a test's own folder."""
    return Path(shutil.copytree(all_fields, tmp_path / "cache"))


def one_epoch(folder: Path, *overrides: str):
    """The weights, the training's and the validation's outputs after one epoch."""
    parts, files = tiny_parts(folder, *overrides)
    state = TrainingState()
    train_epoch(parts, state, files, undisturbed())
    validation = predict_epoch(parts, state, files, undisturbed())
    return parts.unwrapped_model.state_dict(), state.predictions.state_dict(), validation.state_dict()


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.field"))


def test_pitfall_11_with_a_warm_cache_no_step_does_any_registration(tmp_path, weights, calls, said):
    settings, cache = registered(weights, tmp_path / "cache"), tmp_path / "cache"
    tiny_parts(tmp_path / "first", *settings)
    pairs = len(entries(cache))
    assert sum(calls) == pairs > 300  # each pair of train and val once
    assert calls.count(MANY) == len(calls) - 1
    assert (
        f"MammoRegNet computes {pairs} of {pairs} displacement fields of 4 x 4, {pairs * 4096 / 1e6:.1f} MB" in said()
    )
    before = {path: path.stat().st_mtime_ns for path in entries(cache)}
    calls.clear()
    one_epoch(tmp_path / "second", *settings)
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in entries(cache)} == before
    assert f"displacement fields of all {pairs} pairs are in {cache}" in said()
    one_epoch(tmp_path / "none", *registered(weights, None), "trainer.samples_per_epoch=null")
    assert len(calls) > 20


def test_training_is_the_same_for_any_number_of_workers(tmp_path, weights, warm):
    settings = registered(weights, tmp_path / "cache")
    results = [one_epoch(tmp_path / str(n), *settings, f"dataset.num_workers={n}") for n in (0, 2)]
    assert_equal(results[1], results[0], "workers")


def test_with_and_without_a_cache_the_results_agree(tmp_path, weights):
    """Not augmented, the cache rounds and that is all; augmented, the network looks at images that lie otherwise."""
    still = "augment=none"
    kept, found = (
        one_epoch(tmp_path / name, *registered(weights, cache), still, "optim.learning_rate=1e-5")
        for name, cache in (("kept", tmp_path / "cache"), ("found", None))
    )
    for one, other in zip(kept[1:], found[1:], strict=True):
        torch.testing.assert_close(one["logits/multi"], other["logits/multi"], rtol=0, atol=2e-3)
        assert not torch.equal(one["logits/multi"], other["logits/multi"])


@pytest.mark.parametrize("size", ["feature", "registration"])
def test_the_kept_field_is_the_one_the_network_finds(tmp_path, weights, size):
    parts, _ = tiny_parts(tmp_path, *registered(weights, tmp_path / "cache"), f"registration.cache_size={size}")
    batch = next(iter(parts.val.loader)).to("cpu")
    assert batch.displacement.shape[-2:] == ((4, 4) if size == "feature" else (32, 32))
    prior, current = (exam.flatten(0, 1) for exam in batch.images.unbind(1))
    with torch.no_grad():
        found = parts.unwrapped_model.registration(current, prior)
    expected = resize_displacement(found, batch.displacement.shape[-2:])
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(batch.displacement.flatten(0, 1), expected, rtol=1e-3, atol=1e-5)


def test_orientations_do_not_share_the_fields_of_right_breasts(tmp_path, weights, warm):
    settings = [*registered(weights, warm), "dataset.orientation=native"]
    before = len(entries(warm))
    for _ in range(2):  # the second finds all
        tiny_parts(tmp_path / "native", *settings)
        assert len(entries(warm)) == before + before // 2


@pytest.mark.parametrize(
    "change", ["registration.shift=1", "registration.image_size=[16,16]", "dataset.image_size=[64,52]"]
)
def test_other_settings_have_other_fields(tmp_path, weights, warm, change):
    before = len(entries(warm))
    tiny_parts(tmp_path / "other", *registered(weights, warm), change)
    assert len(entries(warm)) == 2 * before


def test_damaged_and_missing_entries_are_computed_again_before_the_training(tmp_path, weights, warm, calls, said):
    settings = registered(weights, warm)
    some = entries(tmp_path / "cache")
    content = [path.read_bytes() for path in some[:3]]
    some[0].write_bytes(content[0][:20])
    some[1].write_bytes(b"")
    some[2].unlink()
    calls.clear()
    tiny_parts(tmp_path / "two", *settings)
    assert calls == [3]
    assert "2 damaged displacement fields in" in said()
    assert [np.frombuffer(path.read_bytes()[HEADER.size :], "<f2") for path in some[:3]] == [
        pytest.approx(np.frombuffer(each[HEADER.size :], "<f2"), rel=2e-3, abs=1e-4) for each in content
    ]


def test_an_entry_spoilt_in_mid_training_is_computed_again_with_a_warning(tmp_path, weights, warm, said):
    parts, _ = tiny_parts(tmp_path, *registered(weights, tmp_path / "cache"))
    expected = [batch.displacement for batch in parts.val.loader]
    files = entries(tmp_path / "cache")
    for path in files[::2]:
        path.write_bytes(path.read_bytes()[:-1])
    for path in files[1::2]:
        path.unlink()
    found = [batch.displacement for batch in parts.val.loader]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-4)
    assert ".field is damaged; it is computed again" in said()
    again = [batch.displacement for batch in parts.val.loader]
    assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))


def test_a_cache_that_can_no_longer_be_written_to_does_not_end_a_training(tmp_path, weights, warm, said):
    parts, _ = tiny_parts(tmp_path, *registered(weights, tmp_path / "cache"))
    expected = next(iter(parts.val.loader)).displacement
    (folder,) = (path for path in (tmp_path / "cache").iterdir())
    folder.rename(tmp_path / "elsewhere")
    folder.touch()  # a file in its place: nothing can be read or written
    torch.testing.assert_close(next(iter(parts.val.loader)).displacement, expected, rtol=2e-3, atol=1e-4)
    assert "cannot be written to" in said()


@pytest.mark.parametrize("model", ["lmv_net", "imgfeatalign"])
@pytest.mark.parametrize("missing_priors", ["mask", "zero_gap"])
def test_every_model_that_aligns_trains_with_true_fields(tmp_path, model, missing_priors):
    settings = [f"model={model}", f"model.missing_priors={missing_priors}", "registration=ground_truth"]
    parts, files = tiny_parts(tmp_path, *settings)
    state, batch = TrainingState(), next(iter(parts.val.loader)).to("cpu")
    train_epoch(parts, state, files, undisturbed())
    assert state.batch == parts.train.sampler.num_batches
    moved = batch.displacement.abs().amax(dim=(2, 3, 4)) > 0  # [B, V]
    paired = batch.view_mask.all(1) & (batch.time_gap[:, :1] > 0)
    assert torch.equal(moved, paired)
    assert 0 < paired.sum() < paired.numel()
    with pytest.raises(UserError, match="has no displacement field"):
        parts.unwrapped_model(dataclasses.replace(batch, displacement=None))


def test_workers_compute_what_is_gone(tmp_path, weights, warm):
    parts, _ = tiny_parts(tmp_path, *registered(weights, tmp_path / "cache"), "dataset.num_workers=2")
    for path in entries(tmp_path / "cache"):
        path.unlink()
    found = [batch.displacement for batch in parts.val.loader]
    again = [batch.displacement for batch in parts.val.loader]
    parts.val.loader.close()
    assert all(torch.equal(one, other) for one, other in zip(again, found, strict=True))
    assert max(float(each.abs().max()) for each in found) > 0.1


@pytest.mark.parametrize("model", ["imgfeatalign", "mirai", "oa_breacr"])
def test_a_model_that_aligns_nothing_by_a_registration_keeps_nothing(tmp_path, weights, model, calls):
    settings = registered(weights, tmp_path / "cache")[1:]
    settings += ["model.alignment=none"] if model == "imgfeatalign" else []
    parts, _ = tiny_parts(tmp_path, f"model={model}", *settings)
    assert next(iter(parts.train.loader)).displacement is None
    assert calls == []
    assert not (tmp_path / "cache").exists()


def test_identity_and_no_cache_need_no_source(tmp_path):
    wanted = next_request()
    assert displacement_source(None, wanted) is None
    assert displacement_source(IdentityRegistration(), wanted) is None
    assert displacement_source(small_registration(), wanted) is None
    assert isinstance(displacement_source(small_registration(cache=str(tmp_path)), wanted), CachedDisplacements)


def test_a_training_goes_on_without_its_cache_or_with_another(tmp_path, weights, warm):
    kept, *others = (registered(weights, cache) for cache in (tmp_path / "cache", None, tmp_path / "other"))
    parts, files = assert_goes_on_with(tmp_path, kept, *others)
    model, config = rebuild_model(files.resume)  # needs neither the cache nor the registration's file
    assert config.registration.cache is None
    with torch.no_grad():
        batch = next(iter(parts.val.loader)).to("cpu")
        assert torch.equal(model(batch).logits["multi"], parts.unwrapped_model.eval()(batch).logits["multi"])
        model(dataclasses.replace(batch, displacement=None))


def test_two_trainings_may_fill_one_cache_at_once(tmp_path, weights):
    cache, folders = tmp_path / "cache", [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    jobs = [start(folder, *registered(weights, cache), "trainer.num_epochs=1") for folder in folders]
    printed = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], printed
    metrics = [next(folder.glob("outputs/*/metrics.csv")).read_bytes() for folder in folders]
    assert metrics[0] == metrics[1]
    assert not list(cache.rglob(".*unfinished"))


@functools.cache
def next_request():
    """What a tiny training asks for."""
    parts, _ = tiny_parts(COHORTS.parent / "request", "model=lmv_net")
    from mammorisk.datasets.cohort import load_cohort
    from mammorisk.datasets.displacements import DisplacementRequest, last_pairs

    table = load_cohort(parts.config.dataset).split("val")
    return DisplacementRequest(table, last_pairs(parts.val.samples)[:40], SIZE, "left", (8, 7))


def share_of_two_ranks() -> tuple[tuple[int, int], tuple[int, int]]:
    """Fill the folder that the environment names twice: how many fields were computed, and how many by this process."""
    torch.set_num_threads(1)
    own: list[int] = []
    network = small_registration(cache=os.environ["TEST_CACHE"])
    network.register_forward_hook(lambda _, given, __: own.append(len(given[0])))
    wanted = next_request()
    source = run_main_first(lambda: CachedDisplacements(network, wanted))
    done = precompute_displacements(source.cache, network, source.pairs, SIZE, CPU), sum(own)
    own.clear()
    return done, (precompute_displacements(source.cache, network, source.pairs, SIZE, CPU), sum(own))


def test_ranks_share_the_work(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_CACHE", str(tmp_path))
    next_request()  # writes the cohort
    assert on_ranks(share_of_two_ranks) == [((40, 20), (0, 0))] * 2
    assert len(entries(tmp_path)) == 40


def test_an_image_that_cannot_be_read_is_a_message(tmp_path):
    source = CachedDisplacements(small_registration(cache=str(tmp_path)), next_request())
    pairs = [*source.pairs, ImagePair("f" * 32, str(tmp_path / "gone.png"), source.pairs[0].prior, False)]
    with pytest.raises(UserError, match=r"gone\.png cannot be read"):
        precompute_displacements(source.cache, small_registration(), pairs, SIZE, CPU, threads=2)


def test_too_little_room_is_told_before_anything_is_computed(tmp_path, monkeypatch, calls):
    source = CachedDisplacements(small_registration(cache=str(tmp_path)), next_request())
    usage = type("Usage", (), {"free": 40 * 4096 - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(
        UserError, match=r"40 of 40 displacement fields of 8 x 7, 0\.2 MB, are to be kept .* 0\.2 MB free"
    ):
        precompute_displacements(source.cache, small_registration(), source.pairs, SIZE, CPU)
    assert calls == []


def test_fields_are_found_without_gradient_at_the_size_that_is_asked_for():
    network, pairs = small_registration(), torch.rand(3, 2, 1, *SIZE)
    fields = displacements_of(network, pairs, (8, 7))
    assert not fields.requires_grad
    with torch.no_grad():
        expected = resize_displacement(network(pairs[:, 0], pairs[:, 1]), (8, 7))
    assert torch.equal(fields, expected)


def test_a_pair_is_loaded_current_image_first_and_mirrored_together():
    source = CachedDisplacements(small_registration(cache="unused"), next_request())
    pair = next(pair for pair in source.pairs if pair.mirror)
    plain = dataclasses.replace(pair, mirror=False).load(SIZE)
    assert torch.equal(pair.load(SIZE), plain.flip(-1))
    swapped = dataclasses.replace(pair, current=pair.prior, prior=pair.current, mirror=False).load(SIZE)
    assert torch.equal(swapped, plain.flip(0))
