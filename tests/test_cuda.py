"""On a GPU: the same numbers as on the CPU, no step that waits for the device, resumed bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pandas as pd
import pytest
import torch
from helpers.model_cases import SMALL_NETWORK, logits, quick_model, random_batch, small_registration
from helpers.tiny_training import tiny_parts, undisturbed
from helpers.training_runs import (
    TORCHRUN,
    assert_as_undisturbed,
    disturbed,
    has_saved,
    only_run,
    start,
    train,
)
from helpers.untrained_checkpoints import as_trained

from mammorisk.models.alignment import displacement_to_prior
from mammorisk.prediction.splits import split_risk
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.loop import predict_epoch, train_step

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
MODELS = ["mirai", "oa_breacr", "vmra_mar", "imgfeatalign", "lmv_net"]


@pytest.fixture
def whole_float32() -> Iterator[None]:
    """No TF32, whose ten bits of mantissa are no 1e-4."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


@pytest.fixture(scope="module")
def registered(tmp_path_factory) -> list[str]:
    """Settings of a small trained registration."""
    weights = tmp_path_factory.mktemp("registration") / "registration.pth"
    torch.save(small_registration().state_dict(), weights)
    return ["registration=mammoregnet", f"registration.checkpoint={weights}", *SMALL_NETWORK]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_the_same_on_both(name, whole_float32):
    model = quick_model(name)
    batch = random_batch(model.inputs)
    on_cpu = logits(model, batch)
    on_gpu = logits(model.cuda(), batch.to("cuda"))
    for head, values in on_cpu.items():
        torch.testing.assert_close(on_gpu[head].cpu(), values, rtol=1e-4, atol=1e-4)


def test_a_displacement_field_is_the_same_on_both(whole_float32):
    fixed, moving = torch.rand(2, 3, 1, 64, 52, generator=torch.Generator().manual_seed(1))
    registration = small_registration()
    on_cpu = displacement_to_prior(registration, fixed, moving)
    on_gpu = displacement_to_prior(registration.cuda(), fixed.cuda(), moving.cuda())
    assert float(on_cpu.abs().max()) > 1
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_no_step_waits_for_the_device(tmp_path, registered, name, precision):
    """PyTorch itself stops at the first thing that would wait."""
    settings = [f"model={name}", *registered, f"trainer.mixed_precision={precision}"]
    context, files = tiny_parts(tmp_path, *settings, "augment=default", "optim.max_grad_norm=1")
    context.model.train()
    batches = iter(context.train.loader)
    for _ in range(2):  # the first steps set kernels and the optimiser's state up
        train_step(context, next(batches), 0, 1, True)
    batch = next(batches)
    assert batch.images.is_pinned()
    before = [p.detach().clone() for p in context.unwrapped_model.parameters() if p.requires_grad]
    torch.cuda.set_sync_debug_mode("error")
    try:
        _, loss = train_step(context, batch, 0, 1, True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.device.type == "cuda"
    assert bool(torch.isfinite(loss))
    after = [p for p in context.unwrapped_model.parameters() if p.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
    predictions = predict_epoch(context, TrainingState(), files, undisturbed())
    assert len(predictions) == len(context.val.samples)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains(tmp_path, precision):
    printed = train(tmp_path, "model=lmv_net", f"trainer.mixed_precision={precision}")
    assert f"on cuda, precision {precision}" in printed
    table = pd.read_csv(only_run(tmp_path) / "metrics.csv")
    assert len(table) == 2
    assert table["Training Risk Loss"].between(0, 5).all()


def test_the_learning_curve_is_that_of_the_cpu(tmp_path):
    """Kernels round differently, so the curves part slowly; a sample or a weight gone wrong would show at once."""
    curves = []
    for device in ("false", "true"):
        train(tmp_path / device, "model=mirai", f"trainer.cpu={device}")
        curves.append(pd.read_csv(only_run(tmp_path / device) / "metrics.csv"))
    for column in ("Training Risk Loss", "Validation Risk Loss"):
        assert (curves[0][column] - curves[1][column]).abs().max() < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, registered, name):
    settings = [f"model={name}", *registered, "dataset.num_workers=1", "trainer.num_epochs=3"]
    train(tmp_path / "undisturbed", *settings)
    folder = tmp_path / "stopped"
    folder.mkdir()
    process = start(folder, *settings, "trainer.resume_from=auto", "trainer.save_every_minutes=0")
    disturbed(process, lambda: has_saved(folder), signal.SIGTERM)
    train(folder, *settings, "trainer.resume_from=auto")
    assert_as_undisturbed(folder, only_run(tmp_path / "undisturbed"))


def test_fields_are_found_on_the_gpu_and_kept(tmp_path, registered):
    settings = ["model=lmv_net", *registered, f"registration.cache={tmp_path / 'fields'}"]
    first = train(tmp_path / "first", *settings, "trainer.num_epochs=1")
    again = train(tmp_path / "again", *settings, "trainer.num_epochs=1")
    assert "computes" in first
    assert "displacement fields of all" in again
    one, other = (pd.read_csv(only_run(tmp_path / name) / "metrics.csv") for name in ("first", "again"))
    pd.testing.assert_frame_equal(one, other)


def test_more_processes_than_gpus_are_refused(tmp_path):
    many = torch.cuda.device_count() + 1
    launcher = [str(many) if word == "2" else word for word in TORCHRUN]
    printed = train(tmp_path, "model=mirai", launcher=launcher, status=1)
    assert "There are more processes than GPUs" in printed, printed


def test_a_run_is_evaluated_alike_on_both(tmp_path):
    train(tmp_path, "model=mirai")
    run = only_run(tmp_path)
    best = next(run.glob("best*.pth"))
    dataset = as_trained(best).dataset
    on_gpu, on_cpu = split_risk(best, "val", dataset), split_risk(best, "val", dataset, cpu=True)
    assert abs(on_gpu.risk - on_cpu.risk).max() < 2e-3


def test_features_are_found_on_the_gpu_and_kept(tmp_path):
    settings = ["model=imgfeatalign", "model.encoder.freeze=true", "augment=none", "trainer.num_epochs=1"]
    kept = [*settings, f"model.encoder.cache={tmp_path / 'features'}"]
    runs = {"anew": settings, "first": kept, "again": kept}
    for name, words in runs.items():
        train(tmp_path / name, *words)
    anew, first, again = (pd.read_csv(only_run(tmp_path / name) / "metrics.csv") for name in runs)
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(anew, first, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["mirai", "lmv_net"])
def test_recomputed_activations_give_the_same_gradients(name, whole_float32):
    found = []
    for gradient_checkpointing in ("false", "true"):
        model = quick_model(name, f"model.encoder.gradient_checkpointing={gradient_checkpointing}").cuda().train()
        torch.manual_seed(0)
        batch = random_batch(model.inputs).to("cuda")
        model.loss(model(batch), batch).backward()
        found.append({key: p.grad for key, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, rtol=1e-3, atol=1e-4)
