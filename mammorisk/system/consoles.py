"""Consoles of rich for untrusted text: markup, emoji codes and control characters in it have no effect."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from mammorisk.system.printing import give_up, print_result_safely, printable, write_safe


class PlainConsole(Console):
    """Console that prints strings literally and escapes control characters; only mammorisk sets styles.

    Args:
        settings: of rich's console.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render to segments of printable text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Convert a string to rich's text, made printable before its width is measured."""
        return super().render_str(printable(text), **settings)

    def on_broken_pipe(self) -> None:
        """Continue after a broken pipe; rich would end the process."""
        give_up(self.file)  # type: ignore[arg-type]


class _Page(io.StringIO):
    """Buffer of a console's output that has the properties of standard output."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of standard output; it decides the characters of tables."""
        return getattr(sys.stdout, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether standard output is a terminal; it decides about colours."""
        return sys.stdout is not None and sys.stdout.isatty()


def show(
    *parts: RenderableType,
    width: int | None = None,
    log: logging.Logger | None = None,
    unbroken: bool = False,
    only_here: bool = False,
) -> None:
    """Print tables and lines on standard output, and into a log.

    Args:
        parts: renderables; a string is never wrapped.
        width: columns; None: the terminal's.
        log: receives the same text without colours.
        unbroken: wrap no line of any part.
        only_here: no file holds the parts.

    Raises:
        UserError: standard output is full or closed, and the parts are ``only_here``.
    """
    page = _Page()
    console = PlainConsole(file=page, width=width)
    for part in parts:
        console.print(part, soft_wrap=unbroken or isinstance(part, str))
    text = page.getvalue()
    if log is not None:
        log.debug("%s", Text.from_ansi(text).plain)
    if only_here:
        print_result_safely(text)
    else:
        write_safe(text)
