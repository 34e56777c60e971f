"""Image pass of a check: every file is read once, then compared with the others and the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import joblib
import pandas as pd
from rich.progress import track

from mammorisk.datasets.problems import CohortProblem, Problems
from mammorisk.messages import format_examples, format_rows
from mammorisk.preparation.image_facts import look_at
from mammorisk.system.consoles import PlainConsole

_OF_ONE = {
    "image_unreadable": "Make them again from the originals, or leave them out with dataset.on_error=skip.",
    "image_depth": "Convert the originals again with their full bit depth, to 16-bit grey PNG.",
    "image_blank": "Look at the originals; leave such images out of the CSV.",
}
_NEARLY_ALL = 0.9


@dataclass(frozen=True)
class ImageSummary:
    """Summary of the image files."""

    files: int
    sizes: dict[str, int]  # "2048 x 1664" -> files, most frequent first

    def __str__(self) -> str:
        sizes = format_examples([f"{size} ({count:,})" for size, count in self.sizes.items()])
        return f"{self.files:,} image files read; rows x columns: {sizes or 'none could be read'}."


def check_images(table: pd.DataFrame, image_size: tuple[int, ...], problems: Problems) -> ImageSummary:
    """Read every image of a cohort in parallel, and collect ``problems``.

    Args:
        table: cohort table; rows without a file are left out.
        image_size: rows and columns of the model's input.
        problems: collects what is wrong.
    """
    named = table[table["file"].notna()]
    files = named["file"].unique().tolist()
    found = pd.DataFrame(_facts(files), index=pd.Index(files, name="file"))
    images = named.join(found, on="file") if files else named.assign(problem="", message="", digest="", side="")
    for kind, advice in _OF_ONE.items():
        _tell(images[images["problem"] == kind], kind, advice, problems)
    if files:
        _check_sizes(images, image_size, problems)
        _check_repeats(images[images["digest"] != ""], problems)
        _check_sides(images[images["side"] != ""], problems)
    sizes = Counter(f"{height} x {width}" for height, width in found.get("size", []) if height)
    return ImageSummary(len(files), dict(sizes.most_common()))


def _facts(files: Sequence[str]) -> list[dict[str, object]]:
    calls = (joblib.delayed(look_at)(file) for file in files)
    facts = joblib.Parallel(n_jobs=-1, prefer="threads", return_as="generator")(calls)
    console = PlainConsole(stderr=True)
    shown = track(facts, "reading images", len(files), console=console, disable=not console.is_terminal)
    return [vars(each) for each in shown]


def _tell(bad: pd.DataFrame, kind: str, advice: str, problems: Problems) -> None:
    if len(bad):
        text = f"{len(bad)} images ({format_rows(bad['csv_row'])}):\n" + "\n".join(
            f"  {each}" for each in bad["message"][:3]
        )
        problems.add(CohortProblem(kind, len(bad), text, advice, bad["csv_row"]))


def _check_sizes(images: pd.DataFrame, image_size: tuple[int, ...], problems: Problems) -> None:
    read = images[images["problem"] != "image_unreadable"]
    read = read[[size != (0, 0) for size in read["size"]]]
    small = read[[size[0] < image_size[0] or size[1] < image_size[1] for size in read["size"]]]
    sizes = [f"{height} x {width}" for height, width in read["size"].value_counts().index]
    if len(small):
        text = (
            f"{len(small)} images ({format_rows(small['csv_row'])}) are smaller than "
            f"dataset.image_size={list(image_size)} "
            f"and would be enlarged. Rows x columns found: {format_examples(sizes)}."
        )
        advice = "Set dataset.image_size to the size found, or prepare larger images."
        problems.add(CohortProblem("image_small", len(small), text, advice, small["csv_row"]))
    if len(sizes) > 1:
        other = read[read["size"] != read["size"].value_counts().index[0]]
        text = (
            f"{len(other)} images ({format_rows(other['csv_row'])}) are not {sizes[0]} but "
            f"{format_examples(sizes[1:])}."
        )
        advice = "Each is resized to dataset.image_size: breasts of other proportions are distorted."
        problems.notice(CohortProblem("image_sizes", len(other), text, advice, other["csv_row"]))


def _check_repeats(images: pd.DataFrame, problems: Problems) -> None:
    """Find images with the same pixels: a leak across patients or splits, a likely mistake within a patient."""
    twice = images[images["digest"].duplicated(keep=False)]
    pairs = twice[["digest", "patient_id"]].drop_duplicates()
    across = twice["digest"].isin(pairs["digest"][pairs["digest"].duplicated()])
    for kind, part in (("image_of_two_patients", twice[across]), ("image_repeated", twice[~across])):
        if part.empty:
            continue
        pictures = part.groupby("digest", sort=False)
        leaks = part[["digest", "split"]].drop_duplicates()["digest"].duplicated().sum()
        alike = format_examples([" = ".join(part["file"][where][:3]) for where in pictures.groups.values()], 3)
        text = (
            f"{len(part)} images ({format_rows(part['csv_row'])}) show {pictures.ngroups} pictures; {leaks} "
            "of these are in "
            f"several splits: {alike}."
        )
        advice = "Find out whose image it is, and remove the other rows: outcomes leak from split to split."
        report = problems.add if kind == "image_of_two_patients" or leaks else problems.notice
        report(CohortProblem(kind, len(part), text, advice, part["csv_row"]))


def _check_sides(images: pd.DataFrame, problems: Problems) -> None:
    """Check for the chest wall at the left edge for L and the right one for R, or all at one edge on purpose."""
    wrong = images[images["side"] != images["laterality"]]
    if wrong.empty:
        return
    commonest = images["side"].value_counts(normalize=True)
    if len(set(images["laterality"])) > 1 and commonest.iloc[0] >= _NEARLY_ALL:
        text = f"{len(wrong)} of {len(images)} images: nearly all chest walls are at the {_edge(commonest.index[0])}."
        advice = "If they were turned so on purpose, leave dataset.orientation=native; it mirrors right breasts."
        problems.notice(CohortProblem("mirrored", len(wrong), text, advice, wrong["csv_row"]))
        return
    text = (
        f"{len(wrong)} of {len(images)} images ({format_rows(wrong['csv_row'])}) have the chest wall at the "
        "edge of the other "
        f"breast: {format_examples(wrong['file'], 3)}."
    )
    advice = "Expected at the left edge for L and at the right edge for R: correct the laterality, or mirror the files."
    problems.add(CohortProblem("chest_wall", len(wrong), text, advice, wrong["csv_row"]))


def _edge(side: str) -> str:
    return {"L": "left edge", "R": "right edge"}[side]
