from __future__ import annotations

import ast
import os
import pickle
import socket
from pathlib import Path

import pytest
from helpers.places import ROOT

from mammorisk.system.regular_files import NotRegular, check_regular, open_regular, read_regular, read_text

PACKAGE = ROOT / "mammorisk"
# Callers of such openers need no check of their own: bytes in memory, or a file that the same function has just made.
NO_PATHS = {
    "datasets/images.py:_decode": "bytes in memory",
    "weights/torch_files.py:__init__": "a file that is open",
    "weights/torch_files.py:_read_pickle": "a member of an archive",
    "weights/torch_files.py:_bytes": "a member of an archive",
    "system/atomic_files.py:_flush": "its own file",
    "system/regular_files.py:open_regular": "the check itself",
    "system/regular_files.py:read_regular": "the check itself",
    "preparation/raw_csv.py:_header": "called by _read, which checks",
    "preparation/raw_csv.py:_arrow_table": "called by _read, which checks",
    "dicom/reading.py:_read": "the first of its openings checks",
    "weights/reading.py:_note": "called by read_weights, which checks",
    "weights/loading.py:read_safetensors": "its callers have asked existing, which checks",
    "system/printing.py:prepare_streams": "nowhere",
    "system/printing.py:give_up": "nowhere",
}
READERS = ("read_bytes", "read_text", "read_csv", "dcmread", "safe_open", "load_file", "read_parquet", "memmap")


def special(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a socket", "a device"])
@pytest.mark.parametrize("read", [check_regular, open_regular, read_regular, read_text])
def test_only_regular_files_are_opened(tmp_path, kind, read):
    with pytest.raises(NotRegular, match=f"expected a regular file, found {kind}"):
        read(special(tmp_path, kind))


def test_a_link_to_a_file_is_one(tmp_path):
    (tmp_path / "a").write_text("é")
    (tmp_path / "b").symlink_to("a")
    assert read_text(tmp_path / "b") == "é"
    with open_regular(tmp_path / "b") as file:
        assert file.read() == "é".encode()
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "c")
    with pytest.raises(ValueError, match="null"):
        open_regular("a\0b")
    (tmp_path / "a").write_bytes(b"\xe9")
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "b")


def test_what_took_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    """A pipe that appears between the look and the opening, as nearly as a test can have it."""
    path = special(tmp_path, "a pipe")
    monkeypatch.setattr("mammorisk.system.regular_files.check_regular", lambda path: None)
    with pytest.raises(NotRegular):
        open_regular(path)


def test_it_crosses_processes_as_an_error_of_the_system(tmp_path):
    with pytest.raises(NotRegular) as caught:
        check_regular(tmp_path)
    other = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(other, OSError)
    assert "a folder" in str(other)


def openers(tree: ast.AST) -> list[tuple[str, int, bool]]:
    """Function, line, and whether the function checks, of each call that opens a path for reading."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        names = [ast.unparse(call.func) for call in calls]
        checks = any(name in ("check_regular", "open_regular", "read_regular") for name in names)
        for call, name in zip(calls, names, strict=True):
            if name == "read_text" or name.startswith(("regular", "unfinished.")):
                continue
            modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            is_open = (name == "open" or name.endswith(".open")) and not {"w", "wb", "a"} & set(modes)
            if is_open or name.rpartition(".")[2] in READERS or name in ("torch.load", "np.load"):
                found.append((function.name, call.lineno, checks))
    return found


def test_every_opening_of_a_path_is_checked():
    unchecked = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        for function, line, checks in openers(ast.parse(path.read_text(encoding="utf-8"))):
            if not checks and f"{name}:{function}" not in NO_PATHS:
                unchecked.append(f"{name}:{line} in {function}")
    assert unchecked == []


def test_an_opening_without_a_check_is_found():
    text = "def f(path):\n    return path.read_bytes()\ndef g(path):\n    check_regular(path)\n    pd.read_csv(path)"
    assert openers(ast.parse(text)) == [("f", 2, False), ("g", 5, True)]
