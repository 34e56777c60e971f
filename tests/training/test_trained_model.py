from __future__ import annotations

import hashlib
import sys

import pytest
import torch
from helpers.composed_configs import composed
from helpers.evaluated_checkpoints import run_directory
from helpers.model_cases import random_batch
from helpers.tiny_training import tiny_parts
from helpers.training_runs import assert_equal
from helpers.untrained_checkpoints import untrained
from omegaconf import OmegaConf

from mammorisk import load_model
from mammorisk.config import options
from mammorisk.errors import UserError
from mammorisk.training.checkpoint import TrainingState, load_payload, save
from mammorisk.training.trained_model import rebuild_model


def changed(folder, **keys):
    """A checkpoint with values of its configuration (``__`` for a dot) set to others."""
    payload = load_payload(untrained("model=mirai"))
    config = OmegaConf.create(payload["config"])
    for key, value in keys.items():
        OmegaConf.update(config, key.replace("__", "."), value, force_add=True)
    path = folder / "changed.pth"
    torch.save({**payload, "config": OmegaConf.to_yaml(config)}, path)
    return path


@pytest.mark.parametrize("name", options("model"))
def test_a_model_comes_back_to_the_bit(name, tmp_path):
    context, files = tiny_parts(tmp_path, f"model={name}")
    save(context, TrainingState(), files)
    model, config = rebuild_model(files.resume)
    assert_equal(model.state_dict(), context.unwrapped_model.state_dict(), "model")
    assert not model.training
    assert config.model._target_ == context.config.model._target_
    batch = random_batch(model.inputs, size=(32, 26))
    with torch.no_grad():
        expected = context.unwrapped_model.eval()(batch).logits[model.primary]
        assert torch.equal(model(batch).logits[model.primary], expected)


def test_sizes_are_held_against_the_weights_before_any_memory_is_taken(tmp_path, monkeypatch):
    path = changed(tmp_path, model__encoder__width=256)  # 1.2 GB with its 2,048 channels
    allocated = []
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_: allocated.append(1))
    with pytest.raises(UserError, match=r"do not fit Mirai(.|\n)*encoder.conv1.weight \[4, .*expected \[256, "):
        rebuild_model(path)
    assert allocated == []


def test_settings_that_do_not_go_together_are_a_message(tmp_path):
    with pytest.raises(UserError, match=r"cannot be built|num_heads"):
        rebuild_model(changed(tmp_path, model__num_heads=7))


def test_the_checkpoint_of_a_registration_is_told_apart(tmp_path):
    payload = load_payload(untrained("model=mirai"))
    config = composed("registration=mammoregnet_small", root="register")
    torch.save({**payload, "config": OmegaConf.to_yaml(config)}, tmp_path / "r.pth")
    with pytest.raises(UserError, match="mammorisk-register evaluate"):
        rebuild_model(tmp_path / "r.pth")


@pytest.mark.parametrize(("name", "value"), [("encoder.input_std", 0.0), ("encoder.bn1.running_var", -1.0)])
def test_statistics_that_only_give_nan_are_told(tmp_path, name, value):
    payload = load_payload(untrained("model=mirai"))
    payload["model"][name] = torch.full_like(payload["model"][name], value)
    torch.save(payload, tmp_path / "x.pth")
    with pytest.raises(UserError, match=f"{name} is .*expected a spread above 0"):
        rebuild_model(tmp_path / "x.pth")


def test_the_hash_is_that_of_the_file_that_was_read():
    path = untrained("model=mirai")
    assert load_model(path, "cpu").sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_own_models_load_where_their_module_is_named(tmp_path, monkeypatch):
    (tmp_path / "mylab_trained.py").write_text(
        "from mammorisk.models.mirai import Mirai\nclass Mine(Mirai):\n    def notes(self): return ['mine']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    context, files = tiny_parts(tmp_path / "run", "model=mirai", "model._target_=mylab_trained.Mine")
    save(context, TrainingState(), files)
    del sys.modules["mylab_trained"]
    with pytest.raises(UserError, match=r"allow_modules=\[mylab_trained\]"):
        load_model(files.resume, "cpu")
    assert "mylab_trained" not in sys.modules
    model = load_model(files.resume, "cpu", allow_modules=["mylab_trained"])
    assert model.network.notes() == ["mine"]
    assert_equal(model.network.state_dict(), context.unwrapped_model.state_dict(), "model")
    del sys.modules["mylab_trained"]


def test_a_run_directory_is_no_safer_than_a_file(tmp_path):
    from mammorisk.evaluation.trained_checkpoint import load_trained

    run = run_directory("model=mirai")
    payload = load_payload(next(run.glob("best_model_*")))
    config = OmegaConf.create(payload["config"])
    config.model._target_ = "os.system"
    torch.save({**payload, "config": OmegaConf.to_yaml(config)}, tmp_path / "best_model_x.pth")
    with pytest.raises(UserError, match=r"model._target_=os\.system"):
        load_trained(tmp_path)
