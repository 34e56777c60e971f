from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.cohorts import cohort_rows, write_cohort, write_png
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig

from mammorisk.batch import VIEWS
from mammorisk.config import CONF_DIR, DatasetConfig, register_schemas
from mammorisk.datasets.cohort import load_cohort
from mammorisk.errors import UserError


def composed(*overrides: str) -> DatasetConfig:
    """The dataset node as the command line composes it."""
    register_schemas()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        node: DictConfig = compose(overrides=list(overrides)).dataset
    return node  # type: ignore[return-value]


def message(folder: Path, rows: pd.DataFrame, **changes: object) -> str:
    with pytest.raises(UserError) as caught:
        load_cohort(write_cohort(folder, rows, images=bool(changes.pop("images", False)), **changes))
    return str(caught.value)


def test_a_clean_cohort_loads_whole(tmp_path):
    rows = cohort_rows(4)
    cohort = load_cohort(write_cohort(tmp_path, rows))
    table = cohort.table
    assert len(table) == len(rows) == 32
    assert [step.action for step in cohort.attrition.steps] == ["read"]
    assert cohort.notes == ()
    assert table["patient_id"].unique().tolist() == [f"{p:06d}" for p in range(4)]
    assert Path(table["file"][5]).read_bytes() == (tmp_path / "images" / rows["file_name"][5]).read_bytes()
    assert table["csv_row"][0] == 2
    assert table["density"].unique().tolist() == [1, 2, 3, 4]
    assert table["cancer_type"].tolist()[8:12] == [0, 0, -1, -1]  # patient 1, right breast
    np.testing.assert_array_equal(table["years_to_cancer"][8:12], [3, 3, np.nan, np.nan])
    assert table["exam_years_to_cancer"].tolist()[8:12] == [3] * 4
    assert table["exam_time"][4] - table["exam_time"][0] == pytest.approx(2, abs=0.01)
    assert table["exam_year"].unique().tolist() == [2010, 2012]
    assert pickle.loads(pickle.dumps(cohort)).table.equals(table)


def test_splits_are_numbered_from_zero_and_must_exist(tmp_path):
    rows = cohort_rows(2)  # train and test... of patients 0 and 1 the second is in val
    rows["split"] = np.where(rows["patient_id"] == "000000", "train", "val")
    cohort = load_cohort(write_cohort(tmp_path, rows))
    assert cohort.split("val").index.tolist() == list(range(8))
    with pytest.raises(UserError, match=r"no usable image in the split 'test' \(images found: train 8, val 8\)"):
        cohort.split("test")


def test_a_generator_is_asked_to_write_first(tmp_path):
    config = write_cohort(tmp_path / "unused", cohort_rows(1), images=False, csv_file=None, data_root=None)
    config.generator = {"_target_": "helpers.cohorts.Written", "folder": str(tmp_path / "made"), "patients": 3}
    assert len(load_cohort(config).table) == 24


def test_unset_paths_and_unknown_choices_are_messages(tmp_path):
    assert "dataset.csv_file is not set" in message(tmp_path, cohort_rows(1), csv_file=None)
    assert "dataset.data_root is not set" in message(tmp_path, cohort_rows(1), data_root=None)
    assert "dataset.on_error=skipp: expected fail or skip; did you mean skip?" in message(
        tmp_path, cohort_rows(1), on_error="skipp"
    )
    for key in ("orientation", "missing_followup", "duplicate_view"):
        assert f"dataset.{key}=odd" in message(tmp_path, cohort_rows(1), **{key: "odd"})


def test_another_view_and_excluded_codes_are_dropped_and_counted(tmp_path):
    rows = cohort_rows(4)
    rows.loc[1, "view"] = "ML"
    rows.loc[rows["patient_id"] == "000002", "density"] = "5"
    codes = {"density": {**{str(n): str(n) for n in range(1, 5)}, "5": None}}
    cohort = load_cohort(write_cohort(tmp_path, rows, codes=codes))
    steps = {step.reason: step.counts.images for step in cohort.attrition.steps if step.action == "dropped"}
    assert steps == {"another view: 'ML'": 1, "density '5' is excluded": 8}
    assert len(cohort.table) == 23


def test_a_case_stays_a_case_when_the_affected_breast_loses_its_images(tmp_path):
    rows = cohort_rows(4)
    rows.loc[(rows["patient_id"] == "000001") & (rows["laterality"] == "R"), "view"] = "ML"
    table = load_cohort(write_cohort(tmp_path, rows)).table
    left = table[table["patient_id"] == "000001"]
    assert left["laterality"].unique().tolist() == ["L"]
    assert left["years_to_cancer"].isna().all()
    assert left["exam_years_to_cancer"].tolist() == [3, 3, 1, 1]


def test_value_that_means_no_cancer(tmp_path):
    rows = cohort_rows(2)
    rows["years_to_cancer"] = rows["years_to_cancer"].replace("", "100")
    table = load_cohort(write_cohort(tmp_path, rows, no_cancer_value=100)).table
    assert table["years_to_cancer"].notna().sum() == 4


def test_pitfall_29_images_without_followup(tmp_path):
    rows = cohort_rows(4)
    rows.loc[rows["patient_id"].isin(["000000", "000001"]), "years_to_last_followup"] = ""
    config = write_cohort(tmp_path, rows)
    dropped = load_cohort(config)
    # the case keeps her breast: she was seen until her cancer
    assert dropped.table.groupby("patient_id").size().to_dict() == {"000001": 4, "000002": 8, "000003": 8}
    config.missing_followup = "one_year"
    kept = load_cohort(config)
    assert len(kept.table) == 32
    assert kept.attrition.steps[-1].counts.images == 12


def test_nothing_left_says_why(tmp_path):
    text = message(tmp_path, cohort_rows(2).assign(years_to_last_followup="", years_to_cancer=""))
    assert "No usable image is left" in text
    assert "no years_to_last_followup" in text


def test_a_patient_in_two_splits_is_an_error(tmp_path):
    rows = cohort_rows(2)
    rows.loc[8:11, "split"] = "val"
    rows.loc[12:15, "split"] = "train"
    assert "000001 (val and train)" in message(tmp_path, rows)


def test_exchanged_dates_are_an_error(tmp_path):
    rows = cohort_rows(2)
    case = rows["patient_id"] == "000001"
    rows.loc[case, "exam_date"] = rows.loc[case, "exam_date"].map(
        {"2010-02-15": "2012-02-15", "2012-02-15": "2010-02-15"}
    )
    assert "patient 000001 R exam" in message(tmp_path, rows, images=True)


def test_newest_of_two_images_is_kept(tmp_path):
    rows = cohort_rows(1, 1)
    rows = pd.concat([rows, rows.iloc[:1].assign(file_name="again.png")])
    cohort = load_cohort(write_cohort(tmp_path, rows))
    assert [Path(file).name for file in cohort.table["file"] if "again" in file] == ["again.png"]
    assert "newest" in cohort.attrition.steps[-1].reason


def test_missing_and_unreadable_images_fail_or_are_skipped(tmp_path):
    config = write_cohort(tmp_path, cohort_rows(4))
    names = sorted((tmp_path / "images").iterdir())
    names[0].unlink()
    names[9].write_bytes(names[9].read_bytes()[:-1])
    with pytest.raises(UserError, match="1 of 32 images"):
        load_cohort(config)
    config.on_error = "skip"
    cohort = load_cohort(config)
    assert len(cohort.table) == 30
    assert [step.reason for step in cohort.attrition.steps[1:]] == [
        "the image file is missing",
        "the image cannot be read",
    ]


def test_pitfall_28_a_root_without_the_images_shows_what_is_there(tmp_path):
    write_png(tmp_path / "images" / "other.png")
    text = message(tmp_path, cohort_rows(1))
    assert "8 of 8 images" in text
    assert "other.png" in text
    assert "dataset.columns.file_name" in text


def test_mirai_csv_from_its_yaml(tmp_path):
    rows = cohort_rows(4).drop(columns=["exam_date", "density", "cancer_type", "race", "age"])
    rows = rows.rename(columns={"split": "split_group", "file_name": "file_path"})
    rows["split_group"] = rows["split_group"].replace("val", "dev")
    rows["years_to_cancer"] = rows["years_to_cancer"].replace("", "100")
    rows["file_path"] = [str(write_png(tmp_path / name)) for name in rows["file_path"]]
    rows.to_csv(tmp_path / "mirai.csv", index=False)
    paths = [f"dataset.csv_file={tmp_path}/mirai.csv", "dataset.data_root=null"]
    table = load_cohort(composed("+dataset=mirai_csv", *paths)).table
    assert set(table["split"]) == {"train", "val", "test"}
    assert table["years_to_cancer"].notna().sum() == 4
    assert table["exam_time"].isna().all()


@pytest.mark.parametrize("prefix", ["true_risk", "oracle"])
def test_a_phantoms_true_risks_are_read_by_their_name_now_and_before(tmp_path, prefix):
    """Without them a simulated cohort would pass for one of patients."""
    rows = cohort_rows(4)
    for year in range(1, 6):
        rows[f"{prefix}_{year}y"], rows[f"{prefix}_breast_{year}y"] = 0.1 * year, 0.05 * year
    written = write_cohort(tmp_path, rows)
    files = [f"dataset.csv_file={written.csv_file}", f"dataset.data_root={written.data_root}", "dataset.generator=null"]
    table = load_cohort(composed("+dataset=phantom", *files)).table
    assert table["true_risk_3y"].unique().tolist() == pytest.approx([0.3])
    assert table["true_risk_breast_5y"].unique().tolist() == pytest.approx([0.25])


@pytest.mark.parametrize("time", ["study_date_anon", "study_date_year"])
def test_embed_from_its_yaml(tmp_path, time):
    rows = cohort_rows(4).rename(
        columns={
            "laterality": "ImageLateralityFinal",
            "exam_date": "study_date_anon",
            "years_to_cancer": "Time_to_Cancer_Years",
            "years_to_last_followup": "years_last_followup",
            "cancer_type": "path_severity",
            "race": "RACE_DESC",
        }
    )
    names = ["patient_id", "ImageLateralityFinal", "view", "study_date_anon"]
    for parts, split in zip(rows[names].itertuples(index=False), rows["split"], strict=True):
        for number in (1, 2):
            write_png(tmp_path / "images" / split / f"{'_'.join(parts)}_{number}.png")
    rows["study_date_year"] = rows["study_date_anon"].str[:4]
    rows.drop(columns=({"study_date_anon", "study_date_year", "file_name"} - {time})).to_csv(tmp_path / "e.csv")
    cohort = load_cohort(
        composed("+dataset=embed", f"dataset.csv_file={tmp_path}/e.csv", f"dataset.data_root={tmp_path}/images")
    )
    assert len(cohort.table) == 32
    assert cohort.table["file"].str.endswith("_2.png").all()  # the newest
    assert cohort.table["exam_date"].nunique() == 8
    assert cohort.table["race"].unique().tolist() == ["Asian", "White"]
    assert cohort.table["cancer_type"].max() == 0


@pytest.mark.parametrize("density", ["density_group", "libra_percentdensity"])
def test_csaw_from_its_yaml(tmp_path, density):
    rows = cohort_rows(4)
    rows["exam_year"] = rows["exam_date"].str[:4]
    rows["laterality"] = rows["laterality"].map({"L": "Left", "R": "Right"})
    rows["cancer_type"] = rows["cancer_type"].replace("0", "3")
    rows = rows.rename(columns={"view": "viewposition", "cancer_type": "x_type", "density": density})
    for name in rows["file_name"]:
        write_png(tmp_path / "images" / name)
    rows.drop(columns=["exam_id", "exam_date", "race"]).to_csv(tmp_path / "c.csv")
    cohort = load_cohort(
        composed("+dataset=csaw", f"dataset.csv_file={tmp_path}/c.csv", f"dataset.data_root={tmp_path}/images")
    )
    assert cohort.table["exam_id"][0] == "000000_2010"
    assert cohort.table["exam_time"].unique().tolist() == [2010, 2012]
    assert cohort.table["exam_date"].isna().all()
    assert cohort.table.groupby("patient_id")["density"].first().tolist() == [1, 2, 3, 4]
    assert bool(cohort.notes) == (density == "libra_percentdensity")


WORDS = ["", "L", "R", "CC", "MLO", "ML", "train", "val", "1", "2", "-1", "1.5", "5", "100", "a", "b", "2013-01-02"]
WORDS += ["2014-01-02", "2013", "1e3", "nan", "x.png", "y.png", "../x.png", "/x", "inf", "é", '"', "\0", "a,b", "l\ne"]
LIKELY = {
    "patient_id": ["a", "b"],
    "exam_id": ["1", "2"],
    "exam_date": ["2013-01-02", "2014-01-02"],
    "exam_year": ["2013", "2014"],
    "laterality": ["L", "R"],
    "view": ["CC", "MLO", "ML"],
    "split": ["train"],
    "file_name": ["x.png", "y.png"],
    "years_to_cancer": ["", "1", "3"],
    "years_to_last_followup": ["", "1", "9"],
    "density": ["", "1", "4"],
    "age": ["50", ""],
}


@st.composite
def small_tables(draw: st.DrawFn) -> pd.DataFrame:
    columns = [name for name in LIKELY if draw(st.integers(0, 9))]  # a column in ten is missing
    odd = draw(st.integers(0, 2))  # how many cells are filled with any word
    count = draw(st.integers(0, 6))
    table = pd.DataFrame(
        {name: draw(st.lists(st.sampled_from(LIKELY[name]), min_size=count, max_size=count)) for name in columns}
    )
    for _ in range(odd if count and columns else 0):
        table.iloc[draw(st.integers(0, count - 1)), draw(st.integers(0, len(columns) - 1))] = draw(
            st.sampled_from(WORDS)
        )
    return table


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(table=small_tables(), rule=st.sampled_from(["fail", "skip"]), followup=st.sampled_from(["drop", "one_year"]))
def test_any_small_table_loads_or_is_a_message(tmp_path, table, rule, followup):
    for name in ("x.png", "y.png"):
        if not (tmp_path / "images" / name).exists():
            write_png(tmp_path / "images" / name)
    config = write_cohort(tmp_path, table, images=False, on_error=rule, missing_followup=followup)
    try:
        cohort = load_cohort(config)
    except UserError:
        event("a message")
        return
    event("loaded")
    found = cohort.table
    assert not found.duplicated(["patient_id", "exam_id", "laterality", "view"]).any()
    assert set(zip(found["laterality"], found["view"], strict=True)) <= set(VIEWS)
    assert found["years_to_last_followup"].notna().all()
    assert not (found["years_to_cancer"] < 0).any()
    assert cohort.attrition.steps[-1].left.images == len(found)
