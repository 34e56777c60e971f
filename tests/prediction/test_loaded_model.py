from __future__ import annotations

import hashlib

import pytest
import torch
from helpers.model_cases import random_batch
from helpers.untrained_checkpoints import untrained

from mammorisk.errors import UserError
from mammorisk.prediction.loaded_model import load_model
from mammorisk.training.trained_model import rebuild_model


def test_a_checkpoint_becomes_a_model_that_can_be_asked():
    checkpoint = untrained("model=mirai")
    model = load_model(str(checkpoint), "cpu")
    assert not model.network.training
    assert model.inputs.unit == "exam"
    assert model.config.model._target_.endswith("Mirai")
    assert model.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert str(model).startswith(f"Mirai, 0.1 M parameters, on cpu, from {checkpoint}")
    batch = random_batch(model.inputs, samples=2, size=(32, 26))
    output = model(batch)
    with torch.inference_mode():
        assert torch.equal(output.logits["risk"], rebuild_model(checkpoint)[0](batch).logits["risk"])


def test_a_file_that_is_not_there_or_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        load_model(tmp_path / "gone.pth")
    (tmp_path / "weights.pth").write_bytes(b"something else")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_model(tmp_path / "weights.pth")


def test_the_cache_of_fields_of_the_training_is_not_touched(tmp_path):
    folder = tmp_path / "fields"
    small = ["channels=[4,8,8]", "decoder_channels=[16,8,8]", "num_heads=[2,2]", "depth=1", "checkpoint=null"]
    words = ["registration=mammoregnet", *(f"registration.{word}" for word in small), "registration.image_size=null"]
    checkpoint = untrained("model=lmv_net", *words, f"registration.cache={folder}")
    registration = load_model(checkpoint, "cpu").network.registration_module
    assert registration is not None
    assert registration.cache is None
    assert rebuild_model(checkpoint)[0].registration_module.cache is None


def test_neither_is_that_of_features(tmp_path):
    words = ["model.encoder.freeze=true", f"model.encoder.cache={tmp_path}", "augment=none"]
    checkpoint = untrained("model=vmra_mar", *words)
    assert load_model(checkpoint, "cpu").network.encoder_module.cache is None
    assert rebuild_model(checkpoint)[0].encoder_module.cache is None
