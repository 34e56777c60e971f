"""``predict``: risks of the exams of a CSV or a data frame, for notebooks and for ``mammorisk-predict``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammorisk.distributed.collectives import broadcast_object
from mammorisk.distributed.errors import run_main_first, run_on_main_rank
from mammorisk.prediction.exams import Exams, left_out, read_exams, remarks
from mammorisk.prediction.loaded_model import TrainedModel, load_model
from mammorisk.prediction.recalibration import Recalibration, apply, read_recalibration
from mammorisk.prediction.settings import prediction_config
from mammorisk.prediction.splits import RISK_COLUMNS, predict_split
from mammorisk.training.data_module import decode_images, with_sources

_IDS = {"exam": [], "breast": ["laterality"], "image": ["laterality", "view"]}


def predict(
    model: TrainedModel | str | Path,
    exams: str | Path | pd.DataFrame,
    data_root: str | Path | None = None,
    dataset: Mapping[str, Any] | None = None,
    recalibration: str | Path | None = None,
    allow_modules: Sequence[str] = (),
) -> pd.DataFrame:
    """The risk of cancer within 1 to 5 years of every sample in a table of exams. Collective.

    Outcomes and splits are neither needed nor read. Risks are the same to the last bit for any batch size and number of
    workers, threads and processes.

    Args:
        model: from ``load_model``, or a checkpoint's path.
        exams: a CSV with one row per image, or a data frame of that form (identifiers as text).
        data_root: folder of the images; None: that of the CSV, or for a data frame the current one.
        dataset: keys of ``dataset`` that differ from the training's: ``{"columns": {"view": "ViewPosition"}}``.
        recalibration: a file that ``mammorisk-evaluate recalibrate=…`` wrote, whose scales are applied to the risks.
        allow_modules: as ``load_model``'s.

    Returns:
        A row per sample in the order of the table: sample_id, patient_id, exam_id, laterality (of models of a breast or
        view), view (of models of a view), risk_1y ... risk_5y; and reason: why a sample was not scored (its risks are
        NaN), or what was missing for a scored one; else "".

    Raises:
        UserError: the checkpoint, the table or the recalibration cannot be used at all: no such file, missing columns,
            no rows.
    """
    # Read before the model, so that an error shows at once.
    scales = None if recalibration is None else read_recalibration(recalibration)
    trained = model if isinstance(model, TrainedModel) else load_model(model, allow_modules=allow_modules)
    if isinstance(exams, pd.DataFrame):
        with _as_csv(exams) as csv_file:
            return _predict(trained, csv_file, Path(data_root or Path.cwd()), dataset or {}, scales)
    return _predict(trained, Path(exams), None if data_root is None else Path(data_root), dataset or {}, scales)


def _predict(
    model: TrainedModel, csv_file: Path, root: Path | None, overrides: Mapping[str, Any], scales: Recalibration | None
) -> pd.DataFrame:
    root = None if root is None else root.expanduser()
    config = run_on_main_rank(lambda: prediction_config(model, csv_file.expanduser(), root, overrides))
    found = run_on_main_rank(lambda: read_exams(config.dataset, model.inputs))
    risk: npt.NDArray[Any] = np.empty((0, len(RISK_COLUMNS)), dtype=np.float32)
    if found.table is not None and found.samples is not None:
        table, samples = found.table, found.samples
        split = run_main_first(lambda: with_sources(table, samples, config.dataset, model.network))
        config.dataset.num_workers = min(config.dataset.num_workers, len(samples) - 1)  # none for a single one
        store = decode_images([split], config.dataset)
        scored = predict_split(model.network, split, config.dataset, config.seed, model.device, store).risk
        risk = scored if scales is None else apply(scales, scored)
    return _result(found, risk, model)


def _result(found: Exams, risk: np.ndarray, model: TrainedModel) -> pd.DataFrame:
    """Scored samples and those left out, in the order of the CSV."""
    scored = pd.DataFrame(dict(zip(RISK_COLUMNS, risk.T, strict=True))).assign(sample_id=found.scored)
    scored["reason"] = [] if found.samples is None else remarks(found, model.inputs).to_numpy()
    everything = pd.concat([scored, left_out(found, model.inputs)])
    names = ["sample_id", "patient_id", "exam_id", *_IDS[model.inputs.unit]]
    ids = found.rows.drop_duplicates("sample_id")[names]
    return ids.merge(everything, on="sample_id", validate="one_to_one")[[*names, *RISK_COLUMNS, "reason"]]


@contextmanager
def _as_csv(frame: pd.DataFrame) -> Iterator[Path]:
    """Write a data frame as a CSV that all processes can read."""
    with tempfile.TemporaryDirectory(prefix="mammorisk-") as folder:
        path = Path(broadcast_object(folder)) / "exams.csv"
        run_on_main_rank(lambda: frame.to_csv(path, index=False, encoding="utf-8"))
        yield path
