"""Problems of a cohort: raised at once for a training, or collected for a check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType

from mammorisk.errors import UserError

# Kind of problem -> its name in reports; docs/check.md#kinds-of-problems gives the remedies.
KINDS = {
    "unreadable_csv": "not a CSV",
    "no_rows": "a CSV without rows",
    "missing_column": "missing columns",
    "outcome_as_input": "outcomes read as inputs",
    "repeated_column": "columns of one name",
    "empty_id": "rows without identifier",
    "spoilt_id": "identifiers turned into numbers",
    "alike_id": "identifiers that look alike",
    "unknown_word": "unknown words or codes",
    "not_a_number": "no numbers",
    "negative_number": "negative numbers",
    "out_of_range": "numbers out of range",
    "not_a_date": "no dates",
    "not_a_year": "no calendar years",
    "not_a_code": "no codes",
    "patient_in_two_splits": "patients in two splits",
    "several_dates": "exams of several dates",
    "unusual_date": "exams long ago or in the future",
    "late_cancer": "cancers after the end of follow-up",
    "long_followup": "follow-up longer than lives",
    "order_of_time": "priors dated after their current exam",
    "duplicate_view": "several images of one exam, breast and view",
    "shared_file": "one file for several images",
    "data_root": "no usable folder of images",
    "missing_file": "missing image files",
    "nothing_left": "no usable image left",
    "empty_split": "a split without images",
    "no_cases": "a split without cases",
    "no_controls": "a split without controls",
    "missing_followup": "no follow-up",
    "excluded": "rows left out by their codes",
    "unused_file": "rows or files left out",
    "no_samples": "no samples of a form",
    "note": "assumed or computed",
    "image_unreadable": "images that cannot be read",
    "image_depth": "images of the wrong depth",
    "image_small": "images smaller than dataset.image_size",
    "image_sizes": "images of several sizes",
    "image_blank": "blank images",
    "image_of_two_patients": "one picture for several patients",
    "image_repeated": "one picture several times for a patient",
    "chest_wall": "chest wall on the wrong side",
    "mirrored": "all breasts turned to one side",
}


class CohortProblem(UserError):  # noqa: N818  it may be kept instead of raised
    """One kind of problem of a cohort, with all of its occurrences.

    Args:
        kind: a key of ``KINDS``.
        count: number of rows, patients, files … with the problem.
        found: findings and expectation, with examples.
        advice: remedy.
        csv_rows: all rows with the problem, if it is one of rows.
        detail: additional text of the message, such as the attrition table.
        key: our name of the column with wrong values, if it is one column.
    """

    def __init__(
        self,
        kind: str,
        count: int,
        found: str,
        advice: str = "",
        csv_rows: Iterable[int] = (),
        detail: str = "",
        key: str = "",
    ) -> None:
        self.csv_rows = tuple(int(row) for row in csv_rows)
        super().__init__(kind, count, found, advice, self.csv_rows, detail, key)  # whole when pickled
        self.kind, self.count, self.found, self.advice = kind, int(count), found, advice
        self.detail, self.key = detail, key

    def __str__(self) -> str:
        return "\n".join(part for part in (self.found, self.advice, self.detail) if part)


class Problems:
    """Problems of one reading of a cohort: each is raised or, with ``collect``, kept while reading continues.

    As a context, it keeps a problem that is raised inside and leaves the block there.

    Attributes:
        collects: whether problems are kept.
        tolerated: kinds of problems that count as notices here.
        found: problems that a training refuses.
        notices: problems that a training resolves by a rule and counts.
        unusable: CSV rows with unusable values; a check leaves them out of its later steps.
    """

    def __init__(self, collect: bool = False, tolerated: Sequence[str] = ()) -> None:
        self.collects, self.tolerated = collect, tolerated
        self.found: list[CohortProblem] = []
        self.notices: list[CohortProblem] = []
        self.unusable: set[int] = set()

    def add(self, problem: CohortProblem, unusable: bool = False) -> None:
        """Raise ``problem``, or keep it; ``unusable``: later steps leave its rows out."""
        if not self.collects:
            raise problem
        place = self.notices if problem.kind in self.tolerated else self.found
        if problem not in place:
            place.append(problem)
        if unusable:
            self.unusable.update(problem.csv_rows)

    def notice(self, problem: CohortProblem) -> None:
        """Keep a problem that does not stop a training."""
        self.notices.append(problem)

    def stop_after(self, kind: str) -> None:
        """Raise the problem of that kind, if there is one: further checks need it solved."""
        for problem in self.found:
            if problem.kind == kind:
                raise problem

    def __enter__(self) -> Problems:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self.collects and isinstance(error, CohortProblem):
            self.add(error, unusable=error.kind in ("empty_id", "spoilt_id", "alike_id"))
            return True
        return False
