from __future__ import annotations

import json

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.cohort_checks import prepare
from helpers.dicom_files import breast, write
from helpers.untrained_checkpoints import dicom_exam, untrained, written

from mammorisk.batch import VIEWS
from mammorisk.errors import UserError
from mammorisk.prediction.api import predict
from mammorisk.prediction.dicom_exam import predict_dicom
from mammorisk.prediction.loaded_model import load_model
from mammorisk.prediction.splits import RISK_COLUMNS

DAYS = {"exam": "2020-04-15", "prior": "2019-03-10"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """DICOM files of an exam and its prior, and their images as mammorisk-prepare makes them, with a table."""
    root = tmp_path_factory.mktemp("dicom")
    for name, day in DAYS.items():
        dicom_exam(root / name, day.replace("-", ""))
    out = tmp_path_factory.mktemp("png")
    made = prepare("images", f"dicom_root={root}", f"out={out}", "num_workers=1")
    assert made.returncode == 0, made.stderr
    rows = [("w", name, day, *view, f"{name}/{'_'.join(view)}.png") for name, day in DAYS.items() for view in VIEWS]
    names = ["patient_id", "exam_id", "exam_date", "laterality", "view", "file_name"]
    return root, written(out, pd.DataFrame(rows, columns=names))


@pytest.mark.parametrize("name", ["mirai", "lmv_net", "oa_breacr"])
def test_risks_are_those_of_the_same_images_made_and_scored_by_hand(folders, name):
    root, table = folders
    model = load_model(untrained(f"model={name}"), "cpu")
    expected = predict(model, table)
    expected = expected[expected["exam_id"] == "exam"]
    threads = cv2.getNumThreads()
    answer = predict_dicom(model, [root / "exam"], [root / "prior"])
    assert cv2.getNumThreads() == threads
    keys = [key for key in ("laterality", "view") if key in expected]
    found = {tuple(each[key] for key in keys): list(each["risk"].values()) for each in answer["risks"]}
    assert len(found) == len(expected)
    for row in expected.to_dict("records"):
        assert np.float32(found[tuple(row[key] for key in keys)]).tolist() == [row[risk] for risk in RISK_COLUMNS]


def test_the_answer_is_json_and_names_nobody(folders):
    root, _ = folders
    model = load_model(untrained("model=lmv_net"), "cpu")
    answer = predict_dicom(model, [root / "exam"], [root / "prior"])
    text = json.dumps(answer)
    assert "secret" not in text
    assert answer["made"]["checkpoint_sha256"] == model.sha256
    assert answer["exams"]["prior_1"]["years_before"] == pytest.approx(1.1, abs=0.01)
    assert len(answer["exams"]["current"]["files"]) == 4


def test_priors_are_left_aside_by_a_model_of_single_exams(folders):
    root, _ = folders
    model = load_model(untrained("model=mirai"), "cpu")
    with_prior = predict_dicom(model, [root / "exam"], [root / "prior"])
    assert with_prior["risks"] == predict_dicom(model, [root / "exam"])["risks"]
    assert list(with_prior["exams"]) == ["current"]


def test_what_is_missing_is_said(folders):
    root, _ = folders
    model = load_model(untrained("model=lmv_net"), "cpu")
    with pytest.raises(UserError, match="no prior: the model needs an earlier exam"):
        predict_dicom(model, [root / "exam"])
    with pytest.raises(UserError, match=r"missing view: L MLO\nGiven: L_CC.dcm \(L CC\)"):
        predict_dicom(model, [root / "exam/L_CC.dcm"], [root / "prior"])
    half = predict_dicom(model, [root / "exam/L_CC.dcm", root / "exam/L_MLO.dcm"], [root / "prior"])
    assert [each["laterality"] for each in half["risks"]] == ["L"]


def test_other_views_are_left_aside_and_files_without_a_breast_are_named(folders, tmp_path):
    root, _ = folders
    model = load_model(untrained("model=mirai"), "cpu")
    same = {"StudyInstanceUID": "1.2.20200415", "StudyDate": "20200415"}
    extra = write(tmp_path / "extra.dcm", breast(), ViewPosition="ML", **same)
    answer = predict_dicom(model, [root / "exam", extra])
    assert [file["used"] for file in answer["exams"]["current"]["files"]] == [True] * 4 + [False]
    assert answer["risks"] == predict_dicom(model, [root / "exam"])["risks"]
    with pytest.raises(UserError, match="none of the 1 files is a CC or MLO view"):
        predict_dicom(model, [extra])
    black = write(tmp_path / "black.dcm", np.zeros((160, 120), np.uint16), **same)
    with pytest.raises(UserError, match=r"black\.dcm: no breast found"):
        predict_dicom(model, [black])
