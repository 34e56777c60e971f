"""Refusal of code that Hydra would run before a command starts: plug-ins of the working folder, and pickles.

Hydra imports every module in every package called ``hydra_plugins`` that Python finds. ``python -m`` and ``python -c``
look in the working folder first, which may be somebody else's. Any other module is imported only by its name; plug-ins
are imported without one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import all_suffixes
from pathlib import Path

from mammorisk.errors import UserError

ALLOW = "MAMMORISK_PLUGINS"  # environment variable
CWD = "cwd"  # its value
PACKAGE = "hydra_plugins"
_RERUN = "--experimental-rerun"
_SHORTEST = len("--e")  # by which Hydra's parser knows it


def check_start(words: Sequence[str]) -> None:
    """Refuse all but our own, installed and requested plug-ins; call this before Hydra looks for plug-ins.

    Args:
        words: of the command line.

    Raises:
        UserError: there are plug-ins in the working folder, or a pickle is to be read.
    """
    for word in words:
        name = word.partition("=")[0]
        if len(name) >= _SHORTEST and _RERUN.startswith(name):
            raise UserError(
                f"{word}: Hydra's {_RERUN} is refused: it reads a pickle, and a pickle runs whatever is in it.\n"
                "Give the settings of the run again (.hydra/overrides.yaml in its directory); "
                "trainer.resume_from=auto continues a training."
            )
    found = foreign_plugins()
    asked = os.environ.get(ALLOW)
    if asked not in (None, "", CWD):
        raise UserError(f"{ALLOW}={asked}: expected {CWD}, or nothing.")
    if found and asked != CWD:
        raise UserError(
            f"{found[0]}: Hydra would run the modules in it, since Python looks for modules in the working folder.\n"
            f"None of them has run. Start from another folder, or with the command itself instead of `python -m`; if "
            f"these plug-ins are yours, set {ALLOW}={CWD} or put their folder into PYTHONPATH."
        )


def foreign_plugins() -> list[Path]:
    """Plug-ins that Python finds in the working folder, neither ours nor named by PYTHONPATH. Nothing is imported."""
    ours, cwd = Path(__file__).resolve().parents[2], Path.cwd().resolve()
    if cwd == ours or cwd in _chosen():
        return []
    is_searched = any(Path(entry or ".").resolve() == cwd for entry in sys.path)
    return list(_packages(cwd)) if is_searched else []


def _chosen() -> set[Path]:
    """Folders that PYTHONPATH names; an empty part of it, as in ``PYTHONPATH=$NOT_SET:/x``, names none."""
    return {Path(part).resolve() for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part}


def _packages(folder: Path) -> Iterator[Path]:
    for name in (PACKAGE, *(f"{PACKAGE}{suffix}" for suffix in all_suffixes())):
        if os.path.lexists(folder / name):
            yield folder / name
