from __future__ import annotations

import pytest
from helpers.tiny_training import tiny_config

from mammorisk.errors import UserError
from mammorisk.evaluation.settings import EvaluationSettings, check_split, evaluation_config


def test_all_wrong_values_are_told_at_once():
    with pytest.raises(UserError) as told:
        EvaluationSettings(bootstrap_samples=0, confidence=1.0, population_incidence=2.0, recalibrate="magic")
    text = str(told.value)
    assert all(
        word in text
        for word in ("bootstrap_samples=0", "confidence=1.0", "population_incidence=2.0", "platt or isotonic")
    )


def test_a_misspelt_setting_is_told():
    with pytest.raises(UserError, match=r"bootstrap_sample: there is no such setting.*bootstrap_samples"):
        EvaluationSettings.of({"bootstrap_sample": 10})
    with pytest.raises(UserError, match="expected train, val or test"):
        check_split("tset")


def test_settings_reach_the_statistics():
    chosen = EvaluationSettings(bootstrap_samples=7, seed=2, confidence=0.9, min_group_size=3).statistics
    assert (chosen.bootstrap_samples, chosen.seed, chosen.confidence, chosen.min_group_size) == (7, 2, 0.9, 3)


def test_a_csv_takes_the_place_of_a_generated_cohort():
    trained = tiny_config("model=mirai")
    config = evaluation_config(trained, EvaluationSettings(dataset={"csv_file": "a.csv", "data_root": "png"}))
    assert (config.dataset.csv_file, config.dataset.data_root, config.dataset.generator) == ("a.csv", "png", None)
    assert trained.dataset.generator is not None  # the training's own is left as it is
    assert evaluation_config(trained, EvaluationSettings()).dataset.generator is not None


def test_another_cohort_keeps_the_image_size_of_the_training():
    given = {"csv_file": "a.csv", "data_root": "png", "batch_size": 3}
    config = evaluation_config(tiny_config("model=mirai"), EvaluationSettings(cohort="csaw", dataset=given))
    assert config.dataset.name == "csaw"
    assert config.dataset.columns.view == "viewposition"
    assert list(config.dataset.image_size) == [32, 26]
    assert config.dataset.batch_size == 3


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (EvaluationSettings(cohort="csaw"), "csv_file is not set: give dataset.csv_file=.* for the cohort csaw"),
        (EvaluationSettings(cohort="csw"), "dataset=csw: expected .*csaw"),
        (EvaluationSettings(dataset={"csv_fil": "a"}), "csv_fil: there is no such key.*csv_file"),
        (EvaluationSettings(dataset={"batch_size": "many"}), "dataset.batch_size: "),
    ],
)
def test_mistakes_in_the_cohort_are_told(chosen, told):
    with pytest.raises(UserError, match=told):
        evaluation_config(tiny_config("model=mirai"), chosen)


def test_a_large_generated_cohort_is_asked_for():
    config = tiny_config("model=mirai")
    config.dataset.generator.num_women = 1_000_000
    with pytest.raises(UserError, match=r"1000000 generated women.*cohort=as_trained"):
        evaluation_config(config, EvaluationSettings())
    assert evaluation_config(config, EvaluationSettings(cohort="as_trained")).dataset.generator.num_women == 1_000_000
