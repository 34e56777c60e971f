from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.cohorts import SIZE, cohort_rows, write_cohort
from torch import Tensor

from mammorisk.batch import InputSpec, collate
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.risk_factor_columns import one_hot
from mammorisk.datasets.samples import build_samples
from mammorisk.errors import UserError
from mammorisk.risk_factors import RISK_FACTORS, SIZES, TOTAL

ASKS = InputSpec("exam", 1, risk_factors=True)


def named(values: Tensor) -> dict[str, list[list[int]]]:
    """Values [B, R] by risk factor."""
    parts = values.split(SIZES, dim=1)
    return {name: part.int().tolist() for name, part in zip(RISK_FACTORS, parts, strict=True)}


def classes(folder: Path, name: str, words: list[str], **settings: object) -> list[int]:
    """The class of each of four women of 55 whose column ``X`` holds these words."""
    rows = cohort_rows(4, 1).assign(age="55")
    rows["X"] = [word for word in words for _ in range(4)]
    config = write_cohort(folder, rows, images=not folder.exists(), risk_factors={name: "X"}, **settings)
    return load_cohort(config).table[f"risk_factors.{name}"].tolist()[::4]


def message(folder: Path, name: str, words: list[str], **settings: object) -> str:
    with pytest.raises(UserError) as caught:
        classes(folder, name, words, **settings)
    return str(caught.value)


def test_from_the_csv_to_the_batch(tmp_path):
    rows = cohort_rows(4, 1)  # ages 50 to 53, density A to D; two women train
    rows["MENARCHE"] = ["13"] * 4 + [""] * 4 + ["9"] * 8
    rows["MOTHER"] = ["1"] * 4 + ["0"] * 4 + [""] * 8
    rows["GENES"] = ["3.0"] * 4 + [""] * 12
    columns = {"menarche_age": "MENARCHE", "mom_bc_cancer_history": "MOTHER", "brca": "GENES", "race": None}
    table = load_cohort(write_cohort(tmp_path / "data", rows, risk_factors=columns)).split("train")
    data = RiskDataset(build_samples(table, ASKS, Attrition()), table, SIZE)
    batch = collate([data[0], data[1]]).to("cpu")
    assert batch.risk_factors.shape == (2, TOTAL)
    assert batch.risk_factors.dtype == torch.float32
    values = named(batch.risk_factors)
    assert values.pop("age") == [[0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0]]  # 50 is in the class up to 50
    assert values.pop("density") == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert values.pop("menarche_age") == [[0, 0, 1, 0, 0], [-1] * 5]
    assert values.pop("mom_bc_cancer_history") == [[1], [0]]  # a no is not an unknown
    assert values.pop("brca") == [[0, 0, 1, 0], [-1] * 4]
    assert all(value == -1 for pair in values.values() for value in pair[0] + pair[1])


def test_who_does_not_ask_carries_nothing(tmp_path):
    table = load_cohort(write_cohort(tmp_path, cohort_rows(4, 1))).split("train")
    samples = build_samples(table, InputSpec("exam", 1), Attrition())
    assert samples.risk_factors is None
    assert samples.labels(np.array([0, 1])).risk_factors is None


@pytest.mark.parametrize(
    ("name", "words", "expected"),
    [
        ("menarche_age", ["10", "10.9", "11", "99"], [0, 0, 1, -1]),  # decimals are cut off; 99 lies ahead of 55
        ("menopause_age", ["44", "55", "55.5", ""], [0, 2, -1, -1]),
        ("weight", ["100", "101", "250", "251"], [0, 1, 5, 6]),
        ("height", ["0", "60", "75", "80"], [0, 2, 5, 6]),
        ("hrt_duration", ["1", "2", "7", "8"], [0, 1, 3, 4]),
        ("age", ["40", "41", "80", "81"], [0, 1, 4, 5]),
        ("race", ["1", "7", "13", "NaN"], [0, 6, 12, -1]),
        ("parous", ["0", "1", "1.0", ""], [0, 1, 1, -1]),
        ("density", ["1", "4", "", "2"], [0, 3, -1, 1]),
        ("menopausal_status", ["1", "2", "3", "4"], [0, 1, 2, 3]),
    ],
)
def test_values_fall_into_the_published_classes(tmp_path, name, words, expected):
    assert classes(tmp_path / "data", name, words) == expected


def test_words_are_translated_by_codes(tmp_path):
    codes = {"parous": {"yes": "1", "no": "0", "refused": None}}
    assert classes(tmp_path / "data", "parous", ["Yes", "no", "refused", "1"], codes=codes) == [1, 0, -1, 1]
    codes = {"race": {"W": "White", "1": "White", "2": "Black"}}  # makes words for the report; here stand codes
    assert classes(tmp_path / "data", "race", ["1", "2", "2", ""], codes=codes, columns=without_race()) == [0, 1, 1, -1]


def without_race() -> dict[str, str]:
    names = [name for name in cohort_rows(1, 1) if name != "race"]
    return dict(zip(names, names, strict=True))


@pytest.mark.parametrize(
    ("name", "word", "found"),
    [
        ("weight", "heavy", "1 values are no numbers|'heavy'|dataset.risk_factors.weight"),
        ("menarche_age", "-1", "negative|'-1'|empty cell"),
        ("race", "14", "'14'|Known: 1, 2, 3|dataset.risk_factors.race"),
        ("race", "0", "'0'"),
        ("parous", "2", "'2'|Known: 0, 1|dataset.codes.parous|leave them unknown"),
    ],
)
def test_values_that_mean_nothing_are_named_with_their_rows(tmp_path, name, word, found):
    words = [word if row == 5 else "" for row in range(16)]
    rows = cohort_rows(4, 1).assign(X=words)
    with pytest.raises(UserError) as caught:
        load_cohort(write_cohort(tmp_path, rows, images=False, risk_factors={name: "X"}))
    for text in [*found.split("|"), "column 'X'", "cohort.csv", "CSV row 7"]:
        assert text in str(caught.value)


def test_mistaken_settings_are_messages(tmp_path):
    assert "Did you mean 'menarche_age'?" in message(tmp_path, "menarch_age", [""] * 4)
    assert "dataset.codes.parous.no=2: expected one of 0, 1 or null" in message(
        tmp_path, "parous", [""] * 4, codes={"parous": {"no": "2"}}
    )
    rows = cohort_rows(4, 1).rename(columns={"race": "Menarche"})
    with pytest.raises(UserError, match=r"'MENARCHE' \(dataset.risk_factors.menarche_age\). Did you mean 'Menarche'"):
        load_cohort(write_cohort(tmp_path, rows, images=False, risk_factors={"menarche_age": "MENARCHE"}))


@pytest.mark.parametrize("column", ["years_to_cancer", "x_type", "Time_to_Cancer_Years", "cancer_type"])
def test_outcomes_are_refused_as_risk_factors(tmp_path, column):
    rows = cohort_rows(4, 1).assign(x_type="1", Time_to_Cancer_Years="1")
    with pytest.raises(UserError, match=f"dataset.risk_factors.weight={column}: .* contains the outcome"):
        load_cohort(write_cohort(tmp_path, rows, images=False, risk_factors={"weight": column}))


def test_what_any_image_of_the_exam_knows_counts():
    table = pd.DataFrame({"age": np.nan, "density": [-1, 3, 2, -1], "risk_factors.parous": [0, -1, 1, 1]})
    images = np.array([[0, 1, -1], [2, -1, -1], [3, -1, -1]])
    values = named(torch.from_numpy(one_hot(table, images)))
    assert values["density"] == [[0, 0, 1, 0], [0, 1, 0, 0], [-1] * 4]
    assert values["parous"] == [[0], [1], [1]]
    assert values["age"] == [[-1] * 6] * 3


def test_masked_images_lend_nothing():
    table = pd.DataFrame({"age": [50.0, 30.0], "density": [1, 4], "risk_factors.parous": [0, 1]})
    values = named(torch.from_numpy(one_hot(table, np.array([[0, -1]]))))  # -1 must not read the last row
    assert (values["density"], values["parous"]) == ([[1, 0, 0, 0]], [[0]])
    assert values["age"] == [[0, 1, 0, 0, 0, 0]]
