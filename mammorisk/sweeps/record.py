"""``jobs.json`` in a sweep's directory: its jobs, started or not, and the errors of failed ones."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mammorisk.errors import UserError
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.regular_files import read_text

RECORD = "jobs.json"
_PLAIN = re.compile(r"[\w+-][\w.+-]*")  # as Hydra's grammar takes it, and within the sweep's directory


@dataclass
class JobRecord:
    """The sweeper's record of a job."""

    folder: str  # its run directory, in the sweep's
    identity: str = ""  # of its configuration
    overrides: list[str] = field(default_factory=list)
    error: str = ""  # of its last start


def read_record(sweep: Path) -> list[JobRecord]:
    """The recorded jobs of a sweep; none without a record, or with a damaged one.

    Raises:
        UserError: a job's folder is outside of the sweep's directory, where nothing is read or written.
    """
    try:
        found = json.loads(read_text(sweep / RECORD))
        jobs = [
            JobRecord(str(each["folder"]), str(each["identity"]), [*map(str, each["overrides"])], str(each["error"]))
            for each in found["jobs"]
        ]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    for job in jobs:
        check_folder(sweep, job.folder)
    return jobs


def check_folder(sweep: Path, name: str) -> None:
    """Check that a job's folder is in the sweep's directory, and no link.

    Raises:
        UserError: it is not.
    """
    if _PLAIN.fullmatch(name) is None or (sweep / name).is_symlink():
        raise UserError(
            f"{sweep}: expected a job's folder in it, with a name of letters, digits and -, found {name!r}. "
            "Do not use the sweep if it comes from someone you do not know; otherwise remove that folder, and its "
            f"lines in {RECORD}."
        )


def write_record(sweep: Path, jobs: Sequence[JobRecord]) -> None:
    """Write the record atomically.

    Raises:
        UserError: the disk is full or not writable.
    """
    try:
        with whole_file(sweep / RECORD) as unfinished:
            unfinished.write_text(
                json.dumps({"jobs": [asdict(job) for job in jobs]}, indent=1) + "\n", encoding="utf-8"
            )
    except OSError as error:
        raise UserError(f"The sweep {sweep} cannot be written to: {error}.") from error
