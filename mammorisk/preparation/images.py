"""``mammorisk-prepare images``: DICOM files to 16-bit PNGs."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
from hydra.utils import instantiate

from mammorisk.dicom.conversion_jobs import jobs_of_folder, jobs_of_table
from mammorisk.dicom.conversion_report import summary, write_reports
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.run import make_images
from mammorisk.dicom.work import Job, Order
from mammorisk.errors import UserError
from mammorisk.system.printing import print_out
from mammorisk.system.regular_files import read_regular
from mammorisk.system.worker_limits import checked_workers

SOME_REFUSED = 3  # exit status of a run that is complete but for refused files
_EXAMPLE = "mammorisk-prepare images csv_file=cohort.csv dicom_root=DICOMS out=PNGS"


def as_overrides(words: list[str]) -> list[str]:
    """Hydra's overrides for the words of a command line; a word that ends with .csv is the table."""
    return [f"csv_file={word}" if word.endswith(".csv") and "=" not in word else word for word in words]


@dataclass(frozen=True)
class Source:
    """The DICOM files to convert."""

    dicom_root: str | None  # their folder; None: not set
    csv_file: str | None = None  # table with a row per image; None: every DICOM file below the folder
    columns: Mapping[str, str | None] = field(default_factory=dict)  # ours -> the table's; A|B: first there


def convert(
    source: Source, out: str | None, conversion: Any, on_error: str = "report", num_workers: int | None = None
) -> None:
    """Make all images, write the reports, and print a summary; exit with status 3 if files were refused.

    Args:
        source: DICOM files to convert.
        out: folder of the PNGs; None: not set.
        conversion: component that converts a file, not built yet.
        on_error: report or stop.
        num_workers: processes; None: all usable cores.

    Raises:
        UserError: a setting is missing or wrong, or no file can be converted.
    """
    root, target = _path("dicom_root", source.dicom_root).resolve(), _path("out", out)
    if not root.is_dir():
        raise UserError(f"dicom_root: there is no folder {root}.")
    workers = _workers(num_workers)
    if on_error not in ("report", "stop"):
        raise UserError(f"on_error={on_error}: expected report or stop.")
    built: Conversion = instantiate(conversion, _convert_="all")
    jobs, origin = _jobs(source, root, target)
    orders = [Order(job, root, target, built) for job in jobs]
    if not any(os.path.exists(order.source) for order in orders):  # noqa: PTH110  an impossible name is none
        raise UserError(
            f"dicom_root: none of the {len(orders):,} files is below {root}; the first would be {orders[0].source}."
        )
    outcomes = make_images(orders, target, workers, stop_on_error=on_error == "stop")
    try:
        write_reports(target, outcomes, built, origin)
    except OSError as error:
        raise UserError(f"{target} cannot be written to: {error}.") from error
    print_out(summary(target, outcomes))
    if any(outcome.kind for outcome in outcomes):
        sys.exit(SOME_REFUSED)


def _jobs(source: Source, root: Path, out: Path) -> tuple[list[Job], dict[str, str]]:
    """Make the jobs, and the record of their origin."""
    if source.csv_file is None:
        return jobs_of_folder(root, out), {"dicom_root": root.name}
    table = Path(str(source.csv_file)).expanduser()
    jobs = jobs_of_table(table, dict(source.columns))
    if not jobs:
        raise UserError(f"{table} has no rows: expected one per image.")
    return jobs, {"csv_file": table.name, "sha256": hashlib.sha256(read_regular(table)).hexdigest()}


def _path(key: str, value: str | None) -> Path:
    if value is None:
        raise UserError(f"{key} is not set: give the folder, for example\n  {_EXAMPLE}")
    return Path(str(value)).expanduser().absolute()


def _workers(wanted: int | None) -> int:
    if wanted is None:
        return int(joblib.cpu_count())
    return checked_workers(int(wanted), "num_workers")
