"""Shared cases for tests of risk models: small batches, small encoders, comparison of YAML and constructor."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Mapping

import hydra
import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from helpers.composed_configs import composed
from helpers.places import CONF
from mammorisk.batch import Batch, InputSpec
from mammorisk.component_gate import without_files
from mammorisk.models.base import RiskModel
from mammorisk.models.encoders import ResNetEncoder
from mammorisk.registration.mammoregnet import MammoRegNet

SMALL = (64, 52)  # pixels of the quick start
SMALL_REGISTRATION = {"channels": (4, 4, 8), "decoder_channels": (8, 8, 4), "num_heads": (2, 2), "depth": 2}
# The same as overrides, for images too small for windows of its own choice
SMALL_NETWORK = [
    "registration.channels=[4,4,8]",
    "registration.decoder_channels=[8,8,4]",
    "registration.num_heads=[2,2]",
]
SMALL_NETWORK += ["registration.depth=2", "registration.image_size=[32,32]"]


def small_encoder(width: int = 4, **settings: object) -> ResNetEncoder:
    """An encoder of the quick start's form: narrow, stride 8."""
    return ResNetEncoder(width=width, stride=8, **settings)  # type: ignore[arg-type]


def small_registration(**settings: object) -> MammoRegNet:
    """A small MammoRegNet with random weights in its heads, so that its displacements are pixels large."""
    torch.manual_seed(0)
    model = MammoRegNet(**(SMALL_REGISTRATION | settings)).eval()  # type: ignore[arg-type]
    for level in model.fine.values():
        torch.nn.init.normal_(level.head.weight, std=0.05)
    torch.nn.init.normal_(model.coarse.affine[2].weight, std=0.5)
    return model


def random_batch(inputs: InputSpec, samples: int = 3, size: tuple[int, int] = SMALL, seed: int = 0) -> Batch:
    """Noise images with one case in two, exams one year apart."""
    draw = torch.Generator().manual_seed(seed)
    shape, years = (samples, inputs.exams, inputs.views), 5
    case = torch.arange(samples) % 2 == 0
    first = torch.where(case, 1, years)  # cases: cancer in the second year
    target = (torch.arange(years) >= first[:, None]).float()  # [B, Y]
    return Batch(
        images=torch.rand(*shape, 1, *size, generator=draw),
        view_mask=torch.ones(shape, dtype=torch.bool),
        time_gap=torch.arange(inputs.exams - 1, -1, -1.0).expand(samples, -1).clone(),
        target=target[:, None].expand(-1, inputs.exams, -1).clone(),
        target_mask=torch.ones(samples, inputs.exams, years),
        event_index=first.clamp(max=years - 1)[:, None].expand(-1, inputs.exams).clone(),
        event=case[:, None].expand(-1, inputs.exams).clone(),
        sample=torch.arange(samples),
        density=torch.ones(samples, dtype=torch.long),
        cancer_type=torch.zeros(samples, dtype=torch.long),
    )


def quick_config(name: str, *overrides: str) -> DictConfig:
    """The quick start's configuration of a model: a narrow encoder, small images, nothing pretrained."""
    return composed("experiment=quickstart", f"model={name}", *overrides)


@functools.cache
def _built(name: str, overrides: tuple[str, ...]) -> RiskModel:
    config = quick_config(name, *overrides)
    torch.manual_seed(0)
    model = hydra.utils.instantiate(without_files(OmegaConf.to_container(config.model, resolve=True), "model"))
    assert isinstance(model, RiskModel)
    return model


def quick_model(name: str, *overrides: str) -> RiskModel:
    """A model of one's own, with the same weights in every call."""
    return copy.deepcopy(_built(name, overrides))


def without_gradient(model: RiskModel, batch: Batch) -> list[str]:
    """Names of trainable parameters that one training step leaves without a gradient (DDP would stop at them)."""
    model.train()
    model.loss(model(batch), batch).backward()
    return [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]


def losses_while_fitting(model: RiskModel, batch: Batch, steps: int = 20, rate: float = 3e-3) -> list[float]:
    """The loss of each of ``steps`` AdamW steps on one batch."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(model(batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def logits(model: RiskModel, batch: Batch) -> dict[str, Tensor]:
    """All heads' logits in eval mode, without gradients."""
    model.eval()
    with torch.no_grad():
        return model(batch).logits


def yaml_differences(group_file: str) -> list[str]:
    """Differences of keys or values between a component YAML and its targets' constructors, nodes within nodes."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / group_file), resolve=False)
    assert isinstance(node, dict)
    return _differences(node, group_file)


def _differences(node: Mapping[str, object], where: str) -> list[str]:
    parameters = inspect.signature(get_object(str(node["_target_"]))).parameters
    keys = {key for key in node if not key.startswith("_")}
    found = [f"{where}.{key}: no such parameter" for key in sorted(keys - set(parameters))]
    if not node.get("_partial_"):
        found += [f"{where}.{key}: missing" for key in parameters if key not in keys]
    for key in sorted(keys & set(parameters)):
        value, default = node[key], parameters[key].default
        if isinstance(value, Mapping):
            found += _differences(value, f"{where}.{key}")
        elif default is not inspect.Parameter.empty and value != default:
            found.append(f"{where}.{key}: {value!r}, the constructor's default is {default!r}")
    return found
