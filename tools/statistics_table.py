#!/usr/bin/env python3
"""Table of all measures, made from their registry, between the markers in docs/statistics.md.

usage: python tools/statistics_table.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mammorisk.metrics.definitions import Measure
from mammorisk.metrics.registry import all_measures

ROOT = Path(__file__).parents[1]
PLACE = "docs/statistics.md"
START, END = "<!-- measures: made by tools/statistics_table.py -->", "<!-- end of measures -->"
HEAD = ("measure", "meaning", "better", "source")
BETTER = {"": "", "higher": "higher", "lower": "lower", "0": "near 0", "1": "near 1"}


def main() -> int:
    """Write the table into its place, or with ``--check`` only compare; return 1 if it differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit status 1 if the table is out of date"
    )
    check = parser.parse_args().check
    path = ROOT / PLACE
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, found, after = rest.partition(END)
    if not found:
        print(f"{PLACE}: expected the markers {START} and {END} around the table")
        return 1
    new = f"{before}{START}\n\n{table()}\n\n{END}{after}"
    if new == text:
        return 0
    if check:
        print(f"The table of measures is out of date in {PLACE}: run python tools/statistics_table.py")
        return 1
    path.write_text(new, encoding="utf-8")
    return 0


def table() -> str:
    """A row for each measure, as Markdown."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, all_measures())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(measure: Measure) -> tuple[str, ...]:
    name = f"Year k {measure.name}" if measure.yearly else measure.name
    return f"`{name}`", measure.meaning, BETTER[measure.better], measure.source


if __name__ == "__main__":
    sys.exit(main())
