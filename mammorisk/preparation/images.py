"""``mammorisk-prepare images``: DICOM files to 16-bit PNGs."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import joblib
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mammorisk.config_check import check_numbers
from mammorisk.dicom.jobs import jobs_of_folder, jobs_of_table
from mammorisk.dicom.report import summary, write_reports
from mammorisk.dicom.run import make_images
from mammorisk.dicom.settings import Conversion
from mammorisk.dicom.work import Job, Order
from mammorisk.errors import UserError
from mammorisk.system.printing import say
from mammorisk.system.regular_files import read_regular
from mammorisk.system.worker_limits import checked_workers

SOME_REFUSED = 3  # exit status of a run that is complete but for refused files
_EXAMPLE = "mammorisk-prepare images csv_file=cohort.csv dicom_root=DICOMS out=PNGS"


def as_overrides(words: list[str]) -> list[str]:
    """Hydra's overrides of a command line's words; a word that ends with .csv is the table."""
    return [f"csv_file={word}" if word.endswith(".csv") and "=" not in word else word for word in words]


def run(config: DictConfig) -> None:
    """Make all images, write the reports, and say what was done; ends with status 3 if files were refused.

    Raises:
        UserError: a setting is missing or wrong, or nothing can be done at all.
    """
    check_numbers(config)
    root, out = _folder(config, "dicom_root"), _path(config, "out")
    if not root.is_dir():
        raise UserError(f"dicom_root: there is no folder {root}.")
    workers = _workers(config)
    if config.on_error not in ("report", "stop"):
        raise UserError(f"on_error={config.on_error}: expected report or stop.")
    conversion: Conversion = instantiate(config.conversion, _convert_="all")
    jobs, source = _jobs(config, root, out)
    orders = [Order(job, root, out, conversion) for job in jobs]
    if not any(os.path.exists(order.source) for order in orders):  # noqa: PTH110  an impossible name is none
        raise UserError(
            f"dicom_root: none of the {len(orders):,} files is below {root}; the first would be {orders[0].source}."
        )
    outcomes = make_images(orders, out, workers, stop_on_error=config.on_error == "stop")
    try:
        write_reports(out, outcomes, conversion, source)
    except OSError as error:
        raise UserError(f"{out} cannot be written to: {error}.") from error
    say(summary(out, outcomes))
    if any(outcome.kind for outcome in outcomes):
        sys.exit(SOME_REFUSED)


def _jobs(config: DictConfig, root: Path, out: Path) -> tuple[list[Job], dict[str, str]]:
    """The jobs, and where they come from."""
    if config.csv_file is None:
        return jobs_of_folder(root, out), {"dicom_root": root.name}
    table = Path(str(config.csv_file)).expanduser()
    jobs = jobs_of_table(table, dict(config.columns))
    if not jobs:
        raise UserError(f"{table} has no rows: expected one per image.")
    return jobs, {"csv_file": table.name, "sha256": hashlib.sha256(read_regular(table)).hexdigest()}


def _folder(config: DictConfig, key: str) -> Path:
    return _path(config, key).resolve()


def _path(config: DictConfig, key: str) -> Path:
    if OmegaConf.is_missing(config, key):
        raise UserError(f"{key} is not set: give the folder, for example\n  {_EXAMPLE}")
    return Path(str(config[key])).expanduser().absolute()


def _workers(config: DictConfig) -> int:
    wanted = config.num_workers
    if wanted is None:
        return int(joblib.cpu_count())
    return checked_workers(int(wanted), "num_workers")
