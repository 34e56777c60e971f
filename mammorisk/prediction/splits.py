"""Predicted risks of a split, outside of a training."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.caching.images import ImageStore
from mammorisk.config import DatasetConfig
from mammorisk.datasets.cohort_csv import TRUE_RISK
from mammorisk.datasets.loaders import EpochSampler
from mammorisk.datasets.samples import SampleTable
from mammorisk.distributed.errors import run_on_all_ranks
from mammorisk.distributed.launch import rank, world_size
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel
from mammorisk.prediction.batch_invariant import one_at_a_time
from mammorisk.runs.progress import EpochProgress
from mammorisk.training.data_module import SplitData, decode_images, fill_caches, read_splits, split_loader
from mammorisk.training.predictions import Predictions
from mammorisk.training.trained_model import rebuild_model

RISK_COLUMNS = tuple(f"risk_{year}y" for year in range(1, MAX_FOLLOWUP + 1))


@dataclass(frozen=True)
class SplitRisk:
    """Risks of all samples of a split."""

    samples: SampleTable
    risk: npt.NDArray[np.float32]  # [N, Y] | cumulative risk of cancer within 1 … Y years, in the order of ``samples``

    def table(self) -> pd.DataFrame:
        """A row per sample: ids, outcome (``years`` to event or censoring), risks, and true risks of a phantom."""
        samples = self.samples
        table = pd.DataFrame(
            {
                "sample_id": samples.sample_id,
                "patient_id": samples.patient_id,
                "event": samples.cases.astype(int),
                "years": samples.event_index[:, -1] + 1,
                **dict(zip(RISK_COLUMNS, self.risk.T, strict=True)),
            }
        )
        if samples.true_risk is not None:
            table = table.assign(**dict(zip(TRUE_RISK, samples.true_risk.T, strict=True)))
        return table


def split_risk(checkpoint: Path, split: str, dataset: DatasetConfig, cpu: bool = False) -> SplitRisk:
    """Predict the risks of a split with the model of a checkpoint.

    Args:
        checkpoint: of a risk training.
        split: train, val or test.
        dataset: settings of data and loader; those of its training only if the user allows it
            (``evaluation_config``).
        cpu: use the CPU even if there is a GPU.

    Raises:
        UserError: the checkpoint cannot be read, or the cohort cannot.
    """
    model, trained = rebuild_model(checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    _, splits = read_splits(dataset, model, [split])
    store = decode_images(splits.values(), dataset)
    fill_caches(splits.values(), dataset, model, device)
    return predict_split(model.to(device).eval(), splits[split], dataset, trained.seed, device, store)


@torch.inference_mode()
def predict_split(
    model: RiskModel,
    data: SplitData,
    dataset: DatasetConfig,
    seed: int,
    device: torch.device,
    store: ImageStore | None = None,
) -> SplitRisk:
    """Predict the risks of all samples of a split, each once and by itself. Collective.

    They are the same to the last bit for any batch size and number of workers, threads and processes.

    Args:
        model: on ``device``, in eval mode.
        data: of the split.
        dataset: settings of the loader.
        seed: of the loader's workers; it changes no risk.
        device: where it computes.
        store: of decoded images.

    Raises:
        UserError: any process cannot read an image, or its loader failed; the same on all.
    """
    sampler = EpochSampler(len(data.samples), dataset.batch_size, training=False, rank=rank(), world_size=world_size())

    def predict_share() -> Predictions:
        predictions = Predictions()
        with (
            closing(split_loader(data, sampler, dataset, seed, device, store)) as loader,
            EpochProgress("prediction", sampler.num_batches) as progress,
            one_at_a_time(model, device, dataset.batch_size) as predict_one,
        ):
            for batch in loader:
                for sample, output in predict_one(batch):
                    predictions.add(sample, output)
                progress.advance(len(batch))
        return predictions

    _, output = run_on_all_ranks(predict_share).gathered()
    risk = model.risk(output).numpy()
    if not np.isfinite(risk).all():
        sample = data.samples.sample_id[int(np.flatnonzero(~np.isfinite(risk).all(axis=1))[0])]
        raise UserError(f"The model gives no finite risk for {sample}: use another checkpoint.")
    return SplitRisk(data.samples, risk)
