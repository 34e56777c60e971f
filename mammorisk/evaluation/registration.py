"""Evaluation of a registration network on the pairs of a split: means with intervals, scores of each pair, pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import OmegaConf
from rich.table import Table

from mammorisk.batch import Batch, InputSpec
from mammorisk.caching.fill_images import precomputed_images
from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.displacements import DisplacementRequest, last_pairs
from mammorisk.datasets.loaders import EpochSampler, make_loader
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import SampleTable, build_samples
from mammorisk.metrics.bootstrap import Interval, patient_bootstrap
from mammorisk.registration.ground_truth import TrueDisplacements
from mammorisk.registration.mammoregnet import MammoRegNet, Registered
from mammorisk.registration.scores import pair_scores, percent_of_identity
from mammorisk.report.registration_figures import PairPicture, registration_contact, registration_picture
from mammorisk.runs.logs import LOGGER
from mammorisk.system.atomic_files import whole_file

# Rows of the table: label with unit, and the columns of the scores before, after the affine part and after.
ROWS = {
    "NCC": ("ncc_before", "ncc_affine", "ncc_after"),
    "NCC in the breast": ("breast_ncc_before", "breast_ncc_affine", "breast_ncc_after"),
    "Dice of the breasts": ("dice_before", None, "dice_after"),
    "folded pixels, %": (None, None, "folded"),
    "end-point error, pixels": ("identity_error", None, "error"),
}
Summary = dict[str, Interval]


@dataclass(frozen=True)
class ScoringSettings:
    """Settings of ``mammorisk-register evaluate`` besides network and cohort."""

    split: str  # whose pairs are scored
    pictures: int  # pairs that are drawn
    bootstrap_samples: int  # of the bootstrap over patients
    seed: int  # of the bootstrap and of the loader


def evaluate_registration(
    network: MammoRegNet, dataset: DatasetConfig, settings: ScoringSettings, folder: Path, device: torch.device
) -> tuple[Table, Summary]:
    """Score a registration network on the pairs of a split, and write scores and pictures into ``folder``.

    ``pair_scores.csv`` has a row per pair, ``scores.json`` the means with 95 % intervals of a bootstrap over patients,
    ``pairs.png`` and ``pair_*.png`` pictures of pairs evenly spaced over the split. If the cohort is a phantom
    with true displacements (``dataset.generator.displacements=true``), the end-point error is among the scores.

    Args:
        network: to be scored; moved to ``device`` and set to eval mode.
        dataset: settings of the cohort.
        settings: of the scoring.
        folder: exists; is written to.
        device: where the network computes.

    Returns:
        The table of the means, and the means.

    Raises:
        UserError: anything about network or cohort that a user has to correct.
    """
    network = network.to(device).eval()
    samples, loader = _pairs(dataset, settings)
    shown = set(np.linspace(0, len(samples) - 1, min(settings.pictures, len(samples))).astype(int).tolist())
    parts: list[dict[str, np.ndarray]] = []
    pictures: list[PairPicture] = []
    with torch.inference_mode():
        for batch in loader:
            batch = batch.to(device)
            fixed, moving, found = _registered(network, batch)
            truth = None if batch.displacement is None else batch.displacement[:, 0]
            scores = pair_scores(fixed, moving, found.displacement, found.affine_displacement, truth)
            parts.append({name: value.double().cpu().numpy() for name, value in asdict(scores).items()})
            pictures += _pictures(batch, found, shown)
    table = pd.DataFrame({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    summary = summarise(table.dropna(axis=1, how="all"), samples.patient_id, settings.bootstrap_samples, settings.seed)
    _write(folder, samples, table, summary, pictures)
    title = f"{settings.split}: {len(samples)} pairs of {len(set(samples.patient_id))} women"
    return scores_table(summary, title), summary


def summarise(scores: pd.DataFrame, patient_id: np.ndarray, bootstrap_samples: int, seed: int) -> Summary:
    """Mean of each score with its interval over patients, and the end-point error in % of identity's.

    Args:
        scores: a row per pair.
        patient_id: of each pair.
        bootstrap_samples: of the bootstrap.
        seed: of the bootstrap.
    """
    found: Summary = {}
    for name in scores:
        known = scores[name].notna().to_numpy()
        found[str(name)] = patient_bootstrap(scores[name].to_numpy()[known], patient_id[known], bootstrap_samples, seed)
    if {"error", "identity_error"} <= set(scores):
        error, identity_error = scores["error"].to_numpy(), scores["identity_error"].to_numpy()
        share = patient_bootstrap(
            lambda rows: percent_of_identity(error[rows], identity_error[rows]), patient_id, bootstrap_samples, seed
        )
        found["error_percent_of_identity"] = share
    return found


def scores_table(summary: Summary, title: str) -> Table:
    """The means with their intervals, before registration, after its affine part and after all of it."""
    table = Table(title=title, title_justify="left")
    for column in ("mean [95 % interval]", "before", "affine", "after"):
        table.add_column(column, justify="left" if column.startswith("mean") else "right")
    for label, names in ROWS.items():
        if names[-1] in summary:
            table.add_row(label, *(_words(summary.get(name or "")) for name in names))
    if "error_percent_of_identity" in summary:
        table.add_row("  in % of before", "", "", _words(summary["error_percent_of_identity"], 1))
    return table


def _pairs(dataset: DatasetConfig, settings: ScoringSettings) -> tuple[SampleTable, Iterator[Batch]]:
    """The pairs of the split, and their batches in order."""
    cohort = load_cohort(dataset)
    table = cohort.split(settings.split)
    samples = build_samples(table, InputSpec("image", 2), cohort.attrition)
    LOGGER.info("cohort %s: %s\n%s", cohort.name, cohort.csv_file, str(cohort.attrition).rstrip())
    size = (int(dataset.image_size[0]), int(dataset.image_size[1]))
    truth = None
    if dataset.generator is not None and OmegaConf.select(dataset.generator, "displacements") is True:
        truth = TrueDisplacements(DisplacementRequest(table, last_pairs(samples), size, dataset.orientation, size))
    store = precomputed_images(dataset, (samples, table))
    images = RiskDataset(samples, table, size, dataset.orientation, truth, store)
    sampler = EpochSampler(len(samples), dataset.batch_size, training=False)
    return samples, iter(make_loader(images, sampler, dataset.num_workers, pin_memory=False, seed=settings.seed))


def _registered(network: MammoRegNet, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, Registered]:
    moving, fixed = batch.images[:, -2:, 0].unbind(1)  # [B, 2, 1, 1, H, W] -> [B, 1, H, W] each
    return fixed, moving, network.register(fixed, moving)


def _pictures(batch: Batch, found: Registered, shown: set[int]) -> list[PairPicture]:
    pictures = []
    for i, number in enumerate(batch.sample.tolist()):
        if number in shown:
            prior, current = (exam[0, 0].cpu().numpy() for exam in batch.images[i, -2:])  # [1, 1, H, W] -> [H, W]
            pictures.append(PairPicture(current, prior, found.displacement[i].cpu().numpy(), batch.sample_id[i]))
    return pictures


def _write(
    folder: Path, samples: SampleTable, scores: pd.DataFrame, summary: Summary, pictures: list[PairPicture]
) -> None:
    rows = scores.copy()
    rows.insert(0, "pair", samples.sample_id)
    rows.insert(1, "patient_id", samples.patient_id)
    with whole_file(folder / "pair_scores.csv") as unfinished:
        rows.to_csv(unfinished, index=False)
    note: dict[str, Any] = {name: asdict(interval) for name, interval in summary.items()}
    with whole_file(folder / "scores.json") as unfinished:
        unfinished.write_text(json.dumps({"pairs": len(rows), **note}, indent=2) + "\n", encoding="utf-8")
    if pictures:
        registration_contact(pictures, folder / "pairs.png")
    for i, picture in enumerate(pictures, start=1):
        registration_picture(picture, folder / f"pair_{i}.png")


def _words(interval: Interval | None, digits: int = 3) -> str:
    if interval is None:
        return ""
    return f"{interval.estimate:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"
