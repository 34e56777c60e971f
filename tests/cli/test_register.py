"""mammorisk-register as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.forked_commands import Fork
from helpers.training_runs import (
    COHORTS,
    assert_as_undisturbed,
    disturbed,
    ended,
    environment,
    has_saved,
    only_run,
    train,
)
from PIL import Image

from mammorisk.registration.mammoregnet import MammoRegNet

SMALL = [
    "registration.channels=[4,8,8]",
    "registration.decoder_channels=[16,8,8]",
    "registration.num_heads=[2,2]",
    "registration.depth=1",
    "registration.image_size=null",
]
TINY = [
    *SMALL,
    "tracking=none",
    "phantom@dataset.generator=quickstart",
    f"dataset.generator.folder={COHORTS}",
    "dataset.generator.num_women=60",
    "dataset.generator.image_height=32",
    "dataset.image_size=[32,26]",
    "dataset.batch_size=20",
    "dataset.num_workers=0",
    "optim.learning_rate=3e-3",
    "trainer.num_epochs=2",
    "trainer.samples_per_epoch=100",
    "trainer.validation_samples=40",
]


def register(folder: Path, *words: str, status: int = 0) -> str:
    done = ended(folder, "register", *words, *TINY)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> tuple[Path, str]:
    """A tiny registration, and what it printed."""
    folder = tmp_path_factory.mktemp("registered")
    printed = register(folder, "train")
    return only_run(folder), printed


def test_it_trains_and_leaves_the_files_of_a_run(done):
    run, printed = done
    assert {path.name for path in run.iterdir()} >= {
        "train_registration_training_id_1.log",
        "best_model_registration_id-1.pth",
        "model_registration_training_id_1_last_epoch.pth",
        "resume.pth",
        "metrics.csv",
        "learning_curve.png",
        "config.yaml",
    }
    assert run.name.startswith("Register_mammoregnet_lr_0.003_wd_1e-06_epochs_2_bs_20_")
    metrics = pd.read_csv(run / "metrics.csv")
    assert list(metrics["epoch"]) == [1, 2]
    assert metrics["Validation NCC"].iloc[-1] > metrics["Validation NCC before"].iloc[-1]
    assert len(set(metrics["Validation NCC before"])) == 1  # always the same pairs
    assert len(set(metrics["Training NCC before"])) == 2
    assert "registration=mammoregnet registration.checkpoint=" in printed


def test_risk_training_takes_its_checkpoint(done, tmp_path):
    run, _ = done
    checkpoint = run / "best_model_registration_id-1.pth"
    small = [word for word in SMALL if "image_size" not in word]
    chosen = ["registration=mammoregnet", f"registration.checkpoint={checkpoint}", "registration.image_size=[16,13]"]
    train(tmp_path, "model=lmv_net", *chosen, *small, "trainer.num_epochs=1")
    saved = torch.load(next(only_run(tmp_path).glob("best_*.pth")), weights_only=True)["model"]
    trained = torch.load(checkpoint, weights_only=True)["model"]
    assert len(trained) == len(
        MammoRegNet(channels=(4, 8, 8), decoder_channels=(16, 8, 8), num_heads=(2, 2), depth=1).state_dict()
    )
    for name, tensor in trained.items():
        assert torch.equal(saved[name.replace("network.", "registration.", 1)], tensor), name


def test_it_scores_the_test_pairs_against_the_truth(done, tmp_path):
    run, _ = done
    checkpoint = run / "best_model_registration_id-1.pth"
    chosen = [
        f"registration.checkpoint={checkpoint}",
        "dataset.generator.displacements=true",
        "bootstrap_samples=50",
        "pictures=2",
    ]
    printed = register(tmp_path, "evaluate", *chosen)
    scored = only_run(tmp_path)
    pairs = pd.read_csv(scored / "pair_scores.csv")
    summary = json.loads((scored / "scores.json").read_text())
    assert summary["pairs"] == len(pairs) > 10
    assert summary["ncc_after"]["estimate"] == pytest.approx(pairs["ncc_after"].mean())
    assert summary["ncc_after"]["low"] < summary["ncc_after"]["estimate"] < summary["ncc_after"]["high"]
    assert (pairs["identity_error"] > 0).all()
    assert "end-point error, pixels" in printed
    for name in ("pairs.png", "pair_1.png", "pair_2.png"):
        assert Image.open(scored / name).size[0] > 500


def test_without_a_checkpoint_there_is_nothing_to_score(tmp_path):
    printed = register(tmp_path, "evaluate", status=1)
    assert "registration.checkpoint is not set" in printed
    assert "Traceback" not in printed


def test_killed_and_resumed_is_the_undisturbed_run(done, tmp_path):
    words = ["trainer.resume_from=auto", "trainer.save_every_minutes=0"]
    process = Fork("mammorisk.cli.register", [*words, *TINY], tmp_path, environment())
    disturbed(process, lambda: has_saved(tmp_path))
    assert "resumed from" in register(tmp_path, *words)
    assert_as_undisturbed(tmp_path, done[0])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("action=fly", "action=fly: expected train"),
        ("registration.depht=2", "registration.depht"),
        ("bootstrap_samples=0", "bootstrap_samples=0: expected a whole number from 1"),
    ],
)
def test_mistakes_are_told_without_a_stack_trace(tmp_path, word, said):
    printed = register(tmp_path, word, status=1)
    assert said in printed
    assert "Traceback" not in printed
