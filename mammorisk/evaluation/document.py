"""The content of ``metrics.json``: every number of an evaluation, and where it comes from."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf

from mammorisk.datasets.attrition import Step
from mammorisk.datasets.cohort import Cohort
from mammorisk.evaluation.curves import curves
from mammorisk.evaluation.files import sha256_of
from mammorisk.evaluation.groups import subgroups
from mammorisk.evaluation.measuring import as_json, is_ranking, measure, risks, weights_of, without_nan
from mammorisk.evaluation.scoring import ORACLE_COLUMNS, Scored
from mammorisk.evaluation.settings import EvaluationSettings
from mammorisk.evaluation.trained import Trained
from mammorisk.metrics.censoring import Floats
from mammorisk.metrics.evaluation import COHORT
from mammorisk.prediction.recalibration import Recalibration, apply
from mammorisk.version import __version__

FORMAT = 1


def metrics_document(
    trained: Trained, config: DictConfig, scored: Scored, split: str, settings: EvaluationSettings
) -> dict[str, Any]:
    """All of ``metrics.json`` but the measures of recalibrated risks.

    Args:
        trained: the model.
        config: of its training, with the cohort that was scored.
        scored: the split.
        split: its name.
        settings: of the evaluation.

    Raises:
        UserError: the split cannot be weighted to a population.
    """
    table, risk = scored.table, scored.risk
    weight = weights_of(table, settings.population_incidence)
    groups = measure(risk, table, subgroups(table), weight, settings.statistics)
    document = {
        "format": FORMAT,
        "made": {**made(settings), **_origin(trained), "config": OmegaConf.to_container(config), "split": split},
        "model": trained.described(),
        "cohort": described_cohort(scored.cohort, scored, split, trained.network.inputs.unit),
        "groups": as_json(groups),
        "curves": curves(risk, table, groups[COHORT], weight, settings.statistics),
        "recalibrated": None,
        "oracle": _oracle(table, weight, settings),
    }
    return without_nan(document)  # type: ignore[no-any-return]


def recalibrated_document(
    risk: Floats, table: pd.DataFrame, scales: Recalibration, settings: EvaluationSettings, path: Path
) -> dict[str, Any]:
    """The entry ``recalibrated``: all but the ranking of risks on the ``scales``, which lie at ``path``."""
    weight = weights_of(table, settings.population_incidence)
    groups = as_json(measure(apply(scales, risk), table, {}, weight, settings.statistics))
    for group in groups.values():
        group["measures"] = {name: value for name, value in group["measures"].items() if not is_ranking(name)}
    return without_nan({"method": settings.recalibrate, "file": str(path), "groups": groups})  # type: ignore[no-any-return]


def made(settings: EvaluationSettings, command: Sequence[str] | None = None) -> dict[str, Any]:
    """When and with which settings numbers were computed."""
    words = sys.argv if command is None else command
    return {
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(words[0]).name, *words[1:]]),
        "draws": settings.draws,
        "seed": settings.seed,
        "confidence": settings.confidence,
        "smallest": settings.smallest,
        "population_incidence": settings.population_incidence,
        "recalibration": settings.recalibrate,
    }


def described_cohort(cohort: Cohort, scored: Scored, split: str, unit: str) -> dict[str, Any]:
    """The cohort and who of it was scored."""
    table = scored.table
    ill = table["event"] == 1
    return {
        "name": cohort.name,
        "csv_file": str(cohort.csv_file),
        "csv_sha256": sha256_of(cohort.csv_file),
        "split": split,
        "samples": len(table),
        "patients": int(table["patient_id"].nunique()),
        "events": int(ill.sum()),
        "patients_with_event": int(table.loc[ill, "patient_id"].nunique()),
        "unit": unit,
        "is_phantom": ORACLE_COLUMNS[0] in table,
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


def _step(step: Step) -> dict[str, Any]:
    counts, left = asdict(step.counts), asdict(step.left)
    return {"step": step.step, "action": step.action, "reason": step.reason, **counts, "left": left}


def _origin(trained: Trained) -> Mapping[str, Any]:
    path = trained.checkpoint
    return {"checkpoint": str(path), "checkpoint_sha256": trained.sha256, "run": str(path.absolute().parent)}


def _oracle(table: pd.DataFrame, weight: Floats | None, settings: EvaluationSettings) -> dict[str, Any] | None:
    """The best possible risk, as a model."""
    if ORACLE_COLUMNS[0] not in table:
        return None
    risk = risks(table, ORACLE_COLUMNS)
    return {"groups": as_json(measure(risk, table, {}, weight, settings.statistics))}
