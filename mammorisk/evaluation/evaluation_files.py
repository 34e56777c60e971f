"""Files of an evaluation and of a comparison: names, writing, reading."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mammorisk.errors import UserError
from mammorisk.evaluation.split_groups import of_kind
from mammorisk.evaluation.split_measures import without_nan
from mammorisk.prediction.splits import RISK_COLUMNS
from mammorisk.runs.directory import RunFiles
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import check_regular, open_regular, read_text

PREDICTIONS, METRICS, PAGE = "predictions.csv", "metrics.json", "report.html"
C_INDEX_FILES = {  # kind of group: file
    "density": "c_index_by_density.json",
    "cancer type": "c_index_by_cancer_type.json",
    "race": "c_index_by_race.json",
}
_WANTED: dict[str, dict[str, type]] = {  # of a metrics.json that is compared
    "made": dict.fromkeys(("checkpoint", "checkpoint_sha256", "split", "version", "date"), str),
    "model": {"name": str},
    "cohort": {
        "samples": int,
        **dict.fromkeys(("name", "csv_file", "unit", "split"), str),
        "attrition": list,
        "notes": list,
    },
}
_C_INDICES = ("C-index", "C-index (literature)")


@dataclass(frozen=True)
class EvaluationFiles(RunFiles):
    """Names of the files of an evaluation."""

    split: str = "test"

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / f"{self.split}_{self.kind}_training_id_{self.id_training}.log"


@dataclass(frozen=True)
class ComparisonFiles(RunFiles):
    """Names of the files of a comparison."""

    @property
    def log(self) -> Path:
        """The log file."""
        return self.folder / "compare.log"


READABLE = (1, 2)  # formats of metrics.json; what is compared has the same keys in both
METRICS_MOST = 256 << 20  # bytes of a metrics.json
WORD_MOST = 4096  # letters of a text in it that a comparison shows


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_evaluation(folder: Path, table: pd.DataFrame, metrics: Mapping[str, Any]) -> None:
    """Write predictions, measures and the C-index of the groups.

    Raises:
        UserError: the folder cannot be written to.
    """
    try:
        write_table(folder / PREDICTIONS, table)
        groups = metrics["groups"]
        for kind, name in C_INDEX_FILES.items():
            names = of_kind(list(groups), kind if kind != "density" else _density(groups))
            if names or kind != "race":
                write_json(folder / name, {value: _c_index(groups[group]) for value, group in names.items()})
        write_json(folder / METRICS, metrics)
    except OSError as error:
        raise UserError(f"The files of the evaluation cannot be written to {folder}: {error}.") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically, with all digits of its numbers."""
    with whole_file(path) as unfinished:
        table.to_csv(unfinished, index=False)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with NaN as null."""
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(without_nan(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_predictions(path: Path) -> pd.DataFrame:
    """The table of ``write_evaluation``, its risks to the last bit.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    texts = dict.fromkeys(["sample_id", "patient_id", "race", "laterality", "view"], str)
    try:
        check_regular(path)
        table = pd.read_csv(path, dtype=texts, float_precision="round_trip", keep_default_na=False, na_values=[""])
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as predictions: {error}") from error
    missing = [name for name in ("sample_id", "patient_id", "event", "years", *RISK_COLUMNS) if name not in table]
    if missing or table.empty:
        problem = "no rows" if not missing else f"no column {', '.join(missing)}"
        raise UserError(f"{path} has {problem}: expected the predictions.csv of an evaluation.")
    for name, (low, high) in {**dict.fromkeys(RISK_COLUMNS, (0, 1)), "event": (0, 1), "years": (1, 100)}.items():
        values = pd.to_numeric(table[name], errors="coerce")
        if not values.between(low, high).all():  # NaN, for text, is between no bounds
            raise UserError(f"{path}: expected numbers from {low} to {high} in the column {name}. Evaluate again.")
    return table


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a ``metrics.json``.

    Raises:
        UserError: it cannot be read, or is of another version.
    """
    try:
        if path.stat().st_size > METRICS_MOST:
            raise UserError(
                f"{path} has more than {METRICS_MOST >> 20} MB: expected the metrics.json of an evaluation."
            )
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format") not in READABLE:
        raise UserError(f"{path} is not the metrics.json of an evaluation by this version of mammorisk.")
    for name, kinds in _WANTED.items():
        part = found.get(name)
        wrong = [key for key, kind in kinds.items() if not isinstance(part, dict) or not _is_word(part.get(key), kind)]
        if wrong:
            raise UserError(f"{path}: {name} lacks {', '.join(wrong)}, or has another type there: evaluate again.")
    return found


def _is_word(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (isinstance(value, str) and len(value) > WORD_MOST)


def _density(groups: Mapping[str, Any]) -> str:
    return "percent density" if any(name.startswith("percent density: ") for name in groups) else "density"


def _c_index(group: Mapping[str, Any]) -> dict[str, Any]:
    counts = {key: group[key] for key in ("samples", "events", "patients", "patients_with_event", "reason")}
    return {**counts, **{name: group["measures"][name] for name in _C_INDICES}}
