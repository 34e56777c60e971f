"""``mammorisk.evaluate``: every measure of a checkpoint on a split, for notebooks and for the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mammorisk.config import DatasetConfig
from mammorisk.distributed.errors import run_main_first, run_on_main_rank
from mammorisk.distributed.launch import is_main_rank
from mammorisk.evaluation.evaluation_files import PAGE, write_evaluation
from mammorisk.evaluation.metrics_document import metrics_document, recalibrated_document
from mammorisk.evaluation.recalibration_fit import fit_recalibration, write_recalibration
from mammorisk.evaluation.score_splits import Scored, score
from mammorisk.evaluation.settings import AS_TRAINED, EvaluationSettings, check_split, cohort_note, evaluation_config
from mammorisk.evaluation.trained_checkpoint import Trained, load_trained, use_caches
from mammorisk.runs.logs import LOGGER
from mammorisk.system.printing import print_error


def evaluate(
    checkpoint: str | Path, split: str = "test", folder: str | Path | None = None, **settings: Any
) -> dict[str, Any]:
    """Every measure of a trained model on a split, with intervals: the content of ``metrics.json``.

    Args:
        checkpoint: of a training, or its run directory. The cohort that a checkpoint names is read only if its run
            directory is given, or with ``cohort="as_trained"``.
        split: train, val or test.
        folder: where predictions, measures and the page are written; None: nowhere.
        **settings: ``dataset={"csv_file": …}``, ``cohort="csaw"``, ``bootstrap_samples``, … (``EvaluationSettings``).

    Raises:
        UserError: anything about checkpoint, settings or cohort that a user has to correct.
    """
    check_split(split)
    chosen = EvaluationSettings.of(settings)
    trained = run_main_first(lambda: load_trained(checkpoint, allow_modules=chosen.allow_modules))
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    return evaluate_trained(trained, split, chosen, None if folder is None else Path(folder))[0]


def evaluate_trained(
    trained: Trained, split: str, settings: EvaluationSettings, folder: Path | None
) -> tuple[dict[str, Any], Scored]:
    """The measures and the scored split. Collective; the main process measures and writes.

    Raises:
        UserError: as ``evaluate``.
    """
    dataset = run_main_first(lambda: evaluation_config(trained.config, settings, trained.is_run)).dataset
    use_caches(trained.network, settings.encoder_cache, settings.registration_cache)
    device = torch.device("cuda" if torch.cuda.is_available() and not settings.cpu else "cpu")
    if settings.cohort in (None, AS_TRAINED) and is_main_rank():
        (LOGGER.info if LOGGER.handlers else print_error)(cohort_note(dataset))  # before any of it is opened
    splits = [split] if settings.recalibrate is None else list(dict.fromkeys([split, "val"]))
    scored = score(trained.network, dataset, trained.config.seed, splits, device, settings.population_incidence)
    part = scored[split]
    for note in part.cohort.notes if is_main_rank() else ():
        LOGGER.info("%s", note)
    LOGGER.info("%s\n%s", part.cohort.csv_file, str(part.cohort.attrition).rstrip())
    LOGGER.info(
        "%s: %d samples scored; measuring with %d bootstrap samples",
        split,
        len(part.split.table),
        settings.bootstrap_samples,
    )

    def measured() -> dict[str, Any]:
        metrics = metrics_document(trained, dataset, part, split, settings)
        if settings.recalibrate is not None:
            metrics["recalibrated"] = _recalibrate(trained, scored, split, settings)
        if folder is not None:
            write_evaluation(folder, part.split.table, metrics)
            _write_page(folder, metrics, trained, part, dataset, settings.examples)
        return metrics

    return run_on_main_rank(measured), part


def _recalibrate(
    trained: Trained, scored: dict[str, Scored], split: str, settings: EvaluationSettings
) -> dict[str, Any]:
    """Fit scales on validation, write them beside the checkpoint, and measure the recalibrated split."""
    method, part, val = str(settings.recalibrate), scored[split], scored["val"]
    scales = fit_recalibration(method, val.split)
    path = trained.checkpoint.parent / f"recalibration_{method}.json"
    origin = {
        "checkpoint": trained.checkpoint.name,
        "checkpoint_sha256": trained.sha256,
        "cohort": val.cohort.name,
        "csv_file": str(val.cohort.csv_file),
        "split": "val",
        **{key: val.split.counts[key] for key in ("samples", "events")},
        "population_incidence": settings.population_incidence,
    }
    write_recalibration(path, method, scales, origin)
    if split == "val":
        LOGGER.warning("recalibration is fitted and measured on one split, val")
    return recalibrated_document(part.split, scales, settings, path)


def _write_page(
    folder: Path, metrics: dict[str, Any], trained: Trained, part: Scored, dataset: DatasetConfig, count: int
) -> None:
    from mammorisk.report.page import write_evaluation_page

    examples = _examples(trained, part, dataset, count) if count else []
    write_evaluation_page(metrics, examples, folder / PAGE)


def _examples(trained: Trained, part: Scored, dataset: DatasetConfig, count: int) -> list[Any]:
    """Exams that the page shows, ``count`` of each kind."""
    from mammorisk.report.examples import example_exams

    device = next(trained.network.parameters()).device
    return example_exams(trained.network, part.data, part.split.rows.risk, dataset, device, count)
