from __future__ import annotations

import hashlib
import shutil

import pytest
from helpers.evaluated_checkpoints import run_directory

from mammorisk.errors import UserError
from mammorisk.evaluation.trained_checkpoint import find_checkpoint, load_trained


def test_a_run_directory_means_its_best_model():
    run = run_directory("model=lmv_net")
    assert find_checkpoint(run).name == "best_model_risk_prediction_id-1.pth"
    assert find_checkpoint(run / "resume.pth").name == "resume.pth"  # a file is what it is


def test_what_is_not_there_is_said_with_what_is(tmp_path):
    with pytest.raises(UserError, match="found nothing there"):
        find_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no model_"):
        find_checkpoint(run_directory("model=lmv_net"), "last")
    with pytest.raises(UserError, match="best or last"):
        find_checkpoint(tmp_path, "newest")
    for number in (1, 2):
        shutil.copy(find_checkpoint(run_directory("model=lmv_net")), tmp_path / f"best_model_x_id-{number}.pth")
    with pytest.raises(UserError, match=r"2 files.*best_model_x_id-1.pth, best_model_x_id-2.pth"):
        find_checkpoint(tmp_path)


def test_a_model_is_described_from_its_checkpoint():
    path = find_checkpoint(run_directory("model=lmv_net"))
    trained = load_trained(path)
    told = trained.describe()
    assert (told["name"], told["class"], told["epoch"]) == ("lmv_net", "LMVNet", 1)
    assert told["parameters"] >= told["trainable"] > 0
    assert told["inputs"] == {"unit": "breast", "exams": 2, "views": 2}
    assert trained.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not trained.network.training


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.pth").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        load_trained(tmp_path / "x.pth")
