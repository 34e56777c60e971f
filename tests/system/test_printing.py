from __future__ import annotations

import ast
import subprocess
import sys

import pytest
from helpers.places import ROOT
from helpers.training_runs import environment

from mammorisk.system.printing import cited, printable

PACKAGE = ROOT / "mammorisk"
HOSTILE = "a\x1b[31m\x07\r\x9b2J\u202e\u2066\u200b\udcff\x00b\u2028"
SAFE = r"a\x1b[31m\x07\r\x9b2J\u202e\u2066\u200b\xff\x00b\u2028"
ALL_ENDS = """
import sys
from mammorisk.system.printing import prepare_streams, print_out, print_error, print_result
from mammorisk.errors import UserError
prepare_streams()
try:
    {"print_out": print_out, "print_result": print_result, "print_error": print_error}[sys.argv[1]](sys.argv[2])
except UserError as error:
    print_error(str(error))
    sys.exit(1)
"""


def run(how: str, text: str | bytes, redirected: str = "", **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Print by ``how`` in a process of its own, its streams as a shell redirects them."""
    command = ["bash", "-c", f'exec "$@" {redirected}', "bash", sys.executable, "-c", ALL_ENDS, how, text]
    return subprocess.run(command, capture_output=True, check=False, env=environment(**variables), timeout=60)


def test_nothing_that_a_terminal_obeys_is_left():
    assert printable(f"{HOSTILE}\n\té ★ —") == f"{SAFE}\n\té ★ —"
    assert cited(f"{HOSTILE}\n\té ★ —") == rf"{SAFE}\n\té ★ —"
    assert printable(printable(HOSTILE)) == SAFE
    assert cited("abcdef", 3) == "abc…"
    left = [chr(code) for code in range(sys.maxunicode + 1) if not printable(chr(code)).isprintable()]
    assert [letter for letter in left if letter not in "\n\t"] == [
        letter for letter in left if letter.isspace() and letter not in "\n\t\x1c\x1d\x1e\x1f\x85\u2028\u2029"
    ]  # blanks of a width


@pytest.mark.parametrize("how", ["print_out", "print_error", "print_result"])
def test_an_ascii_stream_takes_any_text(how):
    done = run(how, "é…★ \x1b[2J", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert (done.stderr if how == "print_error" else done.stdout).strip() == rb"\xe9\u2026\u2605 \x1b[2J"
    plain = run(how, "é", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert plain.returncode == 0


def test_a_file_name_of_any_bytes_is_printed():
    assert run("print_out", b"caf\xe9").stdout == b"caf\\xe9\n"


@pytest.mark.parametrize(("redirected", "why"), [(">/dev/full", b"No space left"), (">&-", b"it is closed")])
def test_a_lost_output_fails_only_what_was_asked_for(redirected, why):
    told = run("print_out", "done", redirected)
    assert told.returncode == 0
    assert why in told.stderr
    assert len(told.stderr.splitlines()) == 1
    asked = run("print_result", "{}", redirected)
    assert asked.returncode == 1
    assert why in asked.stderr
    assert b"is lost" in asked.stderr
    assert b"Traceback" not in asked.stderr


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "| true"])
def test_errors_that_nobody_can_read_change_no_status(redirected):
    for how in ("print_error", "print_out"):
        done = run(how, "done", redirected)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


def test_a_stack_trace_and_a_warning_are_printable():
    code = "from mammorisk.system.printing import prepare_streams\nprepare_streams()\nimport warnings\n"
    code += "warnings.warn('w\\x1b[31m')\nraise ValueError('e\\x1b[2J')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert r"w\x1b[31m" in done.stderr
    assert r"ValueError: e\x1b[2J" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_closed_stream_does_not_become_the_next_file(tmp_path):
    code = "from mammorisk.system.printing import prepare_streams\nprepare_streams()\nimport os\n"
    code += f"file = open({str(tmp_path / 'f')!r}, 'w')\nos.write(1, b'x')\nfile.close()"
    done = subprocess.run(["bash", "-c", 'exec "$@" >&-', "bash", sys.executable, "-c", code], check=False)
    assert done.returncode == 0
    assert (tmp_path / "f").read_text() == ""


def test_all_text_goes_one_way():
    """No module prints by itself, nor with a console of rich's that takes markup of other people's."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in ("printing.py", "consoles.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "Console", "rich.print", "sys.stdout.write", "sys.stderr.write"):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {called}")
            if called.endswith("print_exception") or called.endswith("print_exc"):
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {called}")
    assert found == []
