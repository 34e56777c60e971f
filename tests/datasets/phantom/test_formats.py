import numpy as np
import pandas as pd
import pytest

from mammorisk.datasets.phantom.formats import csaw_format, embed_format, image_table, own_format
from mammorisk.datasets.phantom.phantom_settings import HazardSettings, ScreeningSettings, Splits
from mammorisk.datasets.phantom.population import draw_population
from mammorisk.datasets.phantom.woman import Settings

POPULATION = draw_population(Settings(), HazardSettings(event_rate=0.4), ScreeningSettings(), 1, 400)
IMAGES = image_table(POPULATION, Splits())
YEARS = range(1, 6)


def test_one_row_per_image_in_order():
    assert len(IMAGES) == 4 * len(POPULATION.exams.woman)
    assert IMAGES["laterality"][:4].tolist() == ["R", "R", "L", "L"]
    assert IMAGES["view"][:4].tolist() == ["CC", "MLO", "CC", "MLO"]
    assert not IMAGES.duplicated(["patient_id", "exam_id", "laterality", "view"]).any()
    assert IMAGES["exam_id"].str.fullmatch(r"\d{16}").all()


def test_only_the_affected_breast_has_cancer():
    for number, part in IMAGES.groupby("woman"):
        sides = part.loc[part["years_to_cancer"].notna(), "laterality"].unique().tolist()
        assert sides in ([], [POPULATION.women[number].precursor.laterality])
    cases = IMAGES[IMAGES["years_to_cancer"].notna()]
    assert cases["cancer_type"].isin([0, 1]).all()
    assert IMAGES.loc[IMAGES["years_to_cancer"].isna(), "cancer_type"].isna().all()
    exams = POPULATION.exams
    assert len(cases) == 2 * np.isfinite(exams.years_to_cancer).sum()  # CC and MLO


def test_every_subgroup_has_cases():
    cases = IMAGES[IMAGES["years_to_cancer"].notna()]
    for column, groups in (("density", 4), ("cancer_type", 2), ("type", 3), ("race", 5)):
        assert cases[column].nunique() == groups, column


def test_breasts_share_the_risk_of_the_exam():
    cc = IMAGES[IMAGES["view"] == "CC"]
    visible = 0
    for year in YEARS:
        sums = cc.groupby("exam_id")[f"true_risk_breast_{year}y"].sum()
        whole = cc.groupby("exam_id")[f"true_risk_{year}y"].first()
        np.testing.assert_allclose(sums, whole, atol=1e-8)
    for _, exam in cc[["woman", "exam_id", "laterality", "true_risk_5y", "true_risk_breast_5y"]].groupby("exam_id"):
        share = (exam["true_risk_breast_5y"] / exam["true_risk_5y"]).round(4)
        side = POPULATION.women[exam["woman"].iloc[0]].precursor.laterality
        assert set(share) in ({0.5}, {0.0, 1.0})
        if set(share) == {0.0, 1.0}:
            assert exam["laterality"][share == 1.0].tolist() == [side]
            visible += 1
    assert 20 < visible < len(cc) / 2


def test_dates_and_ages_follow_the_exams():
    first = IMAGES.drop_duplicates("exam_id")
    date = pd.to_datetime(first["exam_date"], format="%Y-%m-%d")
    days = (date - date.groupby(first["woman"]).transform("min")).dt.days
    np.testing.assert_array_equal(days, POPULATION.exams.day)
    assert date.dt.year.between(2008, 2025).all()
    assert first["age"].between(40, 85).all()


def test_exam_years_are_a_year_of_their_own():
    first = IMAGES.drop_duplicates("exam_id")
    assert not first.duplicated(["woman", "exam_year"]).any()
    year = pd.to_datetime(first["exam_date"]).dt.year
    assert (first["exam_year"] - year).abs().max() <= 1


@pytest.mark.parametrize("women", [40, 400])
def test_splits_hold_their_shares_and_women_whole(women):
    table = IMAGES[IMAGES["woman"] < women].drop_duplicates("woman")
    share = table["split"].value_counts(normalize=True)
    np.testing.assert_allclose(share[["train", "val", "test"]], [0.5, 0.2, 0.3], atol=0.06)
    assert not IMAGES[["woman", "split"]].drop_duplicates()["woman"].duplicated().any()
    everyone = image_table(POPULATION, Splits(1.0, 0.0, 0.0))["split"]
    assert set(everyone) == {"train"}


def test_own_format_columns_and_files():
    table, files = own_format(IMAGES)
    assert files == table["file_name"].tolist()
    assert len(set(files)) == len(files)
    assert table.columns[:6].tolist() == ["patient_id", "exam_id", "exam_date", "laterality", "view", "file_name"]
    assert [name for name in table if str(name).startswith("true_risk")] == [
        *(f"true_risk_{year}y" for year in YEARS),
        *(f"true_risk_breast_{year}y" for year in YEARS),
    ]
    assert {"woman", "exam", "type", "percent_density"}.isdisjoint(table)


def test_embed_format_names_and_folders():
    table, files = embed_format(IMAGES)
    name = pd.Series(files).str.extract(r"^images/(\w+)/(\d+)_([LR])_(CC|MLO)_(\d{4}-\d\d-\d\d)_1\.png$")
    expected = table[["split", "patient_id", "ImageLateralityFinal", "view", "study_date_anon"]]
    np.testing.assert_array_equal(name.to_numpy(), expected.to_numpy())
    assert len(set(files)) == len(files)


def test_csaw_format_names_and_codes():
    table, files = csaw_format(IMAGES)
    assert set(table["laterality"]) == {"Left", "Right"}
    assert set(table["x_type"].dropna()) == {1, 2, 3}
    assert table["libra_percentdensity"].between(0, 100).all()
    assert not any(name.startswith("true_risk") for name in table)
    assert ["images/" + split + "/" + name for split, name in zip(table["split"], table["file_name"])] == files  # noqa: B905
    assert len(set(files)) == len(files)
