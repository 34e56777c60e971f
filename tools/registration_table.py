#!/usr/bin/env python3
"""Effect of the registration on a risk model: test C-index of runs that differ in it, and paired differences.

Each run's best model predicts the test split of its cohort (``test_predictions.csv`` in its directory). The C-index of
runs with one registration and several seeds is the mean over the seeds. Intervals: 95 %, bootstrap over women, the same
bootstrap samples for all; they do not include the spread between seeds.
usage: python tools/registration_table.py RUN_DIRECTORY … [--out FILE.md]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from omegaconf import OmegaConf

from mammorisk.errors import UserError
from mammorisk.evaluation.settings import EvaluationSettings, cohort_note, evaluation_config
from mammorisk.evaluation.trained_checkpoint import load_trained
from mammorisk.metrics.bootstrap import Interval, paired_bootstrap, patient_bootstrap
from mammorisk.metrics.concordance import c_index
from mammorisk.prediction.splits import SplitRisk, split_risk
from mammorisk.runs.directory import RunFiles
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.printing import print_error

ORDER = ("ground_truth", "mammoregnet", "affine", "identity")  # best informed first
Statistic = Callable[[npt.NDArray[np.int64]], float]


@dataclass(frozen=True)
class Run:
    """A finished training and the predictions of its best model for the test split."""

    registration: str
    seed: int
    found: SplitRisk


def main() -> int:
    """Read the runs, write the table; 1 when a run cannot be used."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--out", type=Path, help="Markdown file; the table also goes to the terminal")
    parser.add_argument("--bootstrap-samples", type=int, default=1000, help="of the bootstrap")
    arguments = parser.parse_args()
    try:
        text = table([read_run(folder) for folder in arguments.runs], arguments.bootstrap_samples)
    except UserError as error:
        print_error(str(error))
        return 1
    print(text, end="")
    if arguments.out is not None:
        with whole_file(arguments.out) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return 0


def read_run(folder: Path) -> Run:
    """Predict the test split of a run and write the predictions into its directory.

    Raises:
        UserError: no best model is there, or its cohort cannot be read.
    """
    checkpoint = RunFiles(folder).best
    if not checkpoint.is_file():
        raise UserError(f"{folder} holds no {checkpoint.name}: expected the directory of a finished risk training.")
    trained = load_trained(folder)
    dataset = evaluation_config(trained.config, EvaluationSettings(), trained.is_run).dataset
    print_error(cohort_note(dataset))
    target = str(OmegaConf.select(trained.config, "registration._target_")).split(".")
    found = split_risk(checkpoint, "test", dataset)
    with whole_file(folder / "test_predictions.csv") as unfinished:
        found.table().to_csv(unfinished, index=False)
    return Run(target[-2], int(trained.config.seed), found)


def table(runs: Sequence[Run], bootstrap_samples: int) -> str:
    """Markdown: a row per registration, the best informed first.

    Raises:
        UserError: the runs were not tested on the same samples.
    """
    first = runs[0].found.samples
    for run in runs[1:]:
        if run.found.samples.digest != first.digest:
            raise UserError("The runs have different test samples: compare runs on one cohort and one kind of model.")
    names = sorted({run.registration for run in runs}, key=lambda name: (*ORDER, name).index(name))
    groups = {name: [run for run in runs if run.registration == name] for name in names}
    measured = {name: mean_c_index(group) for name, group in groups.items()}
    patient, seed, everyone = first.patient_id, 0, np.arange(len(first))
    lines = [
        f"Test C-index of {len(first):,} samples of {len(set(patient)):,} women, {int(first.cases.sum()):,} with "
        f"cancer within five years; 95 % intervals of {bootstrap_samples:,} bootstrap samples of women.",
        "",
        f"| registration | seed: C-index | mean C-index | {' | '.join(f'less {name}' for name in names[1:])} |",
        f"|---|---|---|{'---|' * len(names[1:])}",
    ]
    for name, group in groups.items():
        cells = [words(patient_bootstrap(measured[name], patient, bootstrap_samples, seed))]
        for other in names[1:]:
            before = names.index(other) > names.index(name)
            cells.append(
                words(paired_bootstrap(measured[name], measured[other], patient, bootstrap_samples, seed))
                if before
                else ""
            )
        seeds = ", ".join(f"{run.seed}: {mean_c_index([run])(everyone):.3f}" for run in group)
        lines.append(f"| `{name}` | {seeds} | {' | '.join(cells)} |")
    if first.true_risk is not None:
        true_risk = Run("true risk", 0, SplitRisk(first, first.true_risk))
        best = words(patient_bootstrap(mean_c_index([true_risk]), patient, bootstrap_samples, seed))
        lines.append(f"| true risk | | {best} |{' |' * len(names[1:])}")
    return "\n".join(lines) + "\n"


def mean_c_index(group: Sequence[Run]) -> Statistic:
    """Mean over runs of the C-index, as a function of the rows [M] of a bootstrap sample."""

    def of_rows(run: Run, rows: npt.NDArray[np.int64]) -> float:
        samples = run.found.samples
        return c_index(run.found.risk[rows], samples.event[rows, -1], samples.event_index[rows, -1])

    return lambda rows: float(np.mean([of_rows(run, rows) for run in group]))


def words(interval: Interval) -> str:
    """Estimate and interval, the sign of differences included."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
