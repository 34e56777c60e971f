"""Choice of the dataset of a cohort CSV by its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from mammorisk.config import CONF_DIR, options
from mammorisk.datasets.cohort_csv import REQUIRED, TIMES, present_columns, read_header
from mammorisk.errors import UserError
from mammorisk.messages import format_examples


@dataclass(frozen=True)
class _Candidate:
    name: str
    found: Mapping[str, str]  # our column -> the CSV's
    missing: tuple[str, ...]  # columns of the CSV

    @property
    def rank(self) -> tuple[int, int]:
        return -len(self.missing), len(self.found)


def guess_dataset(csv_file: Path) -> tuple[str, str]:
    """Choose the dataset whose columns the CSV has; return its name and the reason.

    The dataset with the fewest missing columns is chosen, and among equals the one with the most other columns in the
    CSV. One or two columns may be missing: the check reports them.

    Raises:
        UserError: no dataset fits, or several do. CohortProblem: not a CSV.
    """
    header = read_header(csv_file)
    ranked = sorted((_candidate(name, header) for name in options("dataset")), key=lambda one: one.rank, reverse=True)
    best, second = ranked[:2]
    if len(best.missing) > len(REQUIRED) // 2 or best.rank == second.rank:
        lines = "\n".join(
            f"  dataset={one.name} lacks {format_examples(map(repr, one.missing), 9) or 'none'}" for one in ranked
        )
        separators = [word for word in (";", "\t", "|") if len(header) == 1 and word in header[0]]
        hint = f" The separator seems to be {separators[0]!r}; expected a comma." if separators else ""
        raise UserError(
            f"The columns of {csv_file} do not identify a dataset:\n{lines}\n"
            f"Columns found: {format_examples(map(repr, header), 30)}.{hint}\nChoose one with dataset=NAME; "
            "its columns can be "
            "renamed by dataset.columns.NAME=COLUMN."
        )
    others = {name for one in ranked if one is not best for name in one.found.values()}
    telling = [name for name in best.found.values() if name not in others] or list(best.found.values())
    return best.name, f"guessed by the columns {format_examples(telling)}"


def _candidate(name: str, header: list[str]) -> _Candidate:
    settings = OmegaConf.load(CONF_DIR / "dataset" / f"{name}.yaml")
    columns = {key: column for key, column in settings.columns.items() if column}
    found = present_columns(columns, header)
    needed = [*REQUIRED, *([] if settings.file_pattern else ["file_name"])]
    missing = [columns[key] for key in needed if key not in found]
    if not set(TIMES) & found.keys():
        missing.append(columns["exam_id"])
    return _Candidate(name, found, tuple(missing))
