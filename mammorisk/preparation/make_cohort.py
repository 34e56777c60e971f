"""``mammorisk-prepare cohort``: the tables of a download to a cohort CSV for ``mammorisk-train``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import hydra
import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mammorisk.config import DatasetConfig
from mammorisk.errors import UserError
from mammorisk.preparation import provenance
from mammorisk.preparation.leakage import check_table, named_for
from mammorisk.preparation.prepared import Download, Prepared
from mammorisk.preparation.schemas import SplitConfig
from mammorisk.preparation.splits import split_patients
from mammorisk.system.consoles import PlainConsole
from mammorisk.system.printing import print_out


def as_overrides(words: list[str]) -> list[str]:
    """Hydra's overrides for the words of a command line: the words themselves."""
    return words


def make_cohort(
    dataset: DatasetConfig, raw: Any, split: SplitConfig, out: str, overwrite: bool = False, png: str | None = None
) -> Path:
    """Read the download, write table, record and attrition table, and print a summary.

    Args:
        dataset: settings with the names of the columns.
        raw: component that reads the download, not built yet.
        split: how women are divided.
        out: CSV to write.
        overwrite: replace another table of this name.
        png: folder of the images if they are made next; None: they are not.

    Returns:
        The table's path.

    Raises:
        UserError: a setting or a table is wrong.
    """
    table_file = provenance.checked_out(out)
    options, console = options_of(dataset, raw, split), PlainConsole(stderr=True)
    download = cast(Download, hydra.utils.instantiate(raw))
    provenance.check_inputs_apart(table_file, download.files)
    if not overwrite:
        provenance.refuse_other(table_file, options)
    with ThreadPoolExecutor(1) as pool, console.status("Reading the download …"):
        hashes = pool.submit(_hashes, download.files)  # while the tables are parsed
        prepared = _prepared(download, hashes)
    images = with_splits(prepared, split)
    notices = check_table(images)
    table = named_for(images, dataset, table_file)
    record = provenance.record_of(images, prepared.attrition, options, hashes.result())
    with console.status(f"Writing {table_file} …"):
        is_new = provenance.write_all(table, table_file, record, prepared.attrition, overwrite)
    print_out(str(prepared.attrition).rstrip())
    for notice in notices:
        print_out(f"Notice: {' '.join(str(notice).splitlines())}")
    print_out(summary(str(dataset.name), table_file, record, is_new, png))
    return table_file


def options_of(dataset: DatasetConfig, raw: Any, split: SplitConfig) -> dict[str, Any]:
    """Settings that the table depends on, without the paths of its inputs: their hashes identify them."""
    reader = cast(dict[str, Any], OmegaConf.to_container(raw, resolve=True))  # of a schema that is a mapping
    places = ("metadata", "clinical", "csv")
    return {
        "dataset": str(dataset.name),
        "raw": {str(key): value for key, value in reader.items() if key not in places},
        "split": asdict(split),
        "columns": OmegaConf.to_container(cast(DictConfig, dataset.columns), resolve=True),
    }


def with_splits(prepared: Prepared, split: SplitConfig) -> pd.DataFrame:
    """Add ``split`` to the images.

    Raises:
        UserError: no image is left, or a split would have no cases.
    """
    images = prepared.images
    if images.empty:
        raise UserError(f"No usable image is left:\n{prepared.attrition}")
    try:
        return images.assign(split=split_patients(images["patient_id"], images["years_to_cancer"].notna(), split))
    except UserError as error:
        raise UserError(f"{error}\n\n{prepared.attrition}") from error


def summary(dataset: str, out: Path, record: Mapping[str, Any], is_new: bool, png: str | None = None) -> str:
    """Summary of the table, and the next commands.

    Args:
        dataset: name of the dataset's settings.
        out: the table.
        record: of its options, counts and inputs.
        is_new: whether it was written now.
        png: folder of the images if they are made next.
    """
    lines = [f"{out} {'holds' if is_new else 'held this table already:'}"]
    for name, counts in record["counts"].items():
        lines.append(
            f"  {name:5} {counts['patients']:,} women ({counts['patients_with_cancer']:,} with cancer), "
            f"{counts['exams']:,} exams, {counts['images']:,} images"
        )
    lines.append(f"How it was made: {out.with_suffix('.json').name}; who was left out: {out.stem}_attrition.csv")
    folder = "png" if png is None else png
    if png is None:
        lines.append("Next, the images, then a training:")
        lines.append(f"  mammorisk-prepare images {out} dicom_root=… out={folder}")
    else:
        lines.append("Next, once the images are made:")
    train = f"  mammorisk-train model=mirai dataset={dataset} dataset.csv_file={out} dataset.data_root={folder}"
    return "\n".join([*lines, train])


def _prepared(download: Download, hashes: Future[dict[str, str]]) -> Prepared:
    try:
        return download.prepare()
    finally:
        hashes.exception()  # wait: a message about a file must not be cut by a thread that reads it


def _hashes(files: Sequence[Path]) -> dict[str, str]:
    return {file.name: provenance.sha256_of(file) for file in files}
