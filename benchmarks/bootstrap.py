#!/usr/bin/env python3
"""Cost of intervals: every measure and subgroup in one pass, and the ratio to a plain loop over replicates, as JSON.

A simulated cohort (three exams of a woman, 4 % of them with cancer within five years) is measured by ``evaluate_risk``
in a process of its own. Then the C-indices and yearly AUCs alone are computed for some replicates in three ways: rows
drawn for lifelines and scikit-learn, one replicate after the other, as is common (the plain way); the same with our
``risk_metrics``; and all replicates at once by weights. The last two must agree.

usage: python benchmarks/bootstrap.py [--samples 50000] [--bootstrap_samples 2000] [--groups 15] [--plain 20]
           [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
from lifelines.utils import concordance_index
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from mammorisk.metrics.bootstrap import drawn_patients
from mammorisk.metrics.measures import RankingMeasures, measured
from mammorisk.metrics.risk_measures import Settings, evaluate_risk
from mammorisk.metrics.rows import read_rows
from mammorisk.metrics.training_measures import risk_metrics

MEMORY = Settings().memory
Cohort = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]


def cohort(samples: int) -> Cohort:
    """Risk [N, 5], event, year and patient [N]."""
    random = np.random.default_rng(0)
    patient = np.sort(random.integers(0, -(-samples // 3), samples))
    frailty = random.normal(size=patient.max() + 1)[patient]
    yearly = 0.006 * np.exp(frailty + 0.3 * random.normal(size=samples))
    risk = 1 - np.exp(-yearly[:, None] * np.arange(1, 6))
    event = random.random(samples) < risk[:, 4]
    return risk, event, random.integers(0, 5, samples), patient


def everything(samples: int, bootstrap_samples: int, groups: int) -> dict[str, float]:
    """Seconds and peak memory of one evaluation; runs in a process of its own."""
    risk, event, year, patient = cohort(samples)
    kinds = np.random.default_rng(1).integers(0, 4, (groups, samples))
    masks = {f"group {number}": kind == 0 for number, kind in enumerate(kinds)}
    before, processor = time.perf_counter(), time.process_time()
    found = evaluate_risk(
        risk, event, year, patient, masks, settings=Settings(bootstrap_samples, workers=os.cpu_count() or 1)
    )
    return {
        "seconds": time.perf_counter() - before,
        "cpu_seconds": time.process_time() - processor,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "measures": len(found["all"].measures),
        "events": int(event.sum()),
    }


def ranking(samples: int, bootstrap_samples: int, plain: int) -> dict[str, float]:
    """Seconds a replicate, by weights and by drawn rows."""
    risk, event, year, patient = cohort(samples)
    rows = read_rows(risk, event, year, patient)
    counts = drawn_patients(rows.case, bootstrap_samples, 0)
    before = time.perf_counter()
    values = measured(RankingMeasures(rows), counts, MEMORY)
    at_once = (time.perf_counter() - before) / bootstrap_samples
    before = time.perf_counter()
    for draw in range(1, plain + 1):
        each = np.repeat(np.arange(len(patient)), counts[rows.patient, draw])
        for name, value in risk_metrics(risk[each], event[each], year[each]).items():
            np.testing.assert_allclose(values[name][draw], value, rtol=1e-9)
    one_by_one = (time.perf_counter() - before) / plain
    before = time.perf_counter()
    for draw in range(1, plain + 1):
        each = np.repeat(np.arange(len(patient)), counts[rows.patient, draw])
        common(risk[each], event[each], year[each])
    by_libraries = (time.perf_counter() - before) / plain
    return {
        "seconds_a_replicate": at_once,
        "risk_metrics_seconds_a_replicate": one_by_one,
        "risk_metrics_ratio": one_by_one / at_once,
        "plain_seconds_a_replicate": by_libraries,
        "ratio": by_libraries / at_once,
    }


def common(risk: NDArray[Any], event: NDArray[Any], year: NDArray[Any]) -> None:
    """Compute the C-index and yearly AUCs in the common way: lifelines, and scikit-learn for each year."""
    concordance_index(year + 1, -risk[:, -1], event)
    for k in range(risk.shape[1]):
        case = event & (year <= k)
        known = case | (year >= k + event)
        roc_auc_score(case[known], risk[known, k])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("samples", 50_000), ("bootstrap_samples", 2_000), ("groups", 15), ("plain", 20)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    words = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        whole = pool.apply(everything, (words.samples, words.bootstrap_samples, words.groups))
    result: dict[str, Any] = {
        "samples": words.samples,
        "bootstrap_samples": words.bootstrap_samples,
        "groups": words.groups,
        "cores": os.cpu_count(),
        "everything": whole,
        "c_index_and_aucs": ranking(words.samples, words.bootstrap_samples, words.plain),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if words.out is not None:
        words.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
