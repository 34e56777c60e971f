"""``mammorisk-prepare check``: all problems of a cohort CSV at once, without training."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import OmegaConf

from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.errors import UserError
from mammorisk.preparation.check_report import Report
from mammorisk.preparation.cohort_summary import note_steps, summarize_samples, summarize_splits
from mammorisk.preparation.guess import guess_dataset
from mammorisk.preparation.image_checks import check_images
from mammorisk.system.consoles import show

MISTAKE = 2  # exit status of a check that is impossible; 1: there are problems
_USAGE = "mammorisk-prepare check cohort.csv [dataset=NAME] [dataset.data_root=FOLDER] [--images] [out=report.json]"
_WITH_VALUE = ("--cfg", "-c", "--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn", "--package", "-p")


def as_overrides(words: list[str]) -> list[str]:
    """Hydra's overrides for ``check cohort.csv --images``: file, switch, and the dataset if none is chosen.

    Raises:
        UserError: several files, or a CSV whose columns fit no dataset.
    """
    files, others = list[str](), list[str]()
    for before, word in zip(["", *words], words, strict=False):
        if word == "--images":
            others.append("images=true")
        elif before not in _WITH_VALUE and not word.startswith("-") and ("=" not in word or Path(word).is_file()):
            files.append(word)
        else:
            others.append(word)
    if len(files) > 1:
        raise UserError(f"Expected one cohort CSV, found {', '.join(files)}.\n{_USAGE}")
    others += [_override("dataset.csv_file", file) for file in files]
    named = files or [word.partition("=")[2] for word in words if word.startswith("dataset.csv_file=")]
    if named and not any(word.startswith("dataset=") for word in words):
        others += _guessed(Path(named[0]).expanduser())
    return others


def check(dataset: DatasetConfig, images: bool, chosen: str, out: str | None = None) -> None:
    """Check a cohort, print the report, and end with 0 or 1.

    Args:
        dataset: settings of the cohort.
        images: also read every image.
        chosen: reason for this dataset, for the report.
        out: file for the report as JSON; None: no file.

    Raises:
        UserError: the check is impossible: settings are missing or wrong, or there is no such file.
        SystemExit: with status 1, if there are problems.
    """
    report = examine(dataset, images, chosen)
    if out is not None:
        report.write(Path(str(out)).expanduser())
    width = None if sys.stdout is not None and sys.stdout.isatty() else 140
    show(report, width=width, unbroken=True, only_here=out is None)
    if report.problems.found:
        sys.exit(1)


def examine(dataset: DatasetConfig, images: bool, chosen: str) -> Report:
    """Check a cohort, and return the report.

    Args:
        dataset: settings of the cohort.
        images: also read every image.
        chosen: reason for this dataset, for the report.

    Raises:
        UserError: settings are missing or wrong, or there is no such file.
    """
    if OmegaConf.is_missing(dataset, "csv_file") or dataset.csv_file is None:
        raise UserError(f"There is no cohort CSV to check.\n{_USAGE}")
    csv_file = Path(str(dataset.csv_file)).expanduser()
    data_root = None if OmegaConf.is_missing(dataset, "data_root") else dataset.data_root
    if dataset.generator is not None and data_root is None:  # a phantom's images are beside its CSV
        data_root = str(csv_file.parent)
    dataset.generator, dataset.data_root = None, data_root
    without_files = data_root is None and not images
    problems = Problems(collect=True, tolerated=("data_root",) if without_files else ())
    report = Report(str(csv_file), dataset.name, chosen, data_root, problems)
    try:
        report.cohort = load_cohort(dataset, problems)
    except CohortProblem as problem:
        problems.add(problem)
        return report
    note_steps(report.cohort, problems)
    report.splits = summarize_splits(report.cohort, problems)
    report.samples = summarize_samples(report.cohort, problems)
    if images:
        report.images = check_images(report.cohort.table, tuple(dataset.image_size), problems)
    return report


def _guessed(csv_file: Path) -> list[str]:
    if not csv_file.is_file():
        return []
    try:
        name, why = guess_dataset(csv_file)
    except CohortProblem:
        return []  # not a CSV, which the check reports
    return [f"dataset={name}", _override("chosen", why)]


def _override(key: str, text: str) -> str:
    """``key='text'`` in Hydra's grammar, with the text unchanged."""
    quoted = text.replace("${", "\\${").replace("'", "\\'")
    return f"{key}='{quoted}'"
