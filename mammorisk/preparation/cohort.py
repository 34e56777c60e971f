"""``mammorisk-prepare cohort``: from the tables of a download to a cohort CSV that ``mammorisk-train`` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import hydra
import pandas as pd
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from mammorisk.config import DatasetConfig
from mammorisk.config_check import bad_numbers, component_problems
from mammorisk.errors import UserError
from mammorisk.preparation import provenance
from mammorisk.preparation.leakage import check_table, named_for
from mammorisk.preparation.prepared import Download, Prepared
from mammorisk.preparation.schemas import SplitConfig
from mammorisk.preparation.splits import split_patients
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.printing import say


def as_overrides(words: list[str]) -> list[str]:
    """The command line's words; all of them are Hydra's."""
    return words


def run(config: DictConfig) -> None:
    """Read the download, write table, record and attrition table, and say what they hold.

    Raises:
        UserError: a setting or a table that a user has to mend.
    """
    _check_settings(config)
    out = provenance.checked_out(str(config.out))
    options, console = options_of(config), PlainConsole(stderr=True)
    download = cast(Download, hydra.utils.instantiate(config.raw))
    provenance.check_inputs_apart(out, download.files)
    if not config.overwrite:
        provenance.refuse_other(out, options)
    with ThreadPoolExecutor(1) as pool, console.status("Reading the download …"):
        hashes = pool.submit(_hashes, download.files)  # while the tables are parsed
        prepared = _prepared(download, hashes)
    images = with_splits(prepared, cast(SplitConfig, OmegaConf.to_object(config.split)))
    notices = check_table(images)
    table = named_for(images, cast(DatasetConfig, config.dataset), out)
    record = provenance.record_of(images, prepared.attrition, options, hashes.result())
    with console.status(f"Writing {out} …"):
        is_new = provenance.write_all(table, out, record, prepared.attrition, config.overwrite)
    say(str(prepared.attrition).rstrip())
    for notice in notices:
        say(f"Notice: {' '.join(str(notice).splitlines())}")
    say(summary(config, out, record, is_new))
    if config.dicom_root is not None:
        make_images(config, out)


def make_images(config: DictConfig, table: Path) -> None:
    """Do what ``mammorisk-prepare images`` does with the written table, at the size that trainings will read.

    Raises:
        UserError: a folder is missing or wrong.
    """
    from mammorisk.preparation import images  # pydicom only where it is needed

    settings = compose("prepare_images")
    settings.csv_file, settings.dicom_root, settings.out = str(table), config.dicom_root, config.png
    settings.conversion.image_size = list(config.dataset.image_size)
    images.run(settings)


def options_of(config: DictConfig) -> dict[str, Any]:
    """Every setting that the table depends on; the places of its inputs are left out, their hashes tell more."""
    raw = cast(dict[str, Any], OmegaConf.to_container(config.raw, resolve=True))  # of a schema that is a mapping
    places = ("metadata", "clinical", "csv")
    return {
        "dataset": str(config.dataset.name),
        "raw": {str(key): value for key, value in raw.items() if key not in places},
        "split": OmegaConf.to_container(config.split, resolve=True),
        "columns": OmegaConf.to_container(config.dataset.columns, resolve=True),
    }


def with_splits(prepared: Prepared, split: SplitConfig) -> pd.DataFrame:
    """The images with their ``split``.

    Raises:
        UserError: nothing is left, or a split would have no cases.
    """
    images = prepared.images
    if images.empty:
        raise UserError(f"No usable image is left:\n{prepared.attrition}")
    try:
        return images.assign(split=split_patients(images["patient_id"], images["years_to_cancer"].notna(), split))
    except UserError as error:
        raise UserError(f"{error}\n\n{prepared.attrition}") from error


def summary(config: DictConfig, out: Path, record: Mapping[str, Any], is_new: bool) -> str:
    """What the table holds, and the next commands."""
    lines = [f"{out} {'holds' if is_new else 'held this table already:'}"]
    for name, counts in record["counts"].items():
        lines.append(
            f"  {name:5} {counts['patients']:,} women ({counts['patients_with_cancer']:,} with cancer), "
            f"{counts['exams']:,} exams, {counts['images']:,} images"
        )
    lines.append(f"How it was made: {out.with_suffix('.json').name}; who was left out: {out.stem}_attrition.csv")
    folder = config.png if config.dicom_root is not None else "png"
    if config.dicom_root is None:
        lines.append("Next, the images, then a training:")
        lines.append(f"  mammorisk-prepare images {out} dicom_root=… out={folder}")
    else:
        lines.append("Next, once the images are made:")
    train = (
        f"  mammorisk-train model=mirai dataset={config.dataset.name} dataset.csv_file={out} dataset.data_root={folder}"
    )
    return "\n".join([*lines, train])


def _check_settings(config: DictConfig) -> None:
    problems = [f"{key} is not set: give {key}=PATH" for key in sorted(OmegaConf.missing_keys(config))]
    problems = [line for line in problems if not line.startswith("dataset.")]  # of training, not of this
    problems += component_problems(OmegaConf.to_container(config.raw, resolve=False), "raw")
    told = {problem.partition("=")[0] for problem in problems}
    problems += [line for key, line in bad_numbers(config).items() if key not in told]
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"The configuration cannot be used:\n{lines}\n`--cfg job` prints every key with its value.")


def _prepared(download: Download, hashes: Future[dict[str, str]]) -> Prepared:
    try:
        return download.prepare()
    finally:
        hashes.exception()  # wait: a message about a file must not be cut by a thread that reads it


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {file.name: provenance.sha256_of(file) for file in files}
