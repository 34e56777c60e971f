"""Time and peak memory of a training step of each model on a CPU, and of MammoRegNet, against plain variants.

    python benchmarks/steps.py [--work lmv_net mirai …] [--rounds 3] [--json FILE]

Images are noise of 512 x 416 pixels, weights random, two samples a batch (one for VMRA-MaR). A variant runs in a
process of its own; its step is the fastest of three after one to warm up, and variants take turns. Memory is the peak
of the whole process. Threads are PyTorch's own number, one a core. The plain variant has the same weights and
arithmetic (``plain/``), and an AdamW that updates its tensors one by one; tests/test_benchmarks.py checks that all
variants give the same numbers.
"""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hydra
import torch
from accelerate import Accelerator
from gpu_step import model_of, noise, published
from measuring import conditions, fastest, in_turn
from plain.models import PlainRegistration, plain_model
from torch import nn

from mammorisk.batch import Batch
from mammorisk.config import register_schemas
from mammorisk.models.alignment import displacement_to_prior
from mammorisk.models.base import RiskModel
from mammorisk.optim.groups import parameter_groups
from mammorisk.optim.schedules import Schedules
from mammorisk.runs.directory import register_resolvers
from mammorisk.training.cpu_allocator import keep_freed_memory
from mammorisk.training.loop import train_step
from mammorisk.warping import resize_displacement

SIZE = (512, 416)
REGISTRATION = "registration"


@dataclass(frozen=True)
class Work:
    """A model's step: samples of a batch, and variants beside the plain one."""

    samples: int
    variants: tuple[str, ...] = ("ours",)
    builds_graph: bool = False  # the common implementation builds the registration's


WORKS = {
    "mirai": Work(2, ("ours", "recomputed")),
    "oa_breacr": Work(2, ("ours", "recomputed")),
    "vmra_mar": Work(1, ("ours", "features kept")),
    "imgfeatalign": Work(2, ("ours", "fields kept", "fields and features kept")),
    "lmv_net": Work(2, ("ours", "fields kept", "fields kept, recomputed"), builds_graph=True),
}


def step_parts(model: RiskModel, config: Any, plain: bool) -> Any:
    """The context of ``train_step``, on the CPU and without augmentation."""
    accelerator = Accelerator(cpu=True)
    optim = config.optim
    groups = parameter_groups(model, optim.learning_rate, optim.encoder_lr_scale)
    optimizer = torch.optim.AdamW(groups, foreach=False) if plain else hydra.utils.instantiate(optim.optimizer)(groups)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    return SimpleNamespace(
        seed=config.seed,
        max_grad_norm=config.optim.max_grad_norm,
        accelerator=accelerator,
        model=prepared,
        unwrapped_model=model,
        optimizer=optimizer,
        schedules=Schedules(optimizer.optimizer, 1, False, 1, 1.0, 0.0, 1.0),
        augment=lambda batch, seed, epoch: batch,
    )


@torch.no_grad()
def with_fields(batch: Batch, model: Any) -> Batch:
    """The batch with the registration's displacements, as from a cache."""
    images = batch.images[:, -2:]  # [B, 2, V, 1, H, W]
    prior, current = (exam.flatten(0, 1) for exam in images.unbind(1))
    field = resize_displacement(
        displacement_to_prior(model.registration, current, prior), model.field_size(tuple(batch.images.shape[-2:]))
    )
    return replace(batch, displacement=field.unflatten(0, (len(batch), -1)))


@torch.no_grad()
def with_features(batch: Batch, model: Any) -> Batch:
    """The batch with the encoder's features, as from a cache, in place of images."""
    model.encoder.eval()
    features = model.encoder(batch.images.flatten(0, 2)).unflatten(0, batch.images.shape[:3])
    return replace(batch, features=features, images=batch.images[..., :0, :0].clone())


def built(name: str, variant: str, size: tuple[int, int] = SIZE) -> tuple[RiskModel, Any, Batch]:
    """A variant's model, configuration and batch, the same for each call."""
    words = ["registration.image_size=null"]
    if "recomputed" in variant:
        words.append("model.encoder.gradient_checkpointing=true")
    config = published(name, size, *words)
    torch.manual_seed(0)
    model = model_of(config)
    batch = noise(model.inputs, WORKS[name].samples, size)
    if "fields" in variant:
        batch = with_fields(batch, model)
    if "features" in variant:
        batch = with_features(batch, model)
    if variant == "plain":
        model = plain_model(model, WORKS[name].builds_graph)
    return model, config, batch


def one(name: str, variant: str) -> dict[str, float]:
    """Seconds of a step, and MB that the process took at most."""
    if variant != "plain":
        keep_freed_memory()  # as in a training
    if name == REGISTRATION:
        _, find = field_of_pair(variant)
        find()
        seconds = fastest(find, 5)
    else:
        model, config, batch = built(name, variant)
        context = step_parts(model, config, variant == "plain")
        model.train()
        train_step(context, batch, 0, 1, True)
        seconds = fastest(lambda: train_step(context, batch, 0, 1, True), 3)
    return {"seconds": seconds, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def field_of_pair(variant: str) -> tuple[nn.Module, Callable[[], object]]:
    """MammoRegNet, and a function that registers a pair without gradient."""
    torch.manual_seed(0)
    network: Any = model_of(published("lmv_net", SIZE, "registration.image_size=null")).registration_module
    network = PlainRegistration(network, graph_of=None) if variant == "plain" else network
    fixed, moving = torch.rand(2, 1, 1, *SIZE)
    return network.eval(), lambda: displacement_to_prior(network, fixed, moving)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs="+", default=[REGISTRATION, *WORKS], choices=[REGISTRATION, *WORKS])
    parser.add_argument("--rounds", type=int, default=3, help="how often the variants take turns")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--one", nargs=2, metavar=("WORK", "VARIANT"), help="measure this in this process")
    chosen = parser.parse_args()
    register_schemas()
    register_resolvers()
    if chosen.one:
        print(json.dumps(one(*chosen.one)))
        return
    rows = []
    for work in chosen.work:
        variants = WORKS[work].variants if work in WORKS else ("ours",)
        rows += in_turn(__file__, work, ["plain", *variants], chosen.rounds)
        for row in rows[-1 - len(variants) :]:
            print(json.dumps(row), flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
