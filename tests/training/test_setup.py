from __future__ import annotations

import re

import pandas as pd
import pytest
import torch
from helpers.tiny_training import tiny_parts

from mammorisk.errors import UserError
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.training.setup import make_accelerator, step_notes


def test_parts_are_as_configured(tmp_path, said):
    context, files = tiny_parts(tmp_path, "model=lmv_net", "optim.encoder_lr_scale=0.1", "optim.warmup_steps=0")
    assert [group["name"] for group in context.optimizer.param_groups] == ["new", "encoder"]
    assert [group["lr"] for group in context.optimizer.param_groups] == pytest.approx([1e-3, 1e-4])
    assert context.train.sampler.training
    assert context.train.sampler.class_balance == 0.25
    assert not context.val.sampler.training
    assert context.val.sampler.class_balance is None
    assert next(iter(context.val.loader)).images.shape == (8, 2, 2, 1, 32, 26)
    text = said()
    assert "1 process(es) on cpu" in text
    assert "image encoder: random initialisation (no pretrained weights)" in text
    assert f"a sample is {context.unwrapped_model.inputs}" in text
    assert "missing priors: drop" in text
    assert "frozen at random weights" not in text
    assert f"train: {len(context.train.samples)} samples, {context.train.samples.cases.sum()} of them cases" in text
    assert "fewer than 2 exams" in text  # the attrition table
    steps = pd.read_csv(files.attrition)
    assert steps["step"].tolist()[0] == "cohort"
    assert {"samples train", "samples val"} <= set(steps["step"])


def test_an_encoder_frozen_at_random_weights_is_warned_of(tmp_path, said):
    tiny_parts(tmp_path, "model=mirai", "model.encoder.freeze=true")
    assert "the image encoder is frozen at random weights: give it trained ones" in said()
    assert ", frozen\n" in said()


@pytest.mark.parametrize("orientation", ["native", "left"])
def test_pitfall_31_images_that_lie_otherwise_than_the_weights_know_are_told(orientation, tmp_path, said):
    donor = {key: tensor for key, tensor in ResNetEncoder(width=4).state_dict().items() if "input_" not in key}
    named = {re.sub(r"^(layer\d)\.(\d)", r"\1_\2", re.sub(r"^(conv|bn)", r"downsampler.\1", key)): key for key in donor}
    torch.save({f"_model.{name}": donor[key] for name, key in named.items()}, tmp_path / "w.pth")
    chosen = [f"model.encoder.pretrained={tmp_path / 'w.pth'}", f"dataset.orientation={orientation}"]
    context, _ = tiny_parts(tmp_path / "run", "model=lmv_net", *chosen)
    assert ("set dataset.orientation=left" in said()) == (orientation == "native")
    assert f"image encoder: {tmp_path / 'w.pth'}, Mirai's image encoder" in said()
    assert "sees (16-bit value - 7047.99) / 12005.5" in said()
    assert torch.equal(context.unwrapped_model.state_dict()["encoder.conv1.weight"], donor["conv1.weight"])


def test_the_same_seed_gives_the_same_weights_and_order(tmp_path):
    one, _ = tiny_parts(tmp_path, "model=mirai", "seed=3")
    torch.rand(7)
    two, _ = tiny_parts(tmp_path, "model=mirai", "seed=3")
    other, _ = tiny_parts(tmp_path, "model=mirai", "seed=4")
    name = "encoder.conv1.weight"
    assert torch.equal(one.unwrapped_model.state_dict()[name], two.unwrapped_model.state_dict()[name])
    assert not torch.equal(one.unwrapped_model.state_dict()[name], other.unwrapped_model.state_dict()[name])
    assert list(one.train.sampler) == list(two.train.sampler) != list(other.train.sampler)


def test_a_precision_the_device_lacks_is_a_message():
    with pytest.raises(UserError, match="mixed_precision=fp16 does not work on a CPU"):
        make_accelerator("fp16", cpu=True)
    assert make_accelerator("no", cpu=True).device.type == "cpu"


def test_jobs_of_one_sweep_may_differ_in_precision():
    for precision in ("no", "bf16", "no"):
        assert make_accelerator(precision, cpu=True).mixed_precision == precision


def test_settings_larger_than_the_training_are_told(tmp_path, said):
    words = ["trainer.gradient_accumulation_steps=1000", "dataset.batch_size=4096", "optim.warmup_steps=1000"]
    context, _ = tiny_parts(tmp_path, "model=mirai", *words)
    assert "trainer.gradient_accumulation_steps=1000 is more than the 1 batches of an epoch" in said()
    assert (
        f"is more than the {context.train.sampler.length} training samples of an epoch: an epoch is one batch" in said()
    )
    assert "optim.warmup_steps=1000 is more than the 2 steps of this training" in said()


def test_settings_that_fit_the_training_are_not(tmp_path, said):
    context, _ = tiny_parts(tmp_path, "model=mirai", "optim.warmup_steps=2")
    assert step_notes(context.config, context.train.sampler) == []
    assert "is more than" not in said()
