"""Content of ``metrics.json``: every number of an evaluation, and its provenance."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf

from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort import Cohort
from mammorisk.evaluation.curves import curves
from mammorisk.evaluation.evaluation_files import sha256_of
from mammorisk.evaluation.score_splits import Scored
from mammorisk.evaluation.scored_split import ScoredSplit
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.split_measures import as_json, measure, without_nan
from mammorisk.evaluation.trained_checkpoint import Trained
from mammorisk.metrics.registry import is_ranking
from mammorisk.metrics.risk_measures import COHORT
from mammorisk.prediction.recalibration import Recalibration, apply
from mammorisk.version import __version__

FORMAT = 2  # 1 had other keys: oracle, made.draws, made.smallest


def metrics_document(
    trained: Trained, dataset: DatasetConfig, scored: Scored, split: str, settings: EvaluationSettings
) -> dict[str, Any]:
    """The content of ``metrics.json`` without the measures of recalibrated risks.

    Args:
        trained: the model.
        dataset: settings of the cohort that was scored.
        scored: the split.
        split: its name.
        settings: of the evaluation.
    """
    statistics = settings.statistics
    plain = cast(dict[str, Any], OmegaConf.to_container(trained.config))
    config = {**plain, "dataset": OmegaConf.to_container(dataset)}
    groups = measure(scored.split, statistics)
    document = {
        "format": FORMAT,
        "made": {**made(settings), **_origin(trained), "config": config, "split": split},
        "model": trained.describe(),
        "cohort": described_cohort(scored.cohort, scored, split, trained.network.inputs.unit),
        "groups": as_json(groups),
        "curves": curves(scored.split, groups[COHORT], statistics),
        "recalibrated": None,
        "true_risk": _true_risk(scored.split, settings),
    }
    return without_nan(document)  # type: ignore[no-any-return]


def recalibrated_document(
    split: ScoredSplit, scales: Recalibration, settings: EvaluationSettings, path: Path
) -> dict[str, Any]:
    """The entry ``recalibrated``: measures, other than of ranking, on the ``scales`` of the file ``path``."""
    recalibrated = split.with_risk(apply(scales, split.rows.risk)).without_groups()
    groups = as_json(measure(recalibrated, settings.statistics))
    for group in groups.values():
        group["measures"] = {name: value for name, value in group["measures"].items() if not is_ranking(name)}
    return without_nan({"method": settings.recalibrate, "file": str(path), "groups": groups})  # type: ignore[no-any-return]


def made(settings: EvaluationSettings, command: Sequence[str] | None = None) -> dict[str, Any]:
    """The version, date, command and settings of an evaluation."""
    words = sys.argv if command is None else command
    return {
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(words[0]).name, *words[1:]]),
        "bootstrap_samples": settings.bootstrap_samples,
        "seed": settings.seed,
        "confidence": settings.confidence,
        "min_group_size": settings.min_group_size,
        "population_incidence": settings.population_incidence,
        "recalibration": settings.recalibrate,
    }


def described_cohort(cohort: Cohort, scored: Scored, split: str, unit: str) -> dict[str, Any]:
    """The cohort, its scored samples and its attrition."""
    counts = scored.split.counts
    return {
        "name": cohort.name,
        "csv_file": str(cohort.csv_file),
        "csv_sha256": sha256_of(cohort.csv_file),
        "split": split,
        **{key: counts[key] for key in ("samples", "patients", "events", "patients_with_event")},
        "unit": unit,
        "is_phantom": scored.split.true_risk is not None,
        "attrition": [
            {
                "step": each.step,
                "action": each.action,
                "reason": each.reason,
                **vars(each.counts),
                "left": vars(each.left),
            }
            for each in cohort.attrition.steps
        ],
        "notes": list(cohort.notes),
    }


def _origin(trained: Trained) -> Mapping[str, Any]:
    path = trained.checkpoint
    return {"checkpoint": str(path), "checkpoint_sha256": trained.sha256, "run": str(path.absolute().parent)}


def _true_risk(split: ScoredSplit, settings: EvaluationSettings) -> dict[str, Any] | None:
    """Measures of the true risk of simulated samples."""
    if split.true_risk is None:
        return None
    return {"groups": as_json(measure(split.with_risk(split.true_risk).without_groups(), settings.statistics))}
