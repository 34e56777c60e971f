"""Report of a check, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from mammorisk.datasets.cohort import Cohort
from mammorisk.datasets.problems import KINDS, CohortProblem, Problems
from mammorisk.errors import UserError
from mammorisk.preparation.cohort_summary import FormSummary, SplitSummary
from mammorisk.preparation.image_checks import ImageSummary
from mammorisk.system.atomic_files import whole_file

_ROWS_SHOWN = 20  # CSV rows of a problem in JSON


@dataclass
class Report:
    """Report of a check; printable with rich."""

    csv_file: str
    dataset: str
    chosen: str  # reason for this dataset
    data_root: str | None
    problems: Problems
    cohort: Cohort | None = None  # None: it could not be read completely
    splits: list[SplitSummary] = field(default_factory=list)
    samples: list[FormSummary] = field(default_factory=list)
    images: ImageSummary | None = None

    @property
    def verdict(self) -> str:
        """One sentence."""
        if self.problems.found:
            kinds = len({problem.kind for problem in self.problems.found})
            what = "1 kind of problem" if kinds == 1 else f"{kinds} kinds of problems"
            end = "" if self.cohort is not None else " The check could not continue after the last of them."
            return f"{what} to fix before a training.{end}"
        return "Fine: this cohort can be trained on."

    def as_json(self) -> dict[str, Any]:
        """The report as plain values (docs/check.md)."""
        steps = self.cohort.attrition.steps if self.cohort is not None else []
        return {
            "csv_file": self.csv_file,
            "dataset": self.dataset,
            "chosen": self.chosen,
            "data_root": self.data_root,
            "verdict": "problems" if self.problems.found else "fine",
            "complete": self.cohort is not None,
            "problems": [_plain(problem) for problem in self.problems.found],
            "notices": [_plain(problem) for problem in self.problems.notices],
            "attrition": [asdict(step) for step in steps],
            "splits": [asdict(split) for split in self.splits],
            "samples": [asdict(form) for form in self.samples],
            "images": asdict(self.images) if self.images is not None else None,
        }

    def write(self, path: Path) -> None:
        """Write the report as JSON; the file appears whole or not at all.

        Raises:
            UserError: it cannot be written there.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as unfinished:
                unfinished.write_text(json.dumps(self.as_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error}. Give another place, out=FILE.json.") from error

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield Text(f"{self.csv_file}\ndataset={self.dataset}, {self.chosen}; images in {self.data_root or '-'}\n")
        for title, style, problems in (
            ("Problems", "bold red", self.problems.found),
            ("Notices: settled by a rule, counted", "bold", self.problems.notices),
        ):
            if problems:
                yield Text(title, style=style)
                yield from map(_entry, problems)
        if self.cohort is not None:
            yield self.cohort.attrition.__rich__()
            yield _table("Splits", self.splits)
            yield _table("Samples, by what one shows", self.samples)
        if self.images is not None:
            yield Text(f"{self.images}\n")
        yield Text(self.verdict, style="bold red" if self.problems.found else "bold green")


def _entry(problem: CohortProblem) -> Text:
    text = Text(f"  {KINDS[problem.kind]} [{problem.kind}]: {problem.count:,}\n", style="bold")
    lines = [*problem.found.splitlines(), *problem.advice.splitlines(), *problem.detail.splitlines()]
    return text.append("\n".join(f"    {line}" for line in lines) + "\n", style="not bold")


def _table(title: str, rows: list[Any]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in asdict(rows[0]) if rows else ():
        table.add_column(name.replace("_", " "), justify="left" if name in ("split", "unit") else "right")
    for row in rows:
        values = asdict(row).values()
        table.add_row(*(f"{value:,.4g}" if isinstance(value, float) else str(value) for value in values))
    return table


def _plain(problem: CohortProblem) -> dict[str, Any]:
    rows = problem.csv_rows[:_ROWS_SHOWN]
    words = {"kind": problem.kind, "title": KINDS[problem.kind], "found": problem.found, "advice": problem.advice}
    return {**words, "count": problem.count, "csv_rows": list(rows)}
