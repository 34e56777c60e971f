"""``jobs.json`` in a sweep's directory: which jobs belong to it, begun or not, and how those that failed ended."""

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
    """A job as the sweeper knows it."""

    folder: str  # its run directory, in the sweep's
    identity: str = ""  # of its configuration
    overrides: list[str] = field(default_factory=list)
    error: str = ""  # what ended it at its last start


def read_record(sweep: Path) -> list[JobRecord]:
    """The jobs of a sweep that were planned; none where there is no record, or no whole one.

    Raises:
        UserError: a job's folder is none in the sweep's: what stands elsewhere is not read, and nothing written there.
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
    """See that a job's folder is one in the sweep's, and no link out of it.

    Raises:
        UserError: it is not.
    """
    if _PLAIN.fullmatch(name) is None or (sweep / name).is_symlink():
        raise UserError(
            f"{sweep}: expected a job's folder to be one in it, by a name of letters, digits and -, found {name!r}. "
            "Do not use the sweep if it comes from someone you do not know; else take that folder away, and its lines "
            f"out of {RECORD}."
        )


def write_record(sweep: Path, jobs: Sequence[JobRecord]) -> None:
    """Write the record, whole at any time.

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
