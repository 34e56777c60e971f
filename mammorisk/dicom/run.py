"""Conversion of all images of a cohort by several processes; the next run continues an interrupted one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mammorisk.dicom.contact_sheets import PER_SHEET, write_sheet
from mammorisk.dicom.work import Order, Outcome, carry_out, look, remove
from mammorisk.errors import UserError
from mammorisk.system.atomic_files import remove_unfinished
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.paths_below import BadName, check_inside
from mammorisk.system.worker_pool import Lost, run_each

SECONDS_PER_FILE = 300.0  # after this time a decoder counts as hung


def make_images(orders: Sequence[Order], out: Path, num_workers: int, stop_on_error: bool) -> list[Outcome]:
    """Make the missing images and the contact sheets.

    Args:
        orders: one per image.
        out: the folder of PNGs.
        num_workers: processes.
        stop_on_error: end at the first refused file.

    Returns:
        An outcome for each order, in their order.

    Raises:
        UserError: a file was refused (``stop_on_error``), the disk is full, or another process is busy in ``out``.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with _alone(out), _bar(len(orders)) as bar:
            return _make(orders, out, num_workers, stop_on_error, bar)
    except OSError as error:
        raise UserError(f"{out} cannot be written to: {error}. What is done is kept; run it again.") from error


def _make(orders: Sequence[Order], out: Path, num_workers: int, stop_on_error: bool, bar: Progress) -> list[Outcome]:
    for folder in {order.target.parent for order in orders}:
        if _is_ours(out, folder):
            remove_unfinished(folder)
    task, refused = bar.task_ids[0], 0
    outcomes: list[Outcome | None] = [None] * len(orders)
    sheets = _Sheets(out, outcomes, orders)
    for index, outcome in _outcomes(orders, num_workers):
        outcomes[index] = outcome
        if outcome.note is None:
            refused += 1
            if stop_on_error:
                raise UserError(
                    f"{orders[index].source}: {outcome.reason}\nNothing after it was done. on_error=report continues "
                    "and lists such files."
                )
        sheets.done(index)
        bar.update(task, advance=1, description=f"images ({refused} refused)" if refused else "images")
    return [outcome for outcome in outcomes if outcome is not None]


def _outcomes(orders: Sequence[Order], num_workers: int) -> Iterator[tuple[int, Outcome]]:
    pending = []
    for index, order in enumerate(orders):
        settled = look(order)
        if settled is None:
            pending.append(index)
        else:
            yield index, settled
    for place, answer in run_each(carry_out, [orders[index] for index in pending], num_workers, SECONDS_PER_FILE):
        index = pending[place]
        if isinstance(answer, Lost):
            remove(orders[index])
            answer = Outcome(orders[index].job, None, "crashed", f"the decoder crashed or hung: {answer.reason}.")
        yield index, answer


class _Sheets:
    """Writer of contact sheets, each as soon as its files are done."""

    def __init__(self, out: Path, outcomes: Sequence[Outcome | None], orders: Sequence[Order]) -> None:
        self.out, self.outcomes, self.orders = out, outcomes, orders
        self.left = [len(orders[start : start + PER_SHEET]) for start in range(0, len(orders), PER_SHEET)]

    def done(self, index: int) -> None:
        number = index // PER_SHEET
        self.left[number] -= 1
        if self.left[number] == 0:
            part = self.outcomes[number * PER_SHEET : (number + 1) * PER_SHEET]
            entries = [(outcome.job.name, outcome.reason) for outcome in part if outcome is not None]
            write_sheet(self.out, number, entries)


def _is_ours(out: Path, folder: Path) -> bool:
    """Whether a folder, if it exists, lies below ``out`` and not behind a link."""
    try:
        check_inside(out, folder / "name")
        return folder.is_dir()
    except (BadName, OSError, ValueError):
        return False


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the lock of the folder; the system releases it if this process is killed."""
    lock = FileLock(out / ".images.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UserError(f"Another process is writing images into {out}: wait for it, or give another out.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    console = PlainConsole(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bar.add_task("images", total=total)
        yield bar
