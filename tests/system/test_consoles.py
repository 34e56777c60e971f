from __future__ import annotations

import io
import logging

from rich.table import Table

from mammorisk.system.consoles import PlainConsole, show

HOSTILE = "\x1b[31m[red]x[/red] :warning: [/] \u202e"
SHOWN = r"\x1b[31m[red]x[/red] :warning: [/] \u202e"


def table() -> Table:
    made = Table(title=HOSTILE)
    made.add_column(HOSTILE)
    made.add_row(HOSTILE)
    return made


def test_words_of_others_are_neither_markup_nor_obeyed(capsys):
    show(table(), HOSTILE, width=200)
    printed = capsys.readouterr().out
    assert printed.count(SHOWN) == 4
    assert "\x1b" not in printed


def test_styles_of_our_own_reach_a_terminal():
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, color_system="standard")
    console.print(HOSTILE, style="bold red")
    assert file.getvalue() == f"\x1b[1;31m{SHOWN}\x1b[0m\n"


def test_a_log_gets_no_colours(capsys, caplog, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with caplog.at_level(logging.DEBUG):
        show(table(), "line", width=200, log=logging.getLogger("some"))
    assert "line" in caplog.records[0].getMessage()
    assert "\x1b" not in caplog.records[0].getMessage()
    assert "line" in capsys.readouterr().out


def test_a_reader_that_has_gone_ends_nothing():
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console = PlainConsole(file=Gone())
    console.print("x")
    assert not console.is_terminal
