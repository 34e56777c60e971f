"""``mammorisk-prepare``: from the downloads of a cohort to a checked table and 16-bit images."""

from __future__ import annotations

import importlib
import sys

from mammorisk.cli.main import run_command
from mammorisk.errors import UserError
from mammorisk.preparation.schemas import register_prepare_schemas
from mammorisk.system.printing import prepare_streams, say, tell

ACTIONS = {
    "cohort": "make the cohort table from the metadata of EMBED or CSAW-CC",
    "images": "turn DICOM files into 16-bit PNGs",
    "check": "check a cohort CSV, and with --images its images, without training",
}


def main() -> None:
    """Entry point: the first word says what is to be done, the others are Hydra's."""
    prepare_streams()
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word not in ACTIONS:
        _say_usage(word)
        sys.exit(0 if word in ("--help", "-h") else 2)
    del sys.argv[1]
    register_prepare_schemas()
    # pandas, OpenCV and pydicom only now, and only those of the action: help answers at once
    action = importlib.import_module(f"mammorisk.preparation.{word}")
    mistake = getattr(action, "MISTAKE", 1)
    try:
        sys.argv[1:] = action.as_overrides(sys.argv[1:])
    except UserError as error:
        tell(f"\n{error}")
        sys.exit(mistake)
    run_command(action.run, f"prepare_{word}", mistake)


def _say_usage(word: str) -> None:
    if word not in ("--help", "-h"):
        tell(f"'{word}': expected {', '.join(ACTIONS)}.\n")
    actions = "\n".join(f"  {name:8} {text}" for name, text in ACTIONS.items())
    say(f"mammorisk-prepare ACTION key=value …\n\n{actions}\n")
    say("mammorisk-prepare ACTION --help prints the settings of an action.")


if __name__ == "__main__":
    main()
