"""Attrition table of a cohort: exclusions by step and reason, as in a study's flow chart."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path

import pandas as pd
from rich.table import Table

from mammorisk.system.atomic_files import whole_file
from mammorisk.system.consoles import PlainConsole


@dataclass(frozen=True)
class Counts:
    """Numbers of patients, exams and images."""

    patients: int
    exams: int
    images: int

    @classmethod
    def of(cls, table: pd.DataFrame) -> Counts:
        """Count a table with one row per image and the columns ``patient_id`` and ``exam_id``."""
        exams = len(table[["patient_id", "exam_id"]].drop_duplicates())
        return cls(int(table["patient_id"].nunique()), exams, len(table))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(self.patients - other.patients, self.exams - other.exams, self.images - other.images)


@dataclass(frozen=True)
class Step:
    """One line of the attrition table."""

    step: str
    action: str  # read | dropped | changed (kept, but with a value that was assumed)
    reason: str
    counts: Counts  # read, dropped or changed here
    left: Counts


@dataclass
class Attrition:
    """Steps from the CSV to the samples; printable with ``print`` or rich, written by ``to_csv``."""

    steps: list[Step] = field(default_factory=list)

    def read(self, table: pd.DataFrame, source: str) -> None:
        """Record the counts read from ``source`` as the first line."""
        counts = Counts.of(table)
        self.steps.append(Step("cohort", "read", source, counts, counts))

    def keep(self, table: pd.DataFrame, kept: pd.Series, step: str, reason: str) -> pd.DataFrame:
        """Keep the rows of ``table`` where ``kept`` is true, and record the others as dropped for ``reason``.

        Nothing is recorded if nothing is dropped.
        """
        if bool(kept.all()):
            return table
        left = table[kept]
        self.dropped(step, reason, Counts.of(table), Counts.of(left))
        return left

    def dropped(self, step: str, reason: str, before: Counts, after: Counts) -> None:
        """Record the step from the counts ``before`` to the counts ``after``."""
        self.steps.append(Step(step, "dropped", reason, before - after, after))

    def changed(self, step: str, reason: str, affected: Counts, left: Counts) -> None:
        """Record that a value was assumed for ``affected``; nothing is dropped."""
        self.steps.append(Step(step, "changed", reason, affected, left))

    def to_csv(self, path: Path | str) -> None:
        """Write the table, one line per step; the file appears whole or not at all."""
        with whole_file(Path(path)) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            names = ("patients", "exams", "images")
            writer.writerow(["step", "action", "reason", *names, *(f"{name}_left" for name in names)])
            for step in self.steps:
                numbers = (*asdict(step.counts).values(), *asdict(step.left).values())
                writer.writerow([step.step, step.action, step.reason, *numbers])

    def __rich__(self) -> Table:
        table = Table(title="Attrition", title_justify="left")
        for name in ("step", "", "reason"):
            table.add_column(name, overflow="fold")
        for name in ("patients", "exams", "images", "left: patients", "exams", "images"):
            table.add_column(name, justify="right")
        for step in self.steps:
            numbers = (*asdict(step.counts).values(), *asdict(step.left).values())
            table.add_row(step.step, step.action, step.reason, *(f"{number:,}" for number in numbers))
        return table

    def __str__(self) -> str:
        text = StringIO()
        PlainConsole(file=text, width=140).print(self)
        return text.getvalue()
