from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mammorisk.evaluation.registration import scores_table, summarise
from mammorisk.metrics.bootstrap import patient_bootstrap

PATIENT = np.repeat(np.array(["a", "b", "c", "d", "e"], dtype=object), 4)


def scores() -> pd.DataFrame:
    """Scores of 20 pairs of five women."""
    draw = np.random.default_rng(0)
    still = draw.uniform(2, 4, 20)
    return pd.DataFrame(
        {
            "ncc_before": draw.uniform(0.8, 0.9, 20),
            "ncc_affine": draw.uniform(0.85, 0.92, 20),
            "ncc_after": draw.uniform(0.93, 0.99, 20),
            "folded": draw.uniform(0, 0.2, 20),
            "error": 0.4 * still,
            "identity_error": still,
        }
    )


def printed(summary) -> str:
    console = Console(width=200)
    with console.capture() as text:
        console.print(scores_table(summary, "test: 20 pairs of 5 women"))
    return text.get()


def test_pitfall_18_means_have_intervals_over_women():
    table = scores()
    summary = summarise(table, PATIENT, bootstrap_samples=200, seed=3)
    assert summary["ncc_after"] == patient_bootstrap(table["ncc_after"].to_numpy(), PATIENT, 200, 3)
    assert summary["ncc_after"].estimate == pytest.approx(table["ncc_after"].mean())
    assert summary["error_percent_of_identity"].estimate == pytest.approx(40)
    assert set(summary) == {*table, "error_percent_of_identity"}


def test_pairs_without_a_score_are_left_out_of_its_mean():
    table = scores()
    table.loc[3, "folded"] = np.nan
    found = summarise(table, PATIENT, bootstrap_samples=50, seed=3)["folded"]
    assert found.estimate == pytest.approx(table["folded"].mean())


def test_the_table_says_what_is_known_and_no_more():
    table = scores()
    text = printed(summarise(table, PATIENT, bootstrap_samples=50, seed=3))
    for words in ("NCC", "folded pixels, %", "end-point error, pixels", "in % of before", "40.0 [40.0, 40.0]"):
        assert words in text
    assert "Dice" not in text
    before, affine, after = (f"{table[name].mean():.3f} [" for name in ("ncc_before", "ncc_affine", "ncc_after"))
    line = next(line for line in text.splitlines() if line.startswith("│ NCC "))
    assert line.index(before) < line.index(affine) < line.index(after)
    without = printed(summarise(table.drop(columns=["error", "identity_error"]), PATIENT, bootstrap_samples=50, seed=3))
    assert "end-point" not in without
