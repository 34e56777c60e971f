from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.model_cases import quick_model, random_batch, small_registration
from helpers.tiny_training import assert_goes_on_with, tiny_config, tiny_parts, undisturbed
from helpers.training_runs import COHORTS
from helpers.untrained_checkpoints import exams, untrained

from mammorisk import evaluate
from mammorisk.caching.features import CachedFeatures, features_of, precompute_features
from mammorisk.config import options
from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.prediction.api import predict
from mammorisk.prediction.loaded_model import load_model
from mammorisk.training import loop
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.loop import predict_epoch, train_epoch

NETWORK = ["registration.channels=[4,4,8]", "registration.decoder_channels=[8,8,4]", "registration.num_heads=[2,2]"]
NETWORK += ["registration.depth=2", "registration.image_size=[32,32]", "registration=mammoregnet"]


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """How many images each call of an encoder got."""
    counted: list[int] = []
    forward = ResNetEncoder.forward

    def count(self, images):
        counted.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(ResNetEncoder, "forward", count)
    return counted


@pytest.fixture
def losses(monkeypatch) -> list[float]:
    """The loss of each training step."""
    seen: list[float] = []
    step = loop.train_step

    def noted(*arguments):
        output, loss = step(*arguments)
        seen.append(float(loss))
        return output, loss

    monkeypatch.setattr(loop, "train_step", noted)
    return seen


def frozen(model: str, cache: Path | None, *more: str) -> list[str]:
    kept = "null" if cache is None else str(cache)
    return [f"model={model}", "model.encoder.freeze=true", f"model.encoder.cache={kept}", "augment=none", *more]


def one_epoch(folder: Path, *words: str):
    """What a training of one epoch says of its samples, then of those of validation."""
    parts, files = tiny_parts(folder, *words)
    state = TrainingState()
    train_epoch(parts, state, files, undisturbed())
    training, validation = state.predictions.gathered()[1].logits, predict_epoch(parts, state, files, undisturbed())
    return training, validation.gathered()[1].logits


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.features"))


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for head, value in other.items():
            torch.testing.assert_close(one[head], value, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model", ["imgfeatalign", "vmra_mar", "mirai", "oa_breacr", "lmv_net"])
def test_with_and_without_the_cache_a_training_is_the_same(tmp_path, model, calls, losses):
    plain = one_epoch(tmp_path / "plain", *frozen(model, None))
    without = losses.copy()
    losses.clear()
    parts, _ = tiny_parts(tmp_path / "fill", *frozen(model, tmp_path / "cache"))
    calls.clear()
    batch = next(iter(parts.train.loader)).to("cpu")
    assert batch.images.shape[-2:] == (0, 0)
    assert batch.features.shape == (*batch.view_mask.shape, 32, 4, 4)
    kept = one_epoch(tmp_path / "kept", *frozen(model, tmp_path / "cache"))
    assert calls == []  # not once, neither before the training nor in it
    assert len(losses) == len(without) >= 8
    assert losses == pytest.approx(without, rel=1e-4, abs=1e-5)
    assert max(losses) - min(losses) > 0.01
    assert_close(kept, plain)


def test_images_come_beside_the_features_where_the_registration_needs_them(tmp_path):
    torch.save(small_registration().state_dict(), tmp_path / "registration.pth")
    words = [*NETWORK, f"registration.checkpoint={tmp_path / 'registration.pth'}"]
    cache, fields = tmp_path / "cache", f"registration.cache={tmp_path / 'fields'}"
    parts, _ = tiny_parts(tmp_path / "images", *frozen("imgfeatalign", cache, *words))
    batch = next(iter(parts.val.loader)).to("cpu")
    assert batch.images.shape[-2:] == (32, 26)
    assert batch.features.ndim == 6
    unwrapped_model = parts.unwrapped_model.eval()
    with torch.no_grad():
        found = unwrapped_model(batch).logits
        encoded = unwrapped_model(replace(batch, features=None)).logits
    assert_close([found], [encoded])
    parts, _ = tiny_parts(tmp_path / "fields", *frozen("imgfeatalign", cache, *words, fields))
    batch = next(iter(parts.val.loader)).to("cpu")
    assert batch.images.shape[-2:] == (0, 0)
    with torch.no_grad():
        torch.testing.assert_close(
            unwrapped_model(batch).logits["fused"], found["fused"], rtol=0, atol=2e-3
        )  # fields: float16


def test_damaged_and_missing_entries_are_computed_again_before_a_training(tmp_path, calls, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("mammorisk"), "propagate", True)
    words, cache = frozen("vmra_mar", tmp_path / "cache"), tmp_path / "cache"
    tiny_parts(tmp_path / "one", *words)
    assert sum(calls) == len(entries(cache)) > 100
    damaged, gone = entries(cache)[:2]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-3] + b"abc")
    gone.unlink()
    calls.clear()
    tiny_parts(tmp_path / "two", *words)
    assert calls == [2]
    assert "1 damaged features in" in caplog.text
    assert gone.is_file()
    found, expected = (
        torch.frombuffer(bytearray(each[24:]), dtype=torch.float32) for each in (damaged.read_bytes(), content)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_an_entry_spoilt_in_mid_training_is_computed_again_by_who_wants_it(tmp_path, calls):
    parts, _ = tiny_parts(tmp_path, *frozen("vmra_mar", tmp_path / "cache"))
    expected = [batch.features for batch in parts.val.loader]
    for path in entries(tmp_path / "cache"):
        path.write_bytes(path.read_bytes()[:-1])
    calls.clear()
    found = [batch.features for batch in parts.val.loader]
    assert set(calls) == {1}
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_augmented_images_are_refused_and_the_way_out_is_told(tmp_path):
    words = [*frozen("vmra_mar", tmp_path / "cache"), "augment=mild"]
    with pytest.raises(UserError, match=r"LongitudinalAugment.*augment=none, or model\.encoder\.cache=null"):
        tiny_parts(tmp_path, *words)
    assert not (tmp_path / "cache").exists()


def test_an_encoder_that_is_trained_is_refused(tmp_path):
    words = [*frozen("vmra_mar", tmp_path / "cache"), "model.encoder.freeze=false"]
    with pytest.raises(UserError, match=r"the encoder is trained.*model\.encoder\.cache=null.*freeze=true"):
        tiny_parts(tmp_path, *words)
    frozen_by_model = [*frozen("lmv_net", tmp_path / "cache", "model.finetune_all=false"), "model.encoder.freeze=false"]
    tiny_parts(tmp_path, *frozen_by_model)
    assert entries(tmp_path / "cache")


def test_an_encoder_that_is_shown_warped_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.alignment=image\)\. Set model\.encoder\.cache=null"):
        tiny_parts(tmp_path, *frozen("imgfeatalign", tmp_path / "cache", "model.alignment=image"))


@pytest.mark.parametrize(("change", "factor"), [("dataset.orientation=left", 1.5), ("dataset.image_size=[64,52]", 2)])
def test_what_the_encoder_sees_otherwise_has_entries_of_its_own(tmp_path, change, factor):
    cache, native = tmp_path / "cache", "dataset.orientation=native"
    words = frozen("mirai", cache, native)
    tiny_parts(tmp_path / "one", *words)
    before = len(entries(cache))
    tiny_parts(tmp_path / "same", *words)
    assert len(entries(cache)) == before
    parts, _ = tiny_parts(tmp_path / "other", *words, change)
    assert len(entries(cache)) == before * factor
    plain, _ = tiny_parts(tmp_path / "plain", *frozen("mirai", None, native), change)
    with torch.no_grad():
        found, expected = (
            p.unwrapped_model.eval()(next(iter(p.val.loader)).to("cpu")).logits["risk"] for p in (parts, plain)
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_workers_read_and_compute_the_same(tmp_path):
    words = frozen("vmra_mar", tmp_path / "cache")
    one, _ = tiny_parts(tmp_path / "0", *words)
    expected = [batch.features for batch in one.val.loader]
    entries(tmp_path / "cache")[0].unlink()
    two, _ = tiny_parts(tmp_path / "2", *words, "dataset.num_workers=2")
    for path in entries(tmp_path / "cache")[::3]:
        path.unlink()
    found = [batch.features for batch in two.val.loader]
    two.val.loader.close()
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def test_a_training_goes_on_without_the_cache(tmp_path):
    assert_goes_on_with(tmp_path, frozen("vmra_mar", tmp_path / "cache"), frozen("vmra_mar", None))


def test_evaluation_keeps_features_where_it_is_told_and_nowhere_else(tmp_path, calls):
    trained_with, given = tmp_path / "cache", tmp_path / "given"
    kept, plain = (untrained(*frozen("vmra_mar", each)) for each in (trained_with, None))
    few = {"bootstrap_samples": 1, "cpu": True, "examples": 0, "dataset": {"generator": {"folder": str(COHORTS)}}}
    stamps = {path: path.stat().st_mtime_ns for path in entries(trained_with)}
    evaluate(plain, folder=tmp_path / "one", **few)
    calls.clear()
    evaluate(kept, folder=tmp_path / "two", encoder_cache=str(given), **few)
    assert sum(calls) == len(entries(given)) > 0
    calls.clear()
    evaluate(kept, folder=tmp_path / "three", encoder_cache=str(given), **few)
    assert calls == []
    one, two, three = (pd.read_csv(tmp_path / name / "predictions.csv")["risk_5y"] for name in ("one", "two", "three"))
    assert abs(two - one).max() < 1e-4
    assert (two == three).all()
    assert one.std() > 1e-3
    table = predict(load_model(kept, "cpu"), exams())
    assert sum(calls) > 0
    assert table["risk_5y"].notna().any()
    assert {path: path.stat().st_mtime_ns for path in entries(trained_with)} == stamps
    with pytest.raises(UserError, match=r"registration_cache=.*caches no displacements"):
        evaluate(kept, registration_cache=str(given), **few)


@pytest.mark.parametrize("name", options("model"))
def test_every_model_takes_features_for_images(name):
    """Those of absent images are not looked at, whatever stands there."""
    model = quick_model(name).eval()
    batch = random_batch(model.inputs)
    batch.view_mask[1, 0, 0] = model.inputs.exams == 1
    with torch.no_grad():
        expected = model(batch).logits
        features = features_of(model.encoder_module, batch.images.flatten(0, 2)).unflatten(0, batch.view_mask.shape)
        features[~batch.view_mask] = float("nan")
        nothing = torch.zeros((*batch.view_mask.shape, 1, 0, 0))
        field = torch.zeros(len(batch), model.inputs.views, 2, *features.shape[-2:])
        found = model(replace(batch, images=nothing, features=features, displacement=field)).logits
    assert_close([found], [expected])


def test_a_model_that_takes_no_features_is_told_from_one_without_a_cache():
    assert quick_model("imgfeatalign", "model.alignment=image").encoder_module is None
    assert quick_model("imgfeatalign").encoder_module is not None
    assert tiny_config("model=vmra_mar").model.encoder.cache is None


def test_too_little_room_is_told_with_the_setting(tmp_path, monkeypatch, calls):
    usage = type("Usage", (), {"free": 4095})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=r"model\.encoder\.cache=.*features of 32 x 4 x 4.*model\.encoder\.cache=null"):
        tiny_parts(tmp_path, *frozen("vmra_mar", tmp_path / "cache"))
    assert calls == []


def test_fill_counts_what_it_computes(tmp_path):
    parts, _ = tiny_parts(tmp_path, *frozen("vmra_mar", tmp_path / "cache"))
    source = parts.val.loader.dataset.dataset._features
    assert isinstance(source, CachedFeatures)
    for image in source.images[:3]:
        source.cache.path(image.name).unlink()
    counts = [
        precompute_features([source], parts.unwrapped_model.encoder_module, torch.device("cpu")) for _ in range(2)
    ]
    assert counts == [3, 0]
