"""Network of a checkpoint, built from its stored configuration after the component gate, with its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mammorisk.component_gate import GateError, build, own_modules, refusal
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel
from mammorisk.training.checkpoint import load_payload
from mammorisk.training.checkpoint_payload import Payload
from mammorisk.training.stored_config import read_stored_config
from mammorisk.weights.loading import check_fits, load_weights


def rebuild_model(path: Path, allow_modules: Sequence[str] = ()) -> tuple[RiskModel, DictConfig]:
    """The model of a checkpoint in eval mode, and the configuration of its training; from this file alone.

    Nothing that the file names is imported or run before its configuration has passed the gate
    (``component_gate``), and none of its paths is followed: the weights are in the file.

    Args:
        path: of the checkpoint.
        allow_modules: exact names of your own modules whose components it may name.

    Raises:
        UserError: it cannot be read, is refused, is not of a risk training, or its weights do not fit.
    """
    return model_of(load_payload(path), path, allow_modules)


def model_of(payload: Payload, path: Path, allow_modules: Sequence[str] = ()) -> tuple[RiskModel, DictConfig]:
    """``rebuild_model`` for a checkpoint that has been read.

    Raises:
        UserError: as ``rebuild_model``.
    """
    config = read_stored_config(payload["config"], str(path), allow_modules)
    plain = OmegaConf.to_container(config.model)
    if not isinstance(plain, dict):
        raise UserError(f"{path}: expected the configuration of a model, found none.")
    node = {str(key): value for key, value in plain.items()}
    with torch.device("meta"):  # sizes without memory, to compare with the weights before any is allocated
        shell = _shell(node, path, allow_modules)
    if shell is not None:
        check_fits(shell, payload["model"], str(path))
    model = _built(node, path, allow_modules)
    load_weights(model, payload["model"], str(path))
    _check_statistics(model, path)
    return model.eval(), config


def _shell(node: Mapping[str, Any], path: Path, allow_modules: Sequence[str]) -> RiskModel | None:
    """The model without memory; None if a user's own component reads values in its constructor."""
    try:
        return _built(node, path, allow_modules)
    except UserError:
        if own_modules({"model": node}):
            return None
        raise


def _check_statistics(model: nn.Module, path: Path) -> None:
    """Refuse scales and variances that can only give NaN.

    Raises:
        UserError: one is negative, or a scale is 0; the message names it.
    """
    for name, value in model.named_buffers():
        kind = name.rpartition(".")[2]
        if (kind == "running_var" and bool((value < 0).any())) or (kind == "input_std" and bool((value <= 0).any())):
            raise UserError(
                f"{path}: {name} is {float(value.min()):g}: expected a spread above 0. The file is damaged."
            )


def _built(node: Mapping[str, Any], path: Path, allow_modules: Sequence[str]) -> RiskModel:
    try:
        model: nn.Module = build(node, "model", allow_modules)
    except UserError:
        raise
    except GateError as error:
        raise refusal(str(path), error) from error
    except Exception as error:  # settings that do not fit each other can raise anything in a constructor
        raise UserError(f"{path}: its model cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, RiskModel):
        raise UserError(
            f"{path}: expected the checkpoint of a risk training, found {type(model).__name__}. That of a "
            "registration is scored with mammorisk-register evaluate."
        )
    return model
