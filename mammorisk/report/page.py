"""Pages of an evaluation, a comparison or a sweep: one HTML file each, without network, script or other files."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mammorisk.metrics import registry
from mammorisk.report import page_tables
from mammorisk.report.comparison_page import comparison_figures
from mammorisk.report.evaluation_page import evaluation_figures
from mammorisk.report.limitations import limitations, undefined_draws
from mammorisk.report.numbers import Numbers, form_of, rounded
from mammorisk.report.sweep_figures import MOST_LINES, labels_of, shown, sweep_figures, sweep_measures
from mammorisk.system.atomic_files import whole_file

if TYPE_CHECKING:  # a page needs no torch
    from mammorisk.report.examples import ExampleExam

_TEMPLATES = Path(__file__).parent / "templates"


def write_evaluation_page(metrics: Mapping[str, Any], examples: Sequence[ExampleExam], path: Path) -> None:
    """Write ``report.html``: model and cohort, numbers, figures, tables, example exams and limitations.

    Args:
        metrics: content of ``metrics.json``; every number of the page comes from it, with its place there.
        examples: exams to show; their risks are those of ``predictions.csv``.
        path: the page, written atomically; its folder exists.
    """
    numbers = Numbers(metrics)
    config = yaml.safe_dump(metrics["made"].get("config"), sort_keys=False, allow_unicode=True)
    content = {"config": config, "examples": examples, "figures": evaluation_figures(metrics)}
    _write("evaluation.html.jinja", numbers, content | {"limits": limitations(numbers, ("groups",))}, path)


def write_comparison_page(comparison: Mapping[str, Any], path: Path) -> None:
    """Write the page of two or more models on the same exams.

    Args:
        comparison: content of ``comparison.json``; every number of the page comes from it, with its place there.
        path: the page, written atomically; its folder exists.
    """
    numbers = Numbers(comparison)
    limits = limitations(numbers, ("groups", comparison["reference"]))
    _write("comparison.html.jinja", numbers, {"figures": comparison_figures(comparison), "limits": limits}, path)


def write_sweep_page(document: Mapping[str, Any], path: Path) -> None:
    """Write the page of a sweep: states, settings, jobs.

    Args:
        document: of the sweep; every measured number of the page comes from it, with its place there.
        path: the page, written atomically, in the sweep's directory.
    """
    tables = {"measures": sweep_measures(document), "labels": labels_of(document), "shown": shown}
    content = {"figures": sweep_figures(document), "most": MOST_LINES} | tables
    _write("sweep.html.jinja", Numbers(document), content, path)


def _write(template: str, numbers: Numbers, content: Mapping[str, Any], path: Path) -> None:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": lambda data: b64encode(data).decode("ascii"), "rounded": rounded}
    environment.globals |= {"tables": page_tables, "registry": registry}
    environment.globals |= {"form_of": form_of, "undefined_draws": undefined_draws}
    page = environment.get_template(template).render(document=numbers.document, n=numbers, **content)
    with whole_file(path, durable=False) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
