from __future__ import annotations

import math

import numpy as np
import pytest

from mammorisk.metrics.bootstrap import tail
from mammorisk.metrics.concordance import c_index
from mammorisk.metrics.risk_measures import COHORT, Settings, evaluate_risk
from mammorisk.metrics.subgroups import by_cancer_type
from mammorisk.metrics.training_measures import risk_metrics

QUICK = Settings(bootstrap_samples=200)


def cohort(seed: int = 0, patients: int = 150, rows: int = 3):
    """Several exams a woman, all alike; risks that tell something."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rows)
    level = np.repeat(random.normal(-2.5, 1, patients), rows)
    hazard = 1 / (1 + np.exp(-level))
    cancer, leaves = random.geometric(hazard) - 1, random.integers(0, 5, len(patient))
    event = cancer <= leaves
    seen = np.exp(level + random.normal(0, 0.3, len(level)))[:, None]
    return 1 - np.exp(-seen * np.arange(1, 6)), event, np.where(event, cancer, leaves), patient


def test_the_estimate_is_the_plug_in_value_and_the_interval_lies_about_it():
    risk, event, year, patient = cohort()
    found = evaluate_risk(risk, event, year, patient, settings=QUICK)[COHORT]
    plain = risk_metrics(risk, event, year)
    for name, value in plain.items():
        interval = found.measures[name]
        assert interval.estimate == pytest.approx(value, abs=1e-12)
        assert interval.low < value < interval.high
        assert interval.left_out == 0
    assert (found.samples, found.events) == (450, event.sum())
    assert (found.patients, found.patients_with_event) == (150, len(set(patient[event])))
    assert found.reason == ""


def test_intervals_are_quantiles_of_the_drawn_rows():
    """Draw by draw, patient by patient, with the plain C-index."""
    risk, event, year, patient = cohort(patients=40)
    found = evaluate_risk(risk, event, year, patient, settings=Settings(bootstrap_samples=60, seed=5, confidence=0.9))
    case = np.isin(np.arange(40), patient[event])
    values = []
    for draw in range(1, 61):
        random = np.random.default_rng((5, draw))
        strata = [
            members[random.integers(0, len(members), len(members))] for members in map(np.flatnonzero, (case, ~case))
        ]
        rows = np.concatenate([np.flatnonzero(patient == each) for each in np.concatenate(strata)])
        values.append(c_index(risk[rows], event[rows], year[rows]))
    interval = found[COHORT].measures["C-index"]
    beyond = tail(0.9, min(case.sum(), (~case).sum()))
    assert 0 < beyond < 0.05
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [beyond, 1 - beyond])), abs=1e-12)


def test_pitfall_18_copies_of_a_womans_exams_say_nothing_new():
    once = cohort(rows=1)
    copies = tuple(np.repeat(values, 9, axis=0) for values in once)
    one, many = (evaluate_risk(*sample, settings=QUICK)[COHORT].measures for sample in (once, copies))
    for name, interval in one.items():
        if "top" not in name:  # which exam is the lowest of a top share may differ
            assert vars(many[name]) == pytest.approx(vars(interval), rel=1e-9, abs=1e-12, nan_ok=True), name
    images = evaluate_risk(*copies[:3], np.arange(len(copies[0])), settings=QUICK)[COHORT].measures["C-index"]
    width = one["C-index"].high - one["C-index"].low
    assert images.high - images.low < 0.5 * width


def test_a_group_is_measured_as_if_it_were_alone():
    risk, event, year, patient = cohort()
    young = patient % 2 == 0
    found = evaluate_risk(risk, event, year, patient, {"young": young, "old": ~young}, settings=QUICK)
    assert list(found) == [COHORT, "young", "old"]
    alone = risk_metrics(risk[young], event[young], year[young])
    for name, value in alone.items():
        assert found["young"].measures[name].estimate == pytest.approx(value, abs=1e-12)
    assert found["young"].samples + found["old"].samples == 450
    half, whole = found["young"].measures["C-index"], found[COHORT].measures["C-index"]
    assert half.high - half.low > whole.high - whole.low


def test_pitfall_26_a_cancer_type_ranked_perfectly_and_one_ranked_worst():
    _, event, year, patient = cohort()
    types = np.where(event, np.where(patient % 2 == 0, "seen", "missed"), "")
    risk = np.where(types == "seen", 0.9, np.where(types == "missed", 0.1, 0.5))[:, None].repeat(5, axis=1)
    found = evaluate_risk(risk, event, year, patient, by_cancer_type(types, event), settings=QUICK)
    assert found["seen"].measures["Year 5 AUC"].estimate == found["seen"].measures["Year 5 AUC"].low == 1
    assert found["seen"].measures["C-index"].low > 0.95  # cases of one risk are ties of each other
    assert found["missed"].measures["Year 5 AUC"].estimate == found["missed"].measures["Year 5 AUC"].high == 0
    assert found["seen"].samples == (~event).sum() + (types == "seen").sum()


def test_a_group_too_small_says_so():
    risk, event, year, patient = cohort()
    few = (patient < 3) | ~event
    nobody = np.zeros(len(event), bool)
    found = evaluate_risk(risk, event, year, patient, {"few": few, "nobody": nobody}, settings=QUICK)
    with_event = len(set(patient[event & few]))
    assert found["few"].reason.startswith(f"{with_event} patients with an event and ")
    assert found["nobody"].reason == "0 patients with an event and 0 without; at least 5 of each are needed"
    assert found["few"].samples == few.sum()
    assert set(found["few"].measures) == set(found[COHORT].measures)
    assert all(math.isnan(each.estimate) and math.isnan(each.low) for each in found["few"].measures.values())


def test_without_events_all_is_nan_and_no_exception():
    risk, event, year, patient = cohort()
    found = evaluate_risk(risk, event & False, year, patient, settings=Settings(bootstrap_samples=5))[COHORT]
    assert found.reason.startswith("0 patients with an event")
    assert math.isnan(found.measures["C-index"].estimate)
    assert found.measures["C-index"].left_out == 5
    assert found.measures["Year 5 predicted risk"].estimate == pytest.approx(risk[:, 4].mean())


def test_workers_and_memory_do_not_change_a_bit():
    sample = cohort()
    groups = {str(part): sample[3] % 3 == part for part in range(3)}
    one = evaluate_risk(*sample, groups, settings=Settings(bootstrap_samples=50))
    other = evaluate_risk(*sample, groups, settings=Settings(bootstrap_samples=50, workers=3, memory=1))
    assert str(one) == str(other)
    for name, group in one.items():
        for measure, interval in group.measures.items():
            assert str(other[name].measures[measure]) == str(interval)


def test_weights_of_controls_change_what_depends_on_prevalence_only():
    risk, event, year, patient = cohort()
    ill = np.isin(patient, patient[event])
    plain = evaluate_risk(risk, event, year, patient, settings=QUICK)[COHORT].measures
    rare = evaluate_risk(risk, event, year, patient, weight=np.where(ill, 1, 10), settings=QUICK)[COHORT].measures
    assert rare["Year 5 observed risk"].estimate < 0.3 * plain["Year 5 observed risk"].estimate
    assert rare["Year 5 net benefit at 5 %, all"].estimate < plain["Year 5 net benefit at 5 %, all"].estimate


def test_mistakes_are_messages():
    sample = cohort()
    with pytest.raises(ValueError, match="mask of 450 rows"):
        evaluate_risk(*sample, {"half": [True]}, settings=QUICK)
    with pytest.raises(ValueError, match="not called 'all'"):
        evaluate_risk(*sample, {"all": sample[1]}, settings=QUICK)
