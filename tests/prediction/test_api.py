from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from helpers.model_cases import CONF
from helpers.png_files import FAULTY
from helpers.untrained_checkpoints import as_trained, cohort_csv, exams, untrained, written

from mammorisk.errors import UserError
from mammorisk.evaluation.recalibration_fit import write_recalibration
from mammorisk.metrics.recalibration_scales import Platt
from mammorisk.prediction.api import predict
from mammorisk.prediction.loaded_model import load_model
from mammorisk.prediction.recalibration import apply
from mammorisk.prediction.splits import RISK_COLUMNS, split_risk

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
RISKS = list(RISK_COLUMNS)


SLOW = ("imgfeatalign", "oa_breacr")


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_without_outcomes_the_risks_are_those_of_the_evaluation(name):
    checkpoint = untrained(f"model={name}")
    expected = split_risk(checkpoint, "test", as_trained(checkpoint).dataset, cpu=True)
    found = predict(load_model(checkpoint, "cpu"), exams(None))
    scored = found[found["reason"].eq("") | found["risk_1y"].notna()].set_index("sample_id")
    assert sorted(scored.index) == sorted(expected.samples.sample_id)
    assert len(np.unique(expected.risk[:, 0])) > 1
    np.testing.assert_array_equal(scored.loc[expected.samples.sample_id, RISKS].to_numpy(np.float32), expected.risk)


def test_a_csv_a_frame_another_order_and_outcomes_beside_them_say_the_same(tmp_path):
    model, rows = load_model(untrained("model=lmv_net"), "cpu"), exams()
    expected = predict(model, rows)
    assert expected["risk_1y"].notna().any()
    whole = pd.read_csv(cohort_csv(), dtype=str, na_filter=False)
    whole = whole[whole["patient_id"].isin(rows["patient_id"])].assign(split="?", years_to_cancer="soon", race="")
    others = {
        "csv": predict(model, written(tmp_path, rows)),
        "shuffled": predict(model, rows.sample(frac=1, random_state=1)),
        "with outcomes": predict(model, written(tmp_path, whole), data_root=cohort_csv().parent),
        "batches": predict(model, rows, dataset={"batch_size": 1, "num_workers": 1}),
    }
    for what, found in others.items():
        pd.testing.assert_frame_equal(
            found.set_index("sample_id").loc[expected["sample_id"]].reset_index(), expected, obj=what
        )


def test_images_are_looked_for_beside_the_csv(tmp_path):
    rows = exams(1)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, file in enumerate(rows["file_name"]):
        (folder / f"{number}.png").symlink_to(file)
    named = rows.assign(file_name=[f"pictures/{number}.png" for number in range(len(rows))])
    model = load_model(untrained("model=mirai"), "cpu")
    pd.testing.assert_frame_equal(predict(model, written(tmp_path, named)), predict(model, rows))


def test_broken_rows_say_why_and_the_good_ones_are_kept(tmp_path):
    model, rows = load_model(untrained("model=lmv_net"), "cpu"), exams(3)
    good = predict(model, rows).set_index("sample_id")
    scored = list(good.index[good["risk_1y"].notna()])
    assert len(scored) >= 4
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(FAULTY["short rows"][0]())
    breaks = {"file_name": str(damaged), "view": "XYZ", "exam_date": "last week"}
    words = {
        "file_name": "damaged.png is incomplete: its pixel data end after 7 of 12 rows",
        "view": "unknown view 'XYZ'",
        "exam_date": "is no date",
    }
    last = good[good["risk_1y"].notna()].groupby(["patient_id", "laterality"]).tail(1).index  # nobody's prior
    victims = dict(zip(breaks, last, strict=False))
    for key, sample in victims.items():
        _, exam, side = sample.split("/")
        one = rows.index[(rows["exam_id"] == exam) & (rows["laterality"] == side) & (rows["view"] == "CC")]
        rows.loc[one, key] = breaks[key]
    found = predict(model, rows).set_index("sample_id")
    for key, sample in victims.items():
        assert np.isnan(found.loc[sample, "risk_1y"])
        assert words[key] in found.loc[sample, "reason"]
        assert "missing view" in found.loc[sample, "reason"]
    kept = [sample for sample in scored if sample not in victims.values()]
    assert kept
    pd.testing.assert_frame_equal(found.loc[kept], good.loc[kept])
    first = [sample for sample in good.index if sample not in scored]
    assert first
    assert found.loc[first, "reason"].str.startswith("no prior").all()


def test_where_nothing_can_be_scored_every_row_says_why():
    rows = exams(2).assign(view="XYZ")
    found = predict(load_model(untrained("model=mirai"), "cpu"), rows)
    assert len(found) == rows["exam_id"].nunique()
    assert found[RISKS].isna().all(axis=None)
    assert (found["reason"] == "unknown view 'XYZ'").all()


def test_what_a_scored_sample_had_to_do_without_is_told():
    rows = exams(1)
    lacking = rows[~((rows["laterality"] == "L") & (rows["view"] == "MLO"))]
    found = predict(load_model(untrained("model=mirai"), "cpu"), lacking)
    assert found["risk_1y"].notna().all()
    assert (found["reason"] == "missing view: L MLO").all()


@pytest.mark.parametrize(("priors", "unscored"), [("mask", 0), ("zero_gap", 0), ("drop", 1)])
def test_a_missing_prior_is_dealt_with_as_the_model_was_trained(priors, unscored):
    checkpoint = untrained("model=vmra_mar", f"model.missing_priors={priors}")
    found = predict(load_model(checkpoint, "cpu"), exams(1))
    assert found["risk_1y"].isna().sum() == unscored
    assert found["reason"].iloc[0].startswith("no prior" if unscored else "1 of 1 priors missing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="view"), "'view' (dataset.columns.view)"),
        (lambda rows: rows.iloc[:0], "holds no rows"),
        (lambda rows: rows.drop(columns="exam_date"), "has no times of exams"),
    ],
)
def test_a_table_that_cannot_be_used_at_all_is_an_error(change, message):
    with pytest.raises(UserError) as raised:
        predict(load_model(untrained("model=lmv_net"), "cpu"), change(exams(1)))
    assert message in str(raised.value)


def test_recalibrated_risks_are_those_of_the_scales(tmp_path):
    model, rows = load_model(untrained("model=mirai"), "cpu"), exams(3)
    plain = predict(model, rows)
    scales = [Platt(0.5, -1.0), None, Platt(1.0, 0.0), Platt(0.5, 0.2), Platt(0.7, 1.0)]
    file = tmp_path / "recalibration_platt.json"
    write_recalibration(file, "platt", scales, {})
    found = predict(model, rows, recalibration=file)
    np.testing.assert_allclose(found[RISKS], apply(scales, plain[RISKS]), rtol=1e-12)
    assert (found["risk_1y"] != plain["risk_1y"]).all()
    with pytest.raises(UserError, match="cannot be read as a recalibration"):
        predict(model, rows, recalibration=tmp_path / "none.json")
