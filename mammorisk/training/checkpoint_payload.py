"""Restricted reader of checkpoint files: it executes nothing, and checks the type of each entry.

Sizes are compared with the file's bytes before anything is allocated (``weights.torch_files``). The text of the
configuration is only measured here; ``stored_config`` reads it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular
from mammorisk.training.checkpoint_fields import (
    BadEntry,
    Reader,
    count,
    dict_of,
    items,
    list_of,
    nothing_or,
    number,
    plain,
    record,
    tensor,
    text,
)
from mammorisk.weights.pickle_records import printable
from mammorisk.weights.tensor_checks import SHARED_MOST
from mammorisk.weights.torch_files import TorchFile, open_torch_file

FORMAT = 2  # of the payload; a reader refuses others
_FORMATS = 100  # above it is no format of ours, past or to come
CONFIG_MOST = 256 << 10  # bytes of the configuration's text
_WORD = (0, 2**32 - 1)  # bounds of what the generators keep

Payload = dict[str, Any]

_RANDOM = record(
    python=items(count(3, 3), tensor([torch.int64], (625,), within=_WORD), nothing_or(number)),
    numpy=items(text(20), tensor([torch.int64], (624,), within=_WORD), count(0, 624), count(0, 1), number),
    torch=tensor([torch.uint8]),
    cuda=list_of(tensor([torch.uint8]), most=1),
)
_PAYLOAD = record(
    format=count(FORMAT, FORMAT),
    version=text(100),
    config=text(CONFIG_MOST, lines=True),
    epoch=count(),
    batch=count(),
    global_step=count(),
    best=number,
    best_epoch=count(),
    epochs_without_improvement=count(),
    world_size=count(1),
    samples=record(train=text(200), val=text(200)),
    history=list_of(dict_of(number)),
    model=dict_of(tensor(shared=True)),
    optimizer=record(state=dict_of(dict_of(plain), key=int), param_groups=list_of(dict_of(plain))),
    schedules=record(steps=count(), warmup=dict_of(plain), plateau=dict_of(plain)),
    scaler=nothing_or(dict_of(plain)),
    random=list_of(_RANDOM),
    predictions=list_of(dict_of(tensor([torch.float32, torch.int64], finite=False))),
)


def read_payload(path: Path) -> Payload:
    """A checkpoint's content on the CPU, each entry of its type, and all weights finite (docs/pitfalls.md#p10, #p23).

    Raises:
        UserError: no such file, cut off, no checkpoint of ours, or an invalid entry, which the message names.
    """
    return read_hashed_payload(path)[0]


def read_hashed_payload(path: Path) -> tuple[Payload, str]:
    """``read_payload`` and the file's SHA-256 from one opening, so that the hash is that of the weights.

    Raises:
        UserError: as ``read_payload``.
    """
    try:
        with open_regular(path) as file:
            payload = _checked(open_torch_file(file, path, _refusal, numbered=True), path)
            file.seek(0)
            return payload, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {error}.") from error


def _refusal(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} cannot be read as a checkpoint: the file {error}.\nCopy it again, or take another checkpoint of its "
        "training; do not use it if it comes from someone you do not know."
    )


class OtherFormatError(UserError):
    """A checkpoint by another version of mammorisk."""


def _checked(opened: TorchFile, path: Path) -> Payload:
    content = opened.content
    form = content.get("format") if isinstance(content, dict) else None
    if type(form) is int and form != FORMAT and 0 < form < _FORMATS:
        raise OtherFormatError(
            f"{path} is a checkpoint of format {form}, and this version of mammorisk reads format {FORMAT}. "
            "Continue it "
            "with the version that wrote it, or begin a new training in another folder."
        )
    if type(form) is not int or form != FORMAT:
        raise UserError(
            f"{path} is not a checkpoint of this version of mammorisk. Weights of other projects go to "
            "model.encoder.pretrained."
        )
    try:
        if opened.left_out:
            raise BadEntry(f"{opened.left_out:,} entries have names that are neither text nor whole numbers")
        payload: Payload = _PAYLOAD(content, "", Reader(opened.tensor, SHARED_MOST * opened.size))
        _check_together(payload)
    except BadEntry as error:
        raise UserError(
            f"{path} is a damaged checkpoint. {printable(str(error), 300)}.\nTake another checkpoint of its training, "
            "or copy it again; NaN in weights means that the weights diverged before this epoch."
        ) from error
    return payload


def _check_together(payload: Payload) -> None:
    """Check entries that must agree with each other."""
    if payload["best_epoch"] > payload["epoch"]:
        raise BadEntry("best_epoch: it is an epoch that was not reached")
    if len(payload["config"].encode()) > CONFIG_MOST:
        raise BadEntry(f"config: has more than {CONFIG_MOST:,} bytes")
    for name in ("random", "predictions"):
        if len(payload[name]) != payload["world_size"]:
            raise BadEntry(f"{name}: expected an entry for each of {payload['world_size']:,} processes")
    for rank, predicted in enumerate(payload["predictions"]):
        _check_predictions(predicted, f"predictions.{rank}")


def _check_predictions(predicted: dict[str, Tensor], where: str) -> None:
    """Check that predictions have sample numbers, and a row of numbers for each."""
    if not predicted:
        return
    samples = predicted.get("sample")
    if samples is None or samples.dim() != 1 or samples.dtype != torch.int64:
        raise BadEntry(f"{where}.sample: expected the numbers of samples")
    for name, found in predicted.items():
        if found.dim() < 1 or len(found) != len(samples) or (name != "sample" and found.dtype != torch.float32):
            raise BadEntry(f"{where}.{name}: expected numbers of {len(samples):,} samples as float32")
