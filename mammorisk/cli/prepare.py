"""``mammorisk-prepare``: a checked table and 16-bit images from the downloads of a cohort."""

from __future__ import annotations

import importlib
import sys
from typing import cast

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from mammorisk.cli.main import run_command
from mammorisk.errors import UserError
from mammorisk.preparation.schemas import SplitConfig, register_prepare_schemas
from mammorisk.system.printing import prepare_streams, print_error, print_out

ACTIONS = {
    "cohort": "make the cohort table from the metadata of EMBED or CSAW-CC",
    "images": "turn DICOM files into 16-bit PNGs",
    "check": "check a cohort CSV, and with --images its images, without training",
}


MODULES = {
    "cohort": "mammorisk.preparation.make_cohort",
    "images": "mammorisk.preparation.images",
    "check": "mammorisk.preparation.check",
}


def main() -> None:
    """Entry point: the first word is the action, the others are Hydra's."""
    prepare_streams()
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word not in ACTIONS:
        _print_usage(word)
        sys.exit(0 if word in ("--help", "-h") else 2)
    del sys.argv[1]
    register_prepare_schemas()
    # imported late: help need not wait for pandas, OpenCV and pydicom
    action = importlib.import_module(MODULES[word])
    mistake = getattr(action, "MISTAKE", 1)
    try:
        sys.argv[1:] = action.as_overrides(sys.argv[1:])
    except UserError as error:
        print_error(f"\n{error}")
        sys.exit(mistake)
    run_command(TASKS[word], f"prepare_{word}", mistake)


def prepare_cohort(config: DictConfig) -> None:
    """Make the cohort table; with ``dicom_root`` its images, too, at the size that trainings will read.

    Raises:
        UserError: a setting, a table or a folder that a user has to correct.
    """
    from mammorisk.preparation.make_cohort import make_cohort

    _check_cohort_settings(config)
    split = cast(SplitConfig, OmegaConf.to_object(config.split))
    png = None if config.dicom_root is None else config.png
    table = make_cohort(config.dataset, config.raw, split, str(config.out), config.overwrite, png)
    if png is not None:
        images = compose("prepare_images")
        images.csv_file, images.dicom_root, images.out = str(table), config.dicom_root, png
        images.conversion.image_size = list(config.dataset.image_size)
        prepare_images(images)


def prepare_images(config: DictConfig) -> None:
    """Make the images of a table or of a folder of DICOM files; ends with status 3 if files were refused.

    Raises:
        UserError: a setting is missing or wrong, or nothing can be done at all.
    """
    from mammorisk.config_check import check_numbers
    from mammorisk.preparation.images import Source, convert

    check_numbers(config)
    root, out = (None if OmegaConf.is_missing(config, key) else config[key] for key in ("dicom_root", "out"))
    source = Source(root, config.csv_file, dict(config.columns))
    convert(source, out, config.conversion, config.on_error, config.num_workers)


def prepare_check(config: DictConfig) -> None:
    """Check the cohort of ``config.dataset``; ends with status 1 where there are problems.

    Raises:
        UserError: the check cannot be made: settings that are missing or wrong, or no such file.
    """
    from mammorisk.config_check import check_numbers
    from mammorisk.preparation.check import check

    check_numbers(config)
    check(config.dataset, config.images, str(config.chosen), config.out)


TASKS = {"cohort": prepare_cohort, "images": prepare_images, "check": prepare_check}


def _check_cohort_settings(config: DictConfig) -> None:
    from mammorisk.config_check import bad_numbers, component_problems

    problems = [f"{key} is not set: give {key}=PATH" for key in sorted(OmegaConf.missing_keys(config))]
    problems = [line for line in problems if not line.startswith("dataset.")]  # of training, not of this
    problems += component_problems(OmegaConf.to_container(config.raw, resolve=False), "raw")
    reported = {problem.partition("=")[0] for problem in problems}
    problems += [line for key, line in bad_numbers(config).items() if key not in reported]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"The configuration cannot be used:\n{lines}\n`--cfg job` prints every key with its value.")


def _print_usage(word: str) -> None:
    if word not in ("--help", "-h"):
        print_error(f"'{word}': expected {', '.join(ACTIONS)}.\n")
    actions = "\n".join(f"  {name:8} {text}" for name, text in ACTIONS.items())
    print_out(f"mammorisk-prepare ACTION key=value …\n\n{actions}\n")
    print_out("mammorisk-prepare ACTION --help prints the settings of an action.")


if __name__ == "__main__":
    main()
