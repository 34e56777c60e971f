"""Time and memory of a published training step on a GPU: each model at a full image size, in float32 and bfloat16.

    python benchmarks/gpu_step.py [--size 2048 1664] [--batch 4] [--json FILE]

Images are noise and weights random, which does not change the computation. A step is ``loop.train_step``: copy
to the device, augmentation, forward, backward, AdamW. Its time is the median over ``--steps`` steps between events;
memory is the most that the allocator held for tensors during them. ``MammoRegNet`` is the registration of as many
pairs as a batch has.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mammorisk.batch import Batch, InputSpec
from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.models.alignment import displacement_to_prior
from mammorisk.models.base import RiskModel
from mammorisk.optim.groups import parameter_groups
from mammorisk.optim.schedules import Schedules
from mammorisk.runs.directory import register_resolvers
from mammorisk.training.loop import train_step

MODELS = ("mirai", "oa_breacr", "vmra_mar", "imgfeatalign", "lmv_net")
WARM_UP = 3


def noise(inputs: InputSpec, samples: int, size: tuple[int, int]) -> Batch:
    """A batch of ``samples`` complete samples of noise; in page-locked memory where there is a GPU, as a loader's."""
    shape, years = (samples, inputs.exams, inputs.views), 5
    case = (torch.arange(samples) % 2 == 0)[:, None].expand(-1, inputs.exams)
    mask = torch.ones(shape, dtype=torch.bool)
    batch = Batch(
        images=torch.rand(*shape, 1, *size),
        view_mask=mask,
        time_gap=torch.arange(inputs.exams - 1, -1, -1.0).expand(samples, -1).clone(),
        target=case[..., None].float().repeat(1, 1, years),
        target_mask=torch.ones(samples, inputs.exams, years),
        event_index=torch.full(shape[:2], 1),
        event=case.clone(),
        sample=torch.arange(samples),
        density=torch.ones(samples, dtype=torch.long),
        cancer_type=torch.zeros(samples, dtype=torch.long),
        sample_id=[f"sample {i}" for i in range(samples)],
        complete=True,
        host_mask=mask,
    )
    return batch.pin_memory() if torch.cuda.is_available() else batch


def published(name: str, size: tuple[int, int], *more: str) -> DictConfig:
    """A model's published configuration with random weights, and ``more`` overrides."""
    words = [f"experiment=published/{name}", f"dataset.image_size=[{size[0]},{size[1]}]", "registration=mammoregnet"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=[*words, "registration.checkpoint=null", *more])


def model_of(config: DictConfig) -> RiskModel:
    """The model, without the files of weights that its configuration names."""
    if "encoder" in config.model:
        config.model.encoder.pretrained = None
    unwrapped_model: RiskModel = hydra.utils.instantiate(config.model)
    return unwrapped_model


def timed(step: Callable[[], object], steps: int) -> dict[str, float]:
    """Median milliseconds of a step and the peak of memory in GiB."""
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    found = []
    for _ in range(steps):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        end.synchronize()
        found.append(start.elapsed_time(end))
    return {"ms": statistics.median(found), "GiB": torch.cuda.max_memory_allocated() / 2**30}


def training(
    name: str, size: tuple[int, int], samples: int, precision: str, steps: int, channels_last: bool = False
) -> dict[str, Any]:
    """A model's training step."""
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(mixed_precision=precision)
    config = published(name, size)
    unwrapped_model = model_of(config)
    if channels_last:
        unwrapped_model.encoder.to(memory_format=torch.channels_last)
    optim = config.optim
    groups = parameter_groups(unwrapped_model, optim.learning_rate, optim.encoder_lr_scale)
    model, optimizer = accelerator.prepare(unwrapped_model, hydra.utils.instantiate(optim.optimizer)(groups))
    schedules = Schedules(optimizer.optimizer, 1, False, 1, 1.0, 0.0, 1.0)
    context: Any = SimpleNamespace(
        seed=config.seed,
        max_grad_norm=config.optim.max_grad_norm,
        accelerator=accelerator,
        model=model,
        unwrapped_model=unwrapped_model,
        optimizer=optimizer,
        schedules=schedules,
        augment=hydra.utils.instantiate(config.augment),
    )
    batch = noise(unwrapped_model.inputs, samples, size)
    model.train()
    images = batch.images[..., 0, 0, 0].numel()
    measured = timed(lambda: train_step(context, batch, 0, 1, True), steps)
    return {"work": name, "precision": precision, "images": images, **measured}


def registering(size: tuple[int, int], pairs: int, steps: int) -> dict[str, Any]:
    """MammoRegNet's displacements of some pairs; it always computes in float32."""
    registration = model_of(published("lmv_net", size)).registration_module
    assert registration is not None
    registration.cuda()
    fixed, moving = torch.rand(2, pairs, 1, *size, device="cuda")
    measured = timed(lambda: displacement_to_prior(registration, fixed, moving), steps)
    return {"work": "MammoRegNet", "precision": "no", "images": 2 * pairs, **measured}


def main() -> None:
    """Measure all and print a line of JSON each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(2048, 1664), help="height and width of the images")
    parser.add_argument("--batch", type=int, default=4, help="samples of a batch")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", type=Path, help="file for the results")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        parser.exit(1, "There is no GPU here.\n")
    register_schemas()
    register_resolvers()
    size = (chosen.size[0], chosen.size[1])
    torch.backends.cudnn.deterministic = True  # as in a training
    works = [(name, precision) for name in MODELS for precision in ("no", "bf16")]
    results = []
    for work in [None, *works]:
        torch.cuda.empty_cache()
        try:
            if work is None:
                results.append(registering(size, chosen.batch, chosen.steps))
            else:
                results.append(training(work[0], size, chosen.batch, work[1], chosen.steps))
        except torch.cuda.OutOfMemoryError:
            results.append({"work": work, "ms": None})
        results[-1] |= {"size": list(size), "batch": chosen.batch, "device": torch.cuda.get_device_name()}
        print(json.dumps(results[-1]), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"torch": torch.__version__, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
