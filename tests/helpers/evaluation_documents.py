"""Documents like ``metrics.json`` and ``comparison.json`` with random numbers, for tests of the pages."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from mammorisk.report.examples import ExampleExam, Picture

YEARS = range(1, 6)
COUNTS = {"samples": 1234, "events": 56, "patients": 617, "patients_with_event": 42}
THRESHOLDS = [0.005, 0.01, 0.02, 0.05, 0.1]
REASON = "2 patients with an event and 9 without; at least 5 of each are needed"


def metrics_document(seed: int = 0) -> dict:
    """Metrics with an undefined measure, a group that is too small, and names with characters that are escaped."""
    rng = np.random.default_rng(seed)
    groups = {"all": _group(rng, COUNTS), "density: 1": _group(rng, {**COUNTS, "samples": 321, "events": 12})}
    groups["race: <b>A & B/C~D</b>"] = {
        **COUNTS,
        "samples": 11,
        "events": 2,
        "reason": REASON,
        "measures": {name: _nothing() for name in groups["all"]["measures"]},
    }
    groups["all"]["measures"]["Year 1 AUC"] = _nothing()
    return {
        "format": 1,
        "made": {**_made(), **_origin(), "config": {"model": {"name": "lmv_net", "note": "<script>alert(1)</script>"}}},
        "model": _model(),
        "cohort": _cohort(),
        "groups": groups,
        "curves": _curves(rng),
        "recalibrated": {"method": "platt", "file": "recalibration_platt.json", "groups": {"all": _group(rng, COUNTS)}},
        "true_risk": {"groups": {"all": _group(rng, COUNTS)}},
    }


def comparison_document(names: tuple[str, ...] = ("lmv_net", "mirai")) -> dict:
    """A comparison of models; the first is the reference."""
    rng = np.random.default_rng(1)
    runs = {name: metrics_document(number) for number, name in enumerate(names)}
    reference, *others = names
    tests = {f"Year {k} AUC": {"difference": 0.01, "error": 0.02, "p": float(rng.uniform())} for k in YEARS}
    tests["Year 2 AUC"]["p"] = None
    return {
        "format": 1,
        "made": _made(),
        "runs": [{"name": name, **_origin(), "model": _model()} for name in names],
        "reference": reference,
        "cohort": _cohort(),
        "groups": {name: run["groups"] for name, run in runs.items()},
        "differences": {name: metrics_document(9)["groups"] for name in others},
        "auc_tests": {name: {"all": tests} for name in others},
        "curves": {name: run["curves"] for name, run in runs.items()},
    }


def example_exams() -> list[ExampleExam]:
    """A case and a control, with a tiny picture."""
    file = BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(file, format="PNG")
    pictures = (Picture("R-CC <current>", file.getvalue()), Picture("difference", file.getvalue()))
    risk = [0.012, 0.0234, 0.031, 0.0456, 0.0512]
    return [
        ExampleExam("highest risk", "p1/e1", risk, "cancer in year 2", pictures),
        ExampleExam("control", "p2/e<2>", risk, "free of cancer for 5 years", pictures),
    ]


def measure_names() -> list[str]:
    yearly = ["AUC", "Brier score", "predicted risk", "observed risk", "expected/observed", "calibration slope"]
    yearly += ["PPV, top 10 %", "sensitivity, top 10 %", "net benefit at 1 %", "predicted risk, decile 1"]
    names = ["C-index", "C-index (literature)", "Integrated Brier score"]
    return names + [f"Year {k} {each}" for k in YEARS for each in yearly]


def _group(rng: np.random.Generator, counts: dict) -> dict:
    measures = {}
    for name in measure_names():
        low, estimate, high = (float(each) for each in np.sort(rng.normal(0.3, 0.3, 3)))
        measures[name] = {"estimate": estimate, "low": low, "high": high, "undefined_draws": 0}
    return {**counts, "reason": "", "measures": measures}


def _nothing() -> dict:
    return {"estimate": None, "low": None, "high": None, "undefined_draws": 200}


def _made() -> dict:
    made = {"version": "0.1.0", "date": "2026-01-02T03:04:05+00:00", "command": "mammorisk-evaluate run=<x>"}
    return {
        **made,
        "bootstrap_samples": 200,
        "seed": 0,
        "confidence": 0.95,
        "population_incidence": None,
        "recalibration": "platt",
    }


def _origin() -> dict:
    return {"checkpoint": "runs/a/best.pth", "checkpoint_sha256": "ab" * 32, "run": "runs/a", "split": "test"}


def _model() -> dict:
    inputs = {"unit": "breast", "exams": 2, "views": 2}
    return {"name": "lmv_net", "class": "LMVNet", "parameters": 213450, "trainable": 1000, "epoch": 7, "inputs": inputs}


def _cohort() -> dict:
    left = {"patients": 617, "exams": 900, "images": 3600}
    steps = [{"step": "read", "action": "read", "reason": "cohort.csv", **left, "left": left}]
    cohort = {"name": "embed", "csv_file": "a/<cohort>.csv", "csv_sha256": "cd" * 32, "split": "test", **COUNTS}
    return {**cohort, "unit": "breast", "is_phantom": False, "attrition": steps, "notes": ["one <note>"]}


def _curves(rng: np.random.Generator) -> dict:
    rate, tenths = np.linspace(0, 1, 21), np.linspace(0.01, 0.1, 10)
    roc = {"false_positive_rate": rate.tolist(), "true_positive_rate": np.sqrt(rate).tolist()}
    bounds = {"low": (0.5 * tenths).tolist(), "high": (1.5 * tenths).tolist()}
    calibration = {
        "predicted": tenths.tolist(),
        "observed": [None, *tenths[1:].tolist()],
        **bounds,
        "samples": [12] * 10,
    }
    decision = {"threshold": THRESHOLDS, "model": [0.02, 0.015, 0.01, 0.0, None], "all": [0.02, 0.01, 0.0, -0.1, -0.3]}
    lines = {key: [0.0, 0.01, 0.02, 0.03, 0.04, 0.05] for key in ("incidence", "low", "high")}
    incidence = [{"name": f"{name} risk", "samples": 400, "years": list(range(6)), **lines} for name in ("low", "high")]
    counts = {kind: rng.integers(0, 30, 10).tolist() for kind in ("cases", "controls")}
    return {
        "roc": {**{str(k): roc for k in YEARS}, "1": {"false_positive_rate": [], "true_positive_rate": []}},
        "calibration": {str(k): calibration for k in YEARS},
        "decision": {str(k): decision for k in YEARS},
        "incidence": {"groups": incidence},
        "risk_distribution": {"edges": np.linspace(0, 0.2, 11).tolist(), **counts, "year": 5},
    }
