from __future__ import annotations

from pathlib import Path

import torch
from helpers.model_cases import SMALL_NETWORK, small_registration
from helpers.training_runs import TINY, ended, run_directories, train


def fill(folder: Path, *words: str, status: int = 0) -> str:
    done = ended(folder, "register", "cache", *TINY, *words)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_filled_ahead_no_training_computes_a_field(tmp_path):
    weights = tmp_path / "registration.pth"
    torch.save(small_registration().state_dict(), weights)
    words = ["model=lmv_net", "registration=mammoregnet", f"registration.checkpoint={weights}", *SMALL_NETWORK]
    words.append(f"registration.cache={tmp_path / 'fields'}")
    said = fill(tmp_path, *words)
    count = len(list((tmp_path / "fields").rglob("*.field*")) or list((tmp_path / "fields").rglob("*.*")))
    assert count > 50
    assert "displacements computed" in said
    (run,) = run_directories(tmp_path)
    assert run.name.startswith("Displacements_mammoregnet_for_lmv_net_")
    assert "0 displacements computed" in fill(tmp_path, *words)
    said = train(tmp_path / "risk", *words, "trainer.num_epochs=1")
    assert "displacement fields of all" in said


def test_without_a_cache_or_an_alignment_there_is_nothing_to_fill(tmp_path):
    said = fill(tmp_path, "model=lmv_net", status=1)
    assert "registration.cache is not set" in said
    assert "Traceback" not in said
    weights = tmp_path / "registration.pth"
    torch.save(small_registration().state_dict(), weights)
    words = [
        "registration=mammoregnet",
        f"registration.checkpoint={weights}",
        *SMALL_NETWORK,
        "registration.cache=fields",
    ]
    said = fill(tmp_path, "model=mirai", *words, status=1)
    assert "aligns no exams" in said
    assert "Traceback" not in said
