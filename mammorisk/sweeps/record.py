"""``jobs.json`` in a sweep's directory: which jobs belong to it, begun or not, and how those that failed ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mammorisk.errors import UserError
from mammorisk.files import whole_file
from mammorisk.regular_files import read_text

RECORD = "jobs.json"


@dataclass
class JobRecord:
    """A job as the sweeper knows it."""

    folder: str  # its run directory, in the sweep's
    identity: str = ""  # of its configuration
    overrides: list[str] = field(default_factory=list)
    error: str = ""  # what ended it at its last start


def read_record(sweep: Path) -> list[JobRecord]:
    """The jobs of a sweep that were planned; none where there is no record, or no whole one."""
    try:
        found = json.loads(read_text(sweep / RECORD))
        return [
            JobRecord(**{key: each[key] for key in ("folder", "identity", "overrides", "error")})
            for each in found["jobs"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


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
