"""mammorisk-predict as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers.composed_configs import composed
from helpers.places import ROOT
from helpers.training_runs import SECONDS, TORCHRUN, ended, environment
from helpers.untrained_checkpoints import dicom_exam, exams, untrained, written

from mammorisk.cli.predict import predict_risks
from mammorisk.errors import UserError
from mammorisk.prediction.api import predict
from mammorisk.prediction.loaded_model import load_model

GUIDE = ROOT / "docs/prediction.md"


def command(folder: Path, *words: str, processes: int = 1, status: int = 0) -> subprocess.CompletedProcess[str]:
    if processes == 1:
        done = ended(folder, "predict", *words)
    else:
        line = [*TORCHRUN, "-m", "mammorisk.cli.predict", *words]
        done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_a_checkpoint_and_a_csv_are_enough(tmp_path):
    checkpoint, rows = untrained("model=lmv_net"), exams(2)
    written(tmp_path, rows)
    done = command(tmp_path, f"checkpoint={checkpoint}", "csv_file=exams.csv", "out=risks.csv", "cpu=true")
    found = pd.read_csv(tmp_path / "risks.csv", dtype={"patient_id": str, "exam_id": str}, keep_default_na=False)
    expected = predict(load_model(checkpoint, "cpu"), rows)
    assert list(found) == list(expected)
    assert list(found["sample_id"]) == list(expected["sample_id"])
    risk = pd.to_numeric(found["risk_5y"], errors="coerce").astype("float32")
    assert risk.equals(expected["risk_5y"])
    assert f"risks.csv: {risk.notna().sum()} samples scored, {risk.isna().sum()} left out." in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"exams.csv", "risks.csv"}


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path):
    words = [f"checkpoint={untrained('model=lmv_net')}", "csv_file=exams.csv", "cpu=true"]
    written(tmp_path, exams(4))
    command(tmp_path, *words, "out=one.csv", "dataset.batch_size=3")
    command(tmp_path, *words, "out=two.csv", "dataset.num_workers=2", processes=2)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_nothing_scored_ends_with_1_and_says_why_of_each(tmp_path):
    words = [f"checkpoint={untrained('model=mirai')}", "csv_file=exams.csv", "out=risks.csv", "cpu=true"]
    written(tmp_path, exams(1).assign(view="XYZ"))
    done = command(tmp_path, *words, status=1)
    assert "No sample could be scored; risks.csv has the reason for each." in done.stderr
    assert "Traceback" not in done.stderr
    assert set(pd.read_csv(tmp_path / "risks.csv")["reason"]) == {"unknown view 'XYZ'"}


def test_dicom_files_give_json(tmp_path):
    dicom_exam(tmp_path / "exam", "20200415")
    done = command(tmp_path, f"checkpoint={untrained('model=mirai')}", "dicom=[exam]", "cpu=true")
    answer = json.loads(done.stdout)
    assert list(answer["risks"][0]["risk"]) == ["1", "2", "3", "4", "5"]
    config = composed(f"checkpoint={untrained('model=mirai')}", f"dicom=[{tmp_path}/exam]", root="predict")
    config.out = str(tmp_path / "risk.json")
    predict_risks(config)
    assert json.loads((tmp_path / "risk.json").read_text())["risks"] == answer["risks"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "checkpoint is not set"),
        (["checkpoint=a.pth"], "found neither"),
        (["checkpoint=a.pth", "csv_file=a.csv", "dicom=[a.dcm]"], "found both"),
        (["checkpoint=a.pth", "csv_file=a.csv"], "out is not set"),
        (["checkpoint=a.pth", "csv_file=a.csv", "prior_dicom=[a.dcm]", "out=b.csv"], "prior_dicom goes with dicom"),
        (["checkpoint=a.pth", "csv_file=a.csv", "out=/no/such/folder/b.csv"], "a folder that exists"),
        (["checkpoint=a.pth", "csv_file=a.csv", f"out={__file__}"], "is there already"),
        (["checkpoint=a.pth", "csv_file=a.csv", "out=b.csv"], "there is no file a.pth"),
        (
            ["checkpoint=a.pth", "csv_file=a.csv", "out=b.csv", "+dataset.num_workers=-1"],
            "dataset.num_workers=-1: expected",
        ),
        (["checkpoint=a.pth", "dicom=[a.dcm]", "conversion.voi_index=-1"], "conversion.voi_index=-1: expected"),
        (["checkpoint=a.pth", "dicom=[a.dcm]", "+conversion.colour=red"], "has no such parameter"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(words, message):
    with pytest.raises(UserError) as raised:
        predict_risks(composed(*words, root="predict"))
    assert message in str(raised.value)


def test_what_is_there_is_replaced_only_on_request(tmp_path):
    words = [f"checkpoint={untrained('model=mirai')}", f"csv_file={written(tmp_path, exams(1))}", "cpu=true"]
    out = tmp_path / "risks.csv"
    out.write_text("precious")
    with pytest.raises(UserError, match="overwrite=true"):
        predict_risks(composed(*words, f"out={out}", root="predict"))
    assert out.read_text() == "precious"
    predict_risks(composed(*words, f"out={out}", "overwrite=true", root="predict"))
    assert out.read_text().startswith("sample_id,patient_id,exam_id,risk_1y")


def test_the_guides_example_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "best_model.pth").symlink_to(untrained("model=lmv_net"))
    written(tmp_path, exams(2))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr
    assert "LMVNet" in done.stdout
    assert "risk_5y" in done.stdout
    assert (tmp_path / "women.csv").is_file()
