"""Interface between datasets and models: view order, input specification, and the tensors of a batch and an output.

Letters in shapes: B samples, T exams (oldest first, the current exam last), V views, H x W pixels, Y years, h x w
positions of a displacement field.
Datasets and models do not import each other; both import this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

# The one view order of the project: right before left, CC before MLO (docs/pitfalls.md#p14).
VIEWS: tuple[tuple[str, str], ...] = (("R", "CC"), ("R", "MLO"), ("L", "CC"), ("L", "MLO"))
MAX_FOLLOWUP = 5  # years of risk; the horizon of labels, heads and metrics

Unit = Literal["image", "breast", "exam"]
MissingViews = Literal["drop", "mask"]
MissingPriors = Literal["drop", "zero_gap", "mask"]


@dataclass(frozen=True)
class InputSpec:
    """Specification of a model's inputs.

    Attributes:
        unit: of a sample: ``image`` (one view of one breast, V=1), ``breast`` (CC and MLO of one breast, V=2,
            in that order) or ``exam`` (all four views, V=4, in the order of ``VIEWS``).
        exams: T, the number of exams of a sample: the current one and the T-1 before it.
        missing_views: ``drop`` samples whose current exam lacks a view, or ``mask`` it (zeros, ``view_mask`` false).
        missing_priors: when there are fewer than T exams: ``drop`` the sample, repeat the earliest exam at the
            same time (``zero_gap``), or ``mask`` (zeros, ``view_mask`` false).
        risk_factors: whether the model also takes the woman's risk factors (``risk_factors.py``).
    """

    unit: Unit
    exams: int
    missing_views: MissingViews = "drop"
    missing_priors: MissingPriors = "drop"
    risk_factors: bool = False

    @property
    def views(self) -> int:
        """V, the number of views of one exam in a sample."""
        return {"image": 1, "breast": 2, "exam": 4}[self.unit]

    def __str__(self) -> str:
        """Description in words, for logs and reports."""
        unit = {"image": "one view of a breast", "breast": "both views of a breast", "exam": "all four views"}[
            self.unit
        ]
        exams = "one exam" if self.exams == 1 else f"{self.exams} exams, the current one and its priors"
        parts = [f"{unit}, {exams}"]
        if self.unit != "image":
            parts.append(f"missing views: {self.missing_views}")
        if self.exams > 1:
            parts.append(f"missing priors: {self.missing_priors}")
        return "; ".join([*parts, "risk factors"] if self.risk_factors else parts)


@dataclass
class Batch:
    """One batch or, without the leading B, one sample. An absent optional tensor is ``None``."""

    # [B, T, V, 1, H, W] float32 in [0, 1] | 16-bit value / 65535; zeros where masked. The loader gives the 16-bit
    # values themselves (half of the bytes to copy); ``to`` converts them
    images: Tensor
    view_mask: Tensor  # [B, T, V] bool | true where there is an image
    time_gap: Tensor  # [B, T] float32 | years before the current exam; 0 for the current one
    target: Tensor  # [B, T, Y] float32 | 1 from the year of the event on (labels.py)
    target_mask: Tensor  # [B, T, Y] float32 | 1 for the years that are known
    event_index: Tensor  # [B, T] int64 | year (0-based) of the event, or of censoring
    event: Tensor  # [B, T] bool | true: cancer within Y years; false: censored
    sample: Tensor  # [B] int64 | row of the sample in its split's sample table
    density: Tensor  # [B] int64 | 1-4 = A-D, -1 unknown
    cancer_type: Tensor  # [B] int64 | the cohort's code, -1 unknown
    # [B, R] float32 | one-hot values of RISK_FACTORS in order, -1 where unknown; None: the model does not use them
    risk_factors: Tensor | None = None
    # [B, V, 2, h, w] float32 | displacement from the current exam to the one before: (dy, dx) in pixels of its own
    # h x w; zero where either is masked or both are one exam. None: the registration network computes it
    displacement: Tensor | None = None
    # [B, T, V, C, h, w] float32 | features of the model's frozen encoder; undefined where masked. The images may then
    # have no pixels ([B, T, V, 1, 0, 0]). None: the encoder computes them
    features: Tensor | None = None
    race: list[str] = field(default_factory=list)  # B | the cohort's word, "" unknown
    sample_id: list[str] = field(default_factory=list)  # B | patient/exam[/laterality[/view]]
    patient_id: list[str] = field(default_factory=list)  # B
    draw: list[int] = field(default_factory=list)  # B | earlier draws of the sample in this epoch; empty: all 0
    complete: bool = False  # true: no image is missing; known without waiting for the device
    host_mask: Tensor | None = None  # copy of view_mask that stays on the host

    @property
    def presence(self) -> Tensor:
        """``view_mask`` [B, T, V], on the host where a copy exists, so that reading it does not wait for the device."""
        return self.view_mask if self.host_mask is None else self.host_mask

    def to(self, device: torch.device | str, non_blocking: bool = True) -> Batch:
        """Copy the tensors to ``device``, images as float32; the lists are shared."""
        moved = {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in self._tensors().items()}
        return replace(self, **moved | {"images": unit_range(moved["images"])})

    def pin_memory(self) -> Batch:
        """Copy the tensors to page-locked memory (the data loader calls this)."""
        return replace(self, **{name: tensor.pin_memory() for name, tensor in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        """Tensors that move to the model's device."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "host_mask"}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __len__(self) -> int:
        """Number of samples, B."""
        return int(self.sample.shape[0])


def unit_range(images: Tensor) -> Tensor:
    """Scale 16-bit images to float32 in [0, 1], value / 65535, the same on every device; others stay unchanged."""
    if images.dtype != torch.uint16:
        return images
    if images.device.type == "cpu":  # one pass; PyTorch needs two, and half as much time again
        return torch.from_numpy(np.divide(images.numpy(), np.float32(65535), dtype=np.float32))
    # A divisor that is a Python number would be turned into a multiplication, which rounds differently.
    return images.float().div_(torch.full((), 65535.0, device=images.device))


def collate(samples: Sequence[Batch], images: Tensor | None = None) -> Batch:
    """Stack samples (batches without the leading B) into one batch; lists are joined in order.

    Args:
        samples: at least one, all with the same attributes.
        images: the samples' images if they are stacked already; None: they are stacked here.

    Raises:
        ValueError: some samples lack an attribute that others have.
    """
    stacked: dict[str, Tensor | list[Any] | bool | None] = {}
    for f in fields(Batch):
        values = [getattr(sample, f.name) for sample in samples]
        if f.name == "complete":
            stacked[f.name] = all(bool(sample.view_mask.all()) for sample in samples)
        elif f.name == "host_mask":
            stacked[f.name] = torch.stack([sample.view_mask for sample in samples])
        elif f.name == "images" and images is not None:
            stacked[f.name] = images
        elif any(value is None for value in values):
            if any(value is not None for value in values):
                raise ValueError(f"{f.name}: expected it of all samples of a batch or of none")
            stacked[f.name] = None
        elif isinstance(values[0], Tensor):
            stacked[f.name] = torch.stack(values)
        else:
            stacked[f.name] = [word for words in values for word in words]
    return Batch(**stacked)  # type: ignore[arg-type]


@dataclass
class RiskOutput:
    """Output of a risk model or of a registration model.

    A map covers the images as the model gets them: [B, h, w] for the one view of an ``image`` sample or for the view
    at the end of its name (``_cc``, ``_mlo``), [B, V, h, w] for all views. It covers the current exam, or the exam
    before if its name ends in ``_prior``. In an ``exam`` sample, ``_cc`` and ``_mlo`` compare both breasts in the left
    breast's frame. ``displacement`` is a displacement field, [B, 2, h, w]; it is not drawn.
    """

    logits: dict[str, Tensor]  # head -> [B, Y] float | cumulative-risk logits (or the head's own classes)
    auxiliary: dict[str, Tensor] = field(default_factory=dict)  # name -> scalar | losses added with weight 1
    maps: dict[str, Tensor] = field(default_factory=dict)  # name -> [B, ..., h, w] | for pictures only
    scores: dict[str, Tensor] = field(default_factory=dict)  # name -> [B] | measures of each sample (registration)
