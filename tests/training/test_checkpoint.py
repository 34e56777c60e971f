from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import pytest
import torch
from helpers.model_cases import random_batch
from helpers.places import TESTS
from helpers.tiny_training import tiny_parts
from helpers.training_runs import assert_equal, environment
from omegaconf import OmegaConf

from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
from mammorisk.training.checkpoint import (
    FORMAT,
    TrainingState,
    load_payload,
    newest_checkpoint,
    resume,
    save,
)
from mammorisk.training.trained_model import rebuild_model


@pytest.fixture
def saved(tmp_path):
    context, files = tiny_parts(tmp_path / "run", "model=lmv_net", "trainer.resume_from=auto")
    names = ("Training Risk Loss", "Validation Risk Loss", "Training C-index", "Validation C-index", "Learning Rate")
    history = [{"epoch": float(epoch), **dict.fromkeys(names, 0.5)} for epoch in (1, 2, 3)]
    state = TrainingState(epoch=3, batch=2, best=0.7, best_epoch=2, epochs_without_improvement=1, history=history)
    save(context, state, files, also=[files.best])
    return context, files, state


def test_pitfall_10_a_checkpoint_is_plain_and_complete(saved):
    context, files, _ = saved
    payload = torch.load(files.resume, weights_only=True)
    assert payload["format"] == FORMAT
    assert (payload["epoch"], payload["batch"]) == (3, 2)
    assert (payload["best"], payload["epochs_without_improvement"], payload["world_size"]) == (0.7, 1, 1)
    assert OmegaConf.create(payload["config"]) == context.config
    assert {"model", "optimizer", "schedules", "random", "global_step", "version", "predictions"} <= payload.keys()
    assert files.best.stat().st_ino == files.resume.stat().st_ino  # written once


def test_resuming_restores_everything(saved, tmp_path):
    context, files, state = saved
    other, _ = tiny_parts(tmp_path / "other", "model=lmv_net", "trainer.resume_from=auto", "seed=2023")
    for parameter in other.unwrapped_model.parameters():
        parameter.data.add_(1.0)
    torch.rand(5)
    found = resume(other, files)
    assert (found.epoch, found.batch, found.best, found.best_epoch, found.epochs_without_improvement) == (
        3,
        2,
        0.7,
        2,
        1,
    )
    assert found.history == state.history
    assert_equal(other.unwrapped_model.state_dict(), context.unwrapped_model.state_dict(), "model")
    assert_equal(other.optimizer.state_dict(), context.optimizer.state_dict(), "optimizer")
    assert torch.equal(torch.get_rng_state(), torch.load(files.resume, weights_only=True)["random"][0]["torch"])


def test_nothing_to_resume_is_a_new_training(tmp_path):
    context, files = tiny_parts(tmp_path, "model=mirai", "trainer.resume_from=auto")
    state = resume(context, files)
    assert (state.epoch, state.batch, state.history) == (0, 0, [])


def test_the_newest_usable_checkpoint_is_found(saved):
    context, files, state = saved
    assert newest_checkpoint(files.folder) == files.resume
    state.epoch = 5
    save(context, state, files, also=[files.periodic(5)])
    files.resume.unlink()
    assert newest_checkpoint(files.folder) == files.periodic(5)
    files.periodic(5).write_bytes(b"PK no checkpoint")
    assert newest_checkpoint(files.folder) == files.best
    files.best.write_bytes(b"")
    assert newest_checkpoint(files.folder) is None


def test_a_training_of_another_version_is_not_begun_anew_over_its_files(saved):
    """Another version's file is no damaged one: a training that began anew would overwrite it."""
    _, files, _ = saved
    payload = torch.load(files.resume, weights_only=True) | {"format": 1}
    for path in files.folder.glob("*.pth"):
        torch.save(payload, path)
    with pytest.raises(UserError, match=r"resume\.pth is a checkpoint of format 1.*another folder"):
        newest_checkpoint(files.folder)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02."])
def test_what_is_no_checkpoint_is_a_message(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.pth cannot be read as a checkpoint"):
        load_payload(path)
    torch.save({"model": {}}, path)
    with pytest.raises(UserError, match="is not a checkpoint of this version"):
        load_payload(path)


def test_pitfall_23_a_checkpoint_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    torch.save({"format": FORMAT, "model": Evil()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="cannot be read"):
        load_payload(tmp_path / "x.pth")


def test_a_model_is_rebuilt_from_its_file_alone(tmp_path):
    context, files = tiny_parts(
        tmp_path, "model=lmv_net", "registration=mammoregnet", "registration.checkpoint=null",
        "registration.image_size=[32,32]", "registration.channels=[4,4,8,8,8]",
        "registration.decoder_channels=[8,8,8,8,4]", "registration.num_heads=[2,2,2,2]", "registration.depth=1",
    )  # fmt: skip
    context.config.registration.checkpoint = "/gone/mammoregnet.pth"
    context.config.model.encoder.pretrained = "/gone/encoder.pth"
    context.unwrapped_model.encoder.input_mean.fill_(9.0)  # as if that file's weights wanted another intensity scale
    save(context, TrainingState(), files)
    model, config = rebuild_model(files.resume)
    assert config.model.encoder.width == 4
    assert_equal(model.state_dict(), context.unwrapped_model.state_dict(), "model")
    batch = random_batch(model.inputs, size=(32, 26))
    with torch.no_grad():
        expected = context.unwrapped_model.eval()(batch).logits["multi"]
        assert torch.equal(model(batch).logits["multi"], expected)
    assert not model.training


def test_a_full_disk_is_a_message_and_the_files_before_stay(tmp_path):
    """A limit on the size of files stands for a full disk: the write fails half-way."""
    script = f"""
import resource, sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from helpers.tiny_training import tiny_parts
from mammorisk.training.checkpoint import TrainingState, load_payload, save
from mammorisk.errors import UserError
from mammorisk.runs.directory import RunFiles
parts, files = tiny_parts(Path({str(tmp_path)!r}), "model=mirai")
save(parts, TrainingState(epoch=1), files)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save(parts, TrainingState(epoch=2), files, also=[files.best])
except UserError as error:
    print(error)
    print(load_payload(files.resume)["epoch"], files.best.exists(), sorted(p.name for p in files.folder.glob(".*")))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment(), capture_output=True, text=True, timeout=120
    )
    assert "The checkpoint cannot be written" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "1 False []"


def test_another_cohort_is_refused(saved, tmp_path):
    context, files, _ = saved
    context.val.samples.event[0, -1] ^= True
    with pytest.raises(UserError, match="other samples in the split 'val': the cohort has changed"):
        resume(context, files)


def test_another_number_of_processes_is_refused(saved):
    context, files, _ = saved
    payload = load_payload(files.resume)
    each = {name: [payload[name][0], deepcopy(payload[name][0])] for name in ("random", "predictions")}
    torch.save(payload | each | {"world_size": 2}, files.resume)
    with pytest.raises(UserError, match="was written by 2 processes, and this run has 1"):
        resume(context, files)


def test_the_best_model_comes_along_only_if_it_is_that_epochs(saved, tmp_path):
    context, files, state = saved
    state.epoch, state.batch = 2, 0
    save(context, state, files, also=[files.best])
    state.epoch = 3
    save(context, state, files, also=[files.periodic(3)])
    context.config.trainer.resume_from = str(files.periodic(3))
    other = RunFiles(tmp_path / "other", 5)
    other.folder.mkdir()
    resume(context, other)
    assert load_payload(other.best)["epoch"] == 2
    other.best.unlink()
    files.best.unlink()
    save(context, TrainingState(epoch=9, best=0.9, best_epoch=9), files, also=[files.best])  # of a later epoch
    resume(context, other)
    assert not other.best.exists()


def test_a_requeued_job_that_was_started_from_a_path_starts_from_it_again(saved, tmp_path, monkeypatch):
    context, files, _ = saved
    context.config.trainer.resume_from = str(files.resume)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    empty = RunFiles(tmp_path / "empty")
    empty.folder.mkdir()
    assert resume(context, empty).epoch == 3
