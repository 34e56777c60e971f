from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.model_cases import snapshot
from helpers.tiny_training import tiny_parts, undisturbed

from mammorisk.config import TrainerConfig
from mammorisk.distributed.signals import StopSignals
from mammorisk.errors import UserError
from mammorisk.metrics.concordance import c_index
from mammorisk.training.checkpoint import TrainingState, load_payload
from mammorisk.training.loop import LossWatch, end_epoch, fit, is_finished, predict_epoch, train_epoch, train_step
from mammorisk.training.risk import RISK
from mammorisk.training.step_control import StepControl
from mammorisk.training.tracking import Tracker

STILL = ["model=lmv_net", "model.dropout=0", "model.stochastic_depth=0", "model.time_dropout=0"]


def test_an_epoch_trains_on_every_batch_and_keeps_what_was_said(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai", "dataset.class_balance=null", "trainer.samples_per_epoch=null")
    before, state = snapshot(context.unwrapped_model), TrainingState()
    train_epoch(context, state, files, undisturbed())
    assert state.batch == context.train.sampler.num_batches == context.schedules.steps
    assert len(state.predictions) == len(context.train.samples)
    after = snapshot(context.unwrapped_model)
    assert not torch.equal(before["encoder.conv1.weight"], after["encoder.conv1.weight"])
    assert not torch.equal(before["aggregator.risk.base.weight"], after["aggregator.risk.base.weight"])


def test_pitfall_05_a_frozen_encoder_and_its_statistics_stay(tmp_path):
    context, files = tiny_parts(tmp_path, "model=lmv_net", "model.finetune_all=false")
    before = snapshot(context.unwrapped_model.encoder)
    train_epoch(context, TrainingState(), files, undisturbed())
    after = snapshot(context.unwrapped_model.encoder)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not context.unwrapped_model.encoder.training
    assert context.unwrapped_model.head.training


def test_validation_learns_nothing_and_draws_no_random_number(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai")
    before, drawn = snapshot(context.unwrapped_model), torch.get_rng_state()
    predictions = predict_epoch(context, TrainingState(), files, undisturbed())
    assert len(predictions) == len(context.val.samples)
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in snapshot(context.unwrapped_model).items())
    assert all(p.grad is None for p in context.unwrapped_model.parameters())


def test_validation_is_not_augmented_and_training_is(tmp_path):
    context, _ = tiny_parts(tmp_path, "model=mirai", "augment.jitter_probability=1")
    context.train.sampler.set_epoch(0)
    batch = next(iter(context.train.loader)).to("cpu")
    seen = []
    context.unwrapped_model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].images))
    train_step(context, batch, 0, 1, True)
    assert not torch.equal(seen[0], batch.images)
    predict_epoch(context, TrainingState(), tiny_parts(tmp_path, "model=mirai")[1], undisturbed())
    first = next(iter(context.val.loader)).to("cpu")
    assert torch.equal(seen[1], first.images)


def test_accumulated_gradients_are_the_mean(tmp_path):
    """Twice the same batch in a group of two moves the weights as the batch does alone."""
    moved = []
    for group in (1, 2):
        context, _ = tiny_parts(tmp_path, *STILL, "augment=none", "model.finetune_all=false", "optim.warmup_steps=0")
        context.unwrapped_model.train()
        context.train.sampler.set_epoch(0)
        batch = next(iter(context.train.loader)).to("cpu")
        for i in range(group):
            train_step(context, batch, 0, group, ends_group=i + 1 == group)
        assert context.schedules.steps == 1
        moved.append(snapshot(context.unwrapped_model))
    for name in moved[0]:
        torch.testing.assert_close(moved[0][name], moved[1][name], rtol=1e-4, atol=1e-6)


def test_an_epoch_ends_with_a_step_when_groups_do_not_fit(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai", "trainer.gradient_accumulation_steps=4")
    state = TrainingState()
    train_epoch(context, state, files, undisturbed())
    assert context.schedules.steps == math.ceil(context.train.sampler.num_batches / 4)
    assert all(p.grad is None for p in context.unwrapped_model.parameters())


def test_gradients_are_clipped(tmp_path):
    context, _ = tiny_parts(tmp_path, "model=mirai", "optim.max_grad_norm=1e-12", "optim.weight_decay=0")
    context.train.sampler.set_epoch(0)
    norms = []
    context.optimizer.optimizer.register_step_pre_hook(
        lambda *_: norms.append(sum(float(p.grad.norm()) ** 2 for p in context.unwrapped_model.parameters()) ** 0.5)
    )
    train_step(context, next(iter(context.train.loader)), 0, 1, True)
    assert norms[0] <= 1.001e-12


def test_the_end_of_an_epoch_measures_and_saves(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai", "trainer.checkpoint_every=2")
    state = TrainingState()
    for epoch in (1, 2):
        train_epoch(context, state, files, undisturbed())
        validation = predict_epoch(context, state, files, undisturbed())
        _, output = validation.gathered()
        end_epoch(context, state, files, validation)
        assert (state.epoch, state.batch, len(state.predictions)) == (epoch, 0, 0)
    samples = context.val.samples
    risk = context.unwrapped_model.risk(output).numpy()
    expected = c_index(risk, samples.event[:, -1], samples.event_index[:, -1])
    assert state.history[-1]["Validation C-index"] == expected
    names = {"epoch", "Training Risk Loss", "Validation Risk Loss", "Training C-index", "Validation C-index"}
    names |= {f"{split} Year {year} AUC" for split in ("Train", "Val") for year in range(1, 6)} | {"Learning Rate"}
    assert names <= set(state.history[-1])
    assert load_payload(files.periodic(2))["epoch"] == 2
    assert not files.periodic(1).exists()
    assert load_payload(files.best)["epoch"] == state.best_epoch
    best = max(row["Validation C-index"] for row in state.history)
    assert state.best == best


def test_a_c_index_that_cannot_be_computed_is_never_the_best(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai")
    samples = context.val.samples
    context.val.samples = replace(samples, event=np.zeros_like(samples.event), target=np.zeros_like(samples.target))
    state = TrainingState()
    train_epoch(context, state, files, undisturbed())
    end_epoch(context, state, files, predict_epoch(context, state, files, undisturbed()))
    assert math.isnan(state.history[0]["Validation C-index"])
    assert (state.best_epoch, state.epochs_without_improvement) == (0, 1)
    assert math.isnan(state.best)
    assert not files.best.exists()
    state.batch = 0
    context.val.samples = samples  # a number after that is the best
    train_epoch(context, state, files, undisturbed())
    end_epoch(context, state, files, predict_epoch(context, state, files, undisturbed()))
    assert state.best_epoch == 2


def test_training_ends_after_the_epochs_or_without_progress():
    trainer = TrainerConfig(num_epochs=3, patience=2)
    assert not is_finished(TrainingState(epoch=2, epochs_without_improvement=1), trainer)
    assert is_finished(TrainingState(epoch=3), trainer)
    assert is_finished(TrainingState(epoch=2, epochs_without_improvement=2), trainer)


def test_losses_are_looked_at_at_once_on_a_cpu():
    watch = LossWatch(torch.device("cpu"))
    assert watch.add(torch.tensor(0.5), ["a"], last=False) is None
    assert watch.latest == 0.5
    error = watch.add(torch.tensor(float("nan")), ["patient/exam/L", "other"], last=False)
    assert isinstance(error, UserError)
    assert "nan for the batch of the samples patient/exam/L, other" in str(error)


def test_losses_on_a_gpu_are_looked_at_now_and_then():
    watch = LossWatch(torch.device("cuda"))
    for step in range(1, 100):
        error = watch.add(torch.tensor(float("inf") if step == 7 else 1.0), [f"sample {step}"], last=False)
        if error is not None:
            break
    assert step == 50
    assert "sample 7" in str(error)
    assert watch.add(torch.tensor(2.0), ["a"], last=True) is None
    assert watch.latest == 2.0


def test_weights_after_a_loss_that_is_no_number_are_not_saved(tmp_path, monkeypatch):
    """On a GPU losses are looked at now and then, but always before a save."""
    monkeypatch.setattr("mammorisk.training.loop.LossWatch", lambda device: LossWatch(torch.device("cuda")))
    context, files = tiny_parts(tmp_path, "model=mirai", "optim.warmup_steps=0")
    for group in context.optimizer.param_groups:
        group["lr"] = 1e12
    saving = StepControl(StopSignals(), save_every_minutes=0)
    with pytest.raises(UserError, match="loss is nan"):
        train_epoch(context, TrainingState(), files, saving)
    weights = load_payload(files.resume)["model"].values()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights)


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_fit_returns_the_best_and_writes_the_last(tmp_path, precision):
    context, files = tiny_parts(tmp_path, "model=lmv_net", f"trainer.mixed_precision={precision}")
    with Tracker(context.config.tracking, files, {}, RISK) as tracker:
        state = fit(context, files, tracker)
    assert state.epoch == 2
    assert load_payload(files.last_epoch)["epoch"] == 2
    assert all(t.dtype == torch.float32 for t in load_payload(files.best)["model"].values() if t.is_floating_point())
    assert files.metrics.exists()
    assert files.curve.exists()


def test_an_early_stop_is_saved_once_under_all_names(tmp_path):
    context, files = tiny_parts(tmp_path, "model=lmv_net", "trainer.num_epochs=60", "trainer.patience=1")
    with Tracker(context.config.tracking, files, {}, RISK) as tracker:
        state = fit(context, files, tracker)
    assert state.epochs_without_improvement == 1
    assert state.epoch < 60
    assert files.early_stopping.samefile(files.last_epoch)
    assert files.early_stopping.samefile(files.resume)
    assert load_payload(files.early_stopping)["epoch"] == state.epoch
