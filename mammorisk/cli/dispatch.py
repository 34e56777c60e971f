"""``mammorisk COMMAND …``: all commands behind one name; ``mammorisk train`` is ``mammorisk-train``."""

from __future__ import annotations

import difflib
import importlib
import os
import sys

from mammorisk.system.printing import prepare_streams, print_error, print_out
from mammorisk.version import __version__

COMMANDS = {  # name: module with a ``main``, and its purpose
    "train": ("mammorisk.cli.train", "train a risk model"),
    "register": ("mammorisk.cli.register", "train, evaluate or precompute the registration of exams"),
    "prepare": ("mammorisk.cli.prepare", "make and check a cohort table and its images"),
    "phantom": ("mammorisk.cli.phantom", "write a synthetic cohort"),
    "evaluate": ("mammorisk.cli.evaluate", "measure a trained model on a split"),
    "compare": ("mammorisk.cli.compare", "compare trained models on the same samples"),
    "predict": ("mammorisk.cli.predict", "predict the risks of exams without outcomes"),
    "import-weights": ("mammorisk.cli.import_weights", "convert published weights"),
    "sweep-report": ("mammorisk.cli.sweep_report", "table and page of all jobs of a sweep"),
    "requeue": ("mammorisk.cluster.requeue", "have Slurm start a stopped training again"),
}


def main() -> None:
    """Run the command that the first word names, as its own script would with the other words."""
    prepare_streams()
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("--help", "-h"):
        print_out(usage())
        sys.exit(0)
    if word == "--version":
        print_out(f"mammorisk {__version__}")
        sys.exit(0)
    if word not in COMMANDS:
        close = difflib.get_close_matches(word, COMMANDS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        print_error(f"mammorisk has no command '{word}'.{hint}\n\n{usage()}")
        sys.exit(2)
    # The script's own name: Hydra names the job by it, and installs tab completion for it.
    sys.argv = [os.path.join(os.path.dirname(sys.argv[0]), f"mammorisk-{word}"), *sys.argv[2:]]  # noqa: PTH118, PTH120
    importlib.import_module(COMMANDS[word][0]).main()


def usage() -> str:
    """The usage text: a line for each command."""
    lines = "\n".join(f"  {name:15} {purpose}" for name, (_, purpose) in COMMANDS.items())
    return (
        f"mammorisk COMMAND key=value …\n\n{lines}\n\n"
        "mammorisk COMMAND --help prints the settings of a command; mammorisk --version the version."
    )
