"""``mammorisk-sweep-report``: all jobs of a sweep, finished or not, on the terminal, in a CSV and on a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mammorisk.errors import UserError
from mammorisk.system.printing import prepare_streams, print_error

_WIDTH = 140  # where there is no terminal
FILES = ("sweep.csv", "sweep.json", "sweep.html")


def report_sweep(sweep: Path, folder: Path) -> None:
    """Read a sweep, write the three files and print its tables.

    Args:
        sweep: its directory.
        folder: for the files; links of the page lead from there to the run directories.

    Raises:
        UserError: there are no jobs, or the files cannot be written.
    """
    from mammorisk.evaluation.evaluation_files import write_json, write_table
    from mammorisk.report.page import write_sweep_page
    from mammorisk.sweeps.document import sweep_document
    from mammorisk.sweeps.tables import job_rows, job_table, setting_table
    from mammorisk.system.consoles import show

    document = sweep_document(sweep, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / FILES[0], job_rows(document))
        write_json(folder / FILES[1], document)
        write_sweep_page(document, folder / FILES[2])
    except OSError as error:
        raise UserError(
            f"The report cannot be written to {folder}: {error}.\nGive it another place: --out FOLDER."
        ) from error
    tables = [job_table(document)]
    if any(group["finished"] > 1 for group in document["groups"]):
        tables.append(setting_table(document))
    width = None if sys.stdout is not None and sys.stdout.isatty() else _WIDTH
    show(*tables, f"{folder}: {', '.join(FILES)}", width=width)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="mammorisk-sweep-report",
        description="Table, figures and page of all jobs of a sweep, also while it runs.",
    )
    parser.add_argument("sweep", type=Path, metavar="DIR", help="the sweep's directory, outputs/sweep_…")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the files go; left out: into DIR")
    prepare_streams()
    words = parser.parse_args()
    try:
        report_sweep(words.sweep, words.out or words.sweep)
    except UserError as error:
        print_error(f"\nmammorisk stopped:\n\n{error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
