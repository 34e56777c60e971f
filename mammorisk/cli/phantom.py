"""``mammorisk-phantom``: write a phantom cohort into a folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.config_check import check_numbers
from mammorisk.datasets.phantom.formats import IMAGES
from mammorisk.datasets.phantom.phantom_cohort import TABLE, PhantomCohort, read_record
from mammorisk.errors import UserError
from mammorisk.system.printing import print_error, print_out


def main() -> None:
    """Entry point."""
    run_command(write_phantom, "write_phantom")


def write_phantom(config: DictConfig) -> None:
    """Write the cohort into ``config.out``; print its counts and the command that trains on it.

    Raises:
        UserError: no ``out``, a setting out of range, or a folder that holds something else.
    """
    if OmegaConf.is_missing(config, "out"):
        raise UserError(
            "out is not set: give the folder to write the cohort to, for example\n"
            "  mammorisk-phantom out=data/my_phantom num_women=300 image_height=64"
        )
    check_numbers(config)
    folder = Path(str(config.out))
    cohort = phantom_from(config)
    start = time.monotonic()
    try:
        is_new = cohort.write_to(folder)
    except KeyboardInterrupt:
        print_error(f"\ninterrupted; nothing was kept of {folder}")
        sys.exit(130)
    took = f"in {time.monotonic() - start:.0f} s" if is_new else "already, nothing was written"
    print_out(summary(cohort, folder, took))


def phantom_from(config: DictConfig) -> PhantomCohort:
    """The cohort that a composed config describes.

    Raises:
        UserError: a setting is out of range.
    """
    node = OmegaConf.masked_copy(config, [str(key) for key in config if key != "out"])
    try:
        cohort: PhantomCohort = instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    return cohort


def summary(cohort: PhantomCohort, folder: Path, took: str) -> str:
    """Counts of a written cohort, and the next command."""
    counts = read_record(folder.expanduser())["counts"]
    return (
        f"{folder} holds the cohort {took}: {counts['women']:,} women ({counts['cases']:,} with cancer), "
        f"{counts['exams']:,} exams, {counts['images']:,} images of {cohort.image_height} x {cohort.image_width} "
        f"pixels.\nTrain on it:\n  {training_command(cohort, folder)}"
    )


def training_command(cohort: PhantomCohort, folder: Path) -> str:
    """The command that trains a model on a cohort written to ``folder``."""
    is_own = cohort.format == "own"
    words = ["mammorisk-train", "model=lmv_net", f"dataset={'phantom' if is_own else cohort.format}"]
    if is_own:
        words.append("dataset.generator=null")
    words.append(f"dataset.csv_file={folder / TABLE}")
    words.append(f"dataset.data_root={folder if is_own else folder / IMAGES}")
    words.append(f"'dataset.image_size=[{cohort.image_height},{cohort.image_width}]'")
    return " ".join(words)


if __name__ == "__main__":
    main()
