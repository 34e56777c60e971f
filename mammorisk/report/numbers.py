"""Numbers of a JSON document as HTML, each with its place in the document and its format."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mammorisk.metrics.definitions import PLAIN
from mammorisk.metrics.registry import find_measure

COUNT = ","  # Python's format


def form_of(measure: str) -> str:
    """The format of a measure's values; three digits for measures outside of the registry, as those of trainings."""
    known = find_measure(measure)
    return PLAIN if known is None else known.form


def rounded(value: float, form: str) -> str:
    """A number for readers: rounded, with a true minus sign.

    Zero has no sign: "−0.000" would suggest that the side is known.
    """
    text = format(value, form)
    if text.startswith("-") and not any(digit in text for digit in "123456789"):
        text = text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


class Numbers:
    """Numbers of one document as HTML.

    Each becomes ``<span data-key data-value data-form>``: its JSON pointer (RFC 6901), its full precision, and the
    format that makes the text of the value. A test compares all of them with the document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def at(self, *path: str | int) -> Any:
        """The value at a path; None if there is none."""
        found: Any = self.document
        for step in path:
            try:
                found = found[step]
            except (KeyError, IndexError, TypeError):
                return None
        return found

    def show(self, *path: str | int, form: str = PLAIN, why: str = "not defined here") -> Markup:
        """The number at a path.

        Args:
            path: keys and positions.
            form: Python's format.
            why: the reason behind the dash if there is no number.
        """
        value, key = self.at(*path), pointer(*path)
        if not is_number(value):
            return Markup('<span class="none" data-key="{}">\N{EN DASH} <small>{}</small></span>').format(key, why)
        template = '<span class="n" data-key="{}" data-value="{}" data-form="{}">{}</span>'
        return Markup(template).format(key, repr(value), form, rounded(value, form))

    def interval(self, *path: str | int, form: str = PLAIN, why: str = "not defined here") -> Markup:
        """The estimate at a path with its interval: ``0.712 (0.650 to 0.768)``."""
        if not is_number(self.at(*path, "estimate")):
            return self.show(*path, "estimate", form=form, why=why)
        estimate = self.show(*path, "estimate", form=form)
        if not (is_number(self.at(*path, "low")) and is_number(self.at(*path, "high"))):
            return Markup("{} <small>no interval: too few bootstrap samples define it</small>").format(estimate)
        low, high = (self.show(*path, end, form=form) for end in ("low", "high"))
        return Markup('{} <span class="ci">({} to {})</span>').format(estimate, low, high)


def is_number(value: Any) -> bool:
    """Whether a value of a document is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def pointer(*path: str | int) -> str:
    """A path as JSON pointer (RFC 6901)."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)
