"""Work of one process: a DICOM file to a PNG with its note."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2

from mammorisk.dicom.contact_sheets import tile
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.convert import CONVERSION_VERSION, convert
from mammorisk.dicom.png import Note, read_note, write_png
from mammorisk.dicom.refusals import Refused
from mammorisk.system.paths_below import BadName, LeadsOut, check_inside, check_name
from mammorisk.system.regular_files import NotRegular, check_regular


@dataclass(frozen=True)
class Job:
    """One image to make."""

    source: str  # relative to the DICOM folder
    name: str  # relative to the PNG folder
    laterality: str = ""  # as in the table
    view: str = ""


@dataclass(frozen=True)
class Order:
    """A job, with the settings that all jobs of a run share."""

    job: Job
    root: Path  # of the DICOM files
    out: Path  # of the PNGs
    conversion: Conversion

    @property
    def source(self) -> Path:
        """The DICOM file."""
        return self.root / self.job.source

    @property
    def target(self) -> Path:
        """The PNG."""
        return self.out / self.job.name

    def key(self) -> str:
        """Key of the image: settings, version, the table's values, size and time of the file.

        Raises:
            Refused: there is no such file, or it is not a regular one.
        """
        try:
            found = check_regular(self.source)
        except NotRegular as error:
            raise Refused("not_a_file", f"{self.source}: {error}.") from error
        except (OSError, ValueError) as error:  # ValueError: an impossible path
            raise Refused("missing", f"there is no file {self.source}.") from error
        content = [
            CONVERSION_VERSION, self.conversion.as_dict(), self.job.laterality, self.job.view, found.st_size,
            found.st_mtime_ns,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """Result of a job."""

    job: Job
    note: Note | None  # of the PNG; None: refused
    kind: str = ""  # of the refusal
    reason: str = ""
    is_new: bool = True  # done now, not by an earlier run


def look(order: Order) -> Outcome | None:
    """Outcome that is known without work: done before, no such file, or a PNG in its place; else None."""
    try:
        key = order.key()
        if order.job.laterality not in ("", "L", "R"):
            raise Refused("laterality", f"laterality '{order.job.laterality}': expected L, R, Left, Right or nothing.")
        check_place(order)
        if not order.target.exists():
            return None
        found = read_note(order.target)
        if found is None:
            raise Refused("not_ours", f"{order.target} is there and was not written by this command: move it away.")
    except Refused as refused:
        return Outcome(order.job, None, refused.kind, refused.reason)
    return Outcome(order.job, found[0], is_new=False) if found[0].get("key") == key else None


def check_place(order: Order) -> None:
    """Check that an order's image can be written in its place, and only there.

    Raises:
        Refused: its name is impossible, or a symbolic link leads out of the folder of PNGs.
    """
    try:
        check_name(order.out, order.job.name)
        check_inside(order.out, order.target)
    except LeadsOut as error:
        raise Refused("leads_out", f"{order.job.name}: {error}.") from error
    except (BadName, OSError) as error:
        raise Refused("name", f"{order.job.name}: {error}.") from error


def remove(order: Order) -> None:
    """Delete an order's image, if there is one, in its own place only."""
    try:
        check_place(order)
    except Refused:
        return
    order.target.unlink(missing_ok=True)


def carry_out(order: Order) -> Outcome:
    """Make the image of an order.

    Raises:
        OSError: it cannot be written.
    """
    cv2.setNumThreads(1)  # the processes share the cores already
    try:
        key = order.key()
        made = convert(order.source, order.conversion, order.job.laterality, order.job.view)
    except Refused as refused:
        remove(order)  # made with other settings, or of another file
        return Outcome(order.job, None, refused.kind, refused.reason)
    note = {"key": key, "laterality": made.laterality, "view": made.view, **made.facts}
    try:
        check_place(order)
    except Refused as refused:
        return Outcome(order.job, None, refused.kind, refused.reason)
    order.target.parent.mkdir(parents=True, exist_ok=True)
    write_png(order.target, made.pixels, note, tile(made.before, made.pixels))
    return Outcome(order.job, note)
