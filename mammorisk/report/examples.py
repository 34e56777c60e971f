"""Example exams of an evaluation: risk, outcome, and the maps of the model over the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mammorisk.batch import Batch, RiskOutput, collate
from mammorisk.config import DatasetConfig
from mammorisk.datasets.displacements import mirrored
from mammorisk.datasets.risk_dataset import RiskDataset
from mammorisk.datasets.samples import SampleTable
from mammorisk.models.alignment import displacement_of_last_pair, mask_images, warp_features
from mammorisk.models.base import RiskModel
from mammorisk.report.maps import Panel, draw_panels
from mammorisk.training.data_module import SplitData

Risk = NDArray[np.floating[Any]]
UNITS = {
    "asymmetry": "asymmetry of left and right features",
    "attention": "attention",
    "difference": "mean difference of features from the prior",
    "importance": "share of the exam's pooled features",
}
PAGE_ORDER = (0, 2, 1, 3)  # of VIEWS: R-CC, L-CC, R-MLO, L-MLO, with the chest walls in the middle


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    caption: str
    png: bytes


@dataclass(frozen=True)
class ExampleExam:
    """One sample with its risk, outcome and pictures."""

    kind: str  # "highest risk" (a case) | "missed" (a case of low risk) | "control" (of high risk: a false alarm)
    sample_id: str
    risk: list[float]  # [Y]
    outcome: str
    pictures: tuple[Picture, ...]


@torch.inference_mode()
def example_exams(
    model: RiskModel, data: SplitData, risk: Risk, dataset: DatasetConfig, device: torch.device, count: int = 5
) -> list[ExampleExam]:
    """The cases of highest risk, those of lowest risk (misses), and the controls of highest risk (false alarms).

    Each kind has at most one sample of a woman. One sample at a time is read.

    Args:
        model: on ``device``, in eval mode.
        data: of the split.
        risk: of its samples, [N, Y].
        dataset: settings of the data.
        device: of the model.
        count: of each kind, if there are so many.
    """
    rows, columns = dataset.image_size
    images = RiskDataset(data.samples, data.table, (int(rows), int(columns)), dataset.orientation, data.displacements)
    found = []
    for kind, index in chosen(data.samples, risk, count):
        batch = collate([images[index]]).to(device)
        views = views_as_taken(data, index, dataset.orientation)
        pictures = _pictures(model, batch, model(batch), views, dataset.orientation)
        outcome = outcome_words(bool(data.samples.event[index, -1]), int(data.samples.event_index[index, -1]))
        values = [float(value) for value in risk[index]]
        found.append(ExampleExam(kind, str(data.samples.sample_id[index]), values, outcome, pictures))
    return found


def chosen(samples: SampleTable, risk: Risk, count: int) -> list[tuple[str, int]]:
    """(kind, sample) of the examples; the same for the same risks, ties in the order of samples."""
    last = risk[:, -1]
    cases = np.asarray(samples.event[:, -1], dtype=bool)
    free = ~cases & (np.asarray(samples.event_index[:, -1]) == risk.shape[1] - 1)
    falling, rising = np.argsort(-last, kind="stable"), np.argsort(last, kind="stable")
    found: list[tuple[str, int]] = []
    for kind, order, wanted in (
        ("highest risk", falling, cases),
        ("missed", rising, cases),
        ("control", falling, free),
    ):
        taken, women = {index for _, index in found}, set[str]()
        for index in map(int, order):
            woman = samples.patient_id[index]
            if wanted[index] and index not in taken and woman not in women and len(women) < count:
                found.append((kind, index))
                women.add(woman)
    return found


def outcome_words(event: bool, year: int) -> str:
    """The outcome in words, from an event or censoring in the 0-based ``year``."""
    years = f"{year + 1} year" + ("s" if year else "")
    return f"cancer in year {year + 1}" if event else f"free of cancer for {years}"


@dataclass(frozen=True)
class ViewsAsTaken:
    """The views of a sample as a picture shows them: right breasts on the left, as they were taken."""

    names: list[str]  # [V] laterality and view
    mirrored: list[bool]  # [V] whether the model's input was mirrored
    columns: int

    def panels(self, images: Tensor, overlays: Mapping[int, NDArray[np.float32]]) -> list[Panel]:
        """Panels of the model's input [V, 1, H, W], with the maps [h, w] of some views over them."""
        found = []
        for view in PAGE_ORDER if len(self.names) == len(PAGE_ORDER) else range(len(self.names)):
            image, over = images[view, 0].float().cpu().numpy(), overlays.get(view)
            if self.mirrored[view]:
                image, over = image[:, ::-1], None if over is None else over[:, ::-1]
            found.append(Panel(self.names[view], image, over))
        return found


def views_as_taken(data: SplitData, index: int, orientation: str) -> ViewsAsTaken:
    """The views of one sample of a split; the latest exam that has a view names it."""
    rows = data.samples.images[index]  # [T, V]
    flips = mirrored(data.table, orientation)
    names, is_mirrored = [], []
    for column in rows.T:
        present = column[column >= 0]
        row = data.table.iloc[int(present[-1])] if len(present) else None
        names.append("no image" if row is None else f"{row['laterality']} {row['view']}")
        is_mirrored.append(bool(len(present) and flips[int(present[-1])]))
    return ViewsAsTaken(names, is_mirrored, 2 if rows.shape[1] > 1 else 1)


def _pictures(
    model: RiskModel, batch: Batch, output: RiskOutput, views: ViewsAsTaken, orientation: str
) -> tuple[Picture, ...]:
    images = mask_images(batch.images, batch.view_mask, batch.complete)[0]  # [T, V, 1, H, W]

    def picture(caption: str, exam: Tensor, overlays: Mapping[int, NDArray[np.float32]], unit: str = "") -> Picture:
        return Picture(caption, draw_panels(views.panels(exam, overlays), views.columns, unit))

    found = [picture("Current exam", images[-1], {})]
    if len(images) > 1:
        years = float(batch.time_gap[0, -2])
        found.append(picture(f"Prior exam, {years:.1f} years before", images[-2], {}))
        displacement = _displacement(model, batch, output)
        if displacement is not None:
            aligned = warp_features(images[-2], displacement)
            found.append(picture("Prior exam, aligned with the current one", aligned, {}))
    for name, overlays in map_overlays(output, images.shape[1], orientation).items():
        over, exam = ("prior", images[-2]) if name.endswith("prior") else ("current", images[-1])
        unit = UNITS.get(name.split("_")[0], name)
        found.append(picture(f"Map over the {over} exam: {unit}", exam, overlays, unit))
    return tuple(found)


def map_overlays(output: RiskOutput, views: int, orientation: str) -> dict[str, dict[int, NDArray[np.float32]]]:
    """The values [h, w] of each map over each view, in the frame of the model's input.

    A map [V, h, w] has values for each view. A map [h, w] named ..._cc or ..._mlo lies over that view, or over that
    view of both breasts, in the left one's frame. Any other map [h, w] lies over the first view.
    """
    found: dict[str, dict[int, NDArray[np.float32]]] = {}
    for name, values in output.maps.items():
        if name == "displacement":
            continue
        seen = values[0].float().cpu().numpy()  # [V, h, w] or [h, w]
        stem, _, view = name.rpartition("_")
        if seen.ndim == 3:
            found[name] = dict(enumerate(seen))
        elif view in ("cc", "mlo"):
            place = ("cc", "mlo").index(view)
            over = found.setdefault(stem, {})
            over[place] = seen
            if views == 4:  # R and L: a map of both lies in the left breast's frame
                over[place], over[place + 2] = seen if orientation == "left" else seen[:, ::-1], seen
        else:
            found[name] = {0: seen}
    return found


def _displacement(model: RiskModel, batch: Batch, output: RiskOutput) -> Tensor | None:
    """The displacement from the current exam to the prior, [V, 2, h, w]; None: the model does not align."""
    if "displacement" in output.maps:
        return output.maps["displacement"]
    if model.registration_module is None:
        return None
    images = mask_images(batch.images[:, -2:], batch.view_mask[:, -2:], batch.complete)
    return displacement_of_last_pair(batch, model.registration_module, images)
