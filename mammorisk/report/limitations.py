"""Limitations of an evaluation or a comparison: sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from mammorisk.metrics.definitions import SHARE
from mammorisk.report.numbers import COUNT, Numbers

FEW_EVENTS = 100  # the recommended minimum of an external validation (Collins et al. 2016)


def limitations(numbers: Numbers, whole: tuple[str, ...]) -> list[Markup]:
    """Sentences, each true of this document.

    Args:
        numbers: of ``metrics.json`` or ``comparison.json``.
        whole: path of the groups of a model.
    """
    return [*_cohort(numbers), *_groups(numbers, whole), *_methods(numbers, whole)]


def _cohort(numbers: Numbers) -> Iterator[Markup]:
    cohort = numbers.document["cohort"]
    if cohort.get("is_phantom"):
        yield Markup("The cohort is synthetic: these numbers show that the software works, nothing about patients.")
    if (cohort.get("patients_with_event") or 0) < FEW_EVENTS:
        yield Markup(
            f"Cancer followed in {{}} of {{}} women. External evaluations are advised to have at least "
            f"{FEW_EVENTS} events; with "
            "fewer, intervals are wide and calibration by tenth of risk is uncertain."
        ).format(
            numbers.show("cohort", "patients_with_event", form=COUNT), numbers.show("cohort", "patients", form=COUNT)
        )
    if not cohort.get("is_phantom"):
        yield Markup(
            "One cohort ({}) was evaluated. Other scanners, screening programmes and populations may "
            "give other numbers, "
            "calibration above all."
        ).format(cohort["name"])
    if (cohort.get("samples") or 0) > (cohort.get("patients") or 0):
        yield Markup(
            "Women have several samples each. Intervals resample women with all their samples, so that "
            "this is accounted for; "
            "women with many exams still count for more."
        )


def _groups(numbers: Numbers, whole: tuple[str, ...]) -> Iterator[Markup]:
    groups: Mapping[str, Any] = numbers.at(*whole) or {}
    if reason := groups.get("all", {}).get("reason"):
        yield Markup("The whole cohort is too small to be measured well: {}.").format(reason)
    small = [name for name, group in groups.items() if name != "all" and group["reason"]]
    if small:
        yield Markup("Not measured, since too small: {}.").format("; ".join(small))
    if len(groups) > 1:
        yield Markup("Intervals of subgroups are not corrected for their number: one in twenty misses by chance alone.")


def _methods(numbers: Numbers, whole: tuple[str, ...]) -> Iterator[Markup]:
    measures: Mapping[str, Any] = numbers.at(*whole, "all", "measures") or {}
    undefined = [name for name, each in measures.items() if undefined_draws(each)]
    if undefined:
        yield Markup(
            "Some measures are not defined in every bootstrap sample, as when no woman with "
            "cancer is drawn; their intervals "
            "come from the other samples. The tables show which measures and how many samples."
        )
    if "C-index (literature)" in measures:
        yield Markup(
            "“C-index (literature)” repeats the computation published with Mirai and its successors, "
            "for comparison with their "
            "papers. Its weights come from the events instead of the censoring; the C-index is the one to cite."
        )
    if numbers.at("made", "population_incidence") is not None:
        yield Markup(
            "Calibration, Brier score, predictive values and net benefit are weighted to a population "
            "of which {} get cancer "
            "within five years. They hold for no other incidence."
        ).format(numbers.show("made", "population_incidence", form=SHARE))
    else:
        yield Markup(
            "Nothing is weighted to a population. If cases were chosen for this cohort (case-control), "
            "calibration, predictive "
            "values, Brier score and net benefit say nothing about screening; set population_incidence."
        )


def undefined_draws(interval: Mapping[str, Any]) -> int:
    """Number of bootstrap samples in which a measure was not defined."""
    return int(interval.get("undefined_draws") or interval.get("left_out") or 0)
