"""``mammorisk-import-weights``: published weights, checked, renamed and written as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from safetensors.torch import save_file

from mammorisk.cli.main import run_command
from mammorisk.errors import UserError
from mammorisk.system.atomic_files import whole_file
from mammorisk.system.printing import print_out
from mammorisk.version import __version__
from mammorisk.weights.formats import ENCODER, FORMATS, WeightFormat, check_whole
from mammorisk.weights.loading import renamed_state
from mammorisk.weights.reading import NOTE, Weights, read_weights
from mammorisk.weights.renaming import State
from mammorisk.weights.tensor_checks import check_finite, converted


def main() -> None:
    """Entry point."""
    run_command(import_weights, "import_weights")


def import_weights(config: DictConfig) -> None:
    """Read ``config.source``, write ``config.out`` and the note beside it, and print a summary.

    Raises:
        UserError: a setting is missing, the source cannot be read or does not fit, or the place cannot be written to.
    """
    out = _checked_out(config)
    weights = _of_kind(read_weights(str(config.source)), str(config.kind))
    kind, source = kind_of(weights), str(weights.path)
    renamed = renamed_state(weights.state, kind.table, source)
    state, conversion = converted(renamed, dict.fromkeys(renamed, torch.float32))
    check_whole(kind, state, source)
    check_finite(state, source)
    state.update(_scale(weights, state))
    note = note_of(weights, state) | ({"converted": conversion} if conversion else {})
    write(out, state, note)
    print_out(_summary(out, kind, note))


def kind_of(weights: Weights) -> WeightFormat:
    """The format of weights.

    Raises:
        UserError: the format is not recognised.
    """
    if weights.kind is None:
        examples = ", ".join(sorted(weights.state)[:6])
        raise UserError(
            f"The format of {weights.path} is not known by its {len(weights.state)} names ({examples}, ...).\nIf you "
            f"know it, give kind={' or '.join(kind.name for kind in FORMATS)}."
        )
    return weights.kind


def note_of(weights: Weights, state: State) -> dict[str, Any]:
    """The note beside imported weights: origin, format, tensors left out, settings of the images."""
    kind, dropped = kind_of(weights), []
    for key, tensor in weights.state.items():
        if not renamed_state({key: tensor}, kind.table, str(weights.path)):
            dropped.append(key)
    return {
        "source": weights.path.name,
        "sha256": weights.sha256,
        "kind": kind.name,
        "title": weights.format,
        "tensors": len(state),
        "dropped": sorted(dropped),
        "images": asdict(weights.images) if weights.images is not None else None,
        "mammorisk": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def write(out: Path, state: State, note: Mapping[str, Any]) -> None:
    """Write tensors and note, each file atomically.

    Raises:
        UserError: the disk is full or not writable.
    """
    own = {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}
    text = json.dumps(note, indent=2)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out.with_suffix(".json")) as unfinished:
            unfinished.write_text(text + "\n", encoding="utf-8")
        with whole_file(out) as unfinished:
            save_file(own, unfinished, metadata={NOTE: text})
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error}. Give another place, out=PATH.safetensors.") from error


def _checked_out(config: DictConfig) -> Path:
    example = "mammorisk-import-weights source=mirai_encoder.p out=weights/mirai_encoder.safetensors"
    for key in ("source", "out"):
        if OmegaConf.is_missing(config, key):
            raise UserError(f"{key} is not set: give the file to read and the one to write, for example\n  {example}")
    out = Path(str(config.out)).expanduser()
    if out.suffix != ".safetensors":
        raise UserError(f"out={config.out}: expected a name that ends with .safetensors, for example\n  {example}")
    existing = [path for path in (out, out.with_suffix(".json")) if path.exists()]
    if existing and config.overwrite is not True:
        raise UserError(f"{existing[0]} is there already. Give another name, or overwrite=true to replace it.")
    return out


def _of_kind(weights: Weights, wanted: str) -> Weights:
    """The weights with the format of ``kind=``."""
    names = [kind.name for kind in FORMATS]
    if wanted != "auto":
        if wanted not in names:
            raise UserError(f"kind={wanted}: expected auto, {', '.join(names[:-1])} or {names[-1]}.")
        kind = next(kind for kind in FORMATS if kind.name == wanted)
        same = weights.kind is kind
        return weights if same else replace(weights, kind=kind, images=kind.images, format=kind.title)
    kind_of(weights)
    return weights


def _scale(weights: Weights, state: State) -> State:
    """The intensity scale, as the buffers of the encoder in the imported weights."""
    prefix = "" if kind_of(weights).target == ENCODER else "encoder."
    if weights.images is None or f"{prefix}conv1.weight" not in state:
        return {}
    images = weights.images
    scale = {"input_mean": images.input_mean, "input_std": images.input_std}
    return {prefix + name: torch.tensor(value) for name, value in scale.items()}


def _summary(out: Path, kind: WeightFormat, note: Mapping[str, Any]) -> str:
    lines = [f"{out}: {note['tensors']} tensors of {note['title']}; {len(note['dropped'])} were left out."]
    if note.get("converted"):
        lines.append(f"Of them {note['converted']}.")
    if (images := note["images"]) is not None:
        scale = f"(16-bit value - {images['input_mean']:.6g}) / {images['input_std']:.6g}"
        lines.append(f"Their images are scaled as {scale}, in orientation {images['orientation'] or 'not known'}.")
    key, part = _USES.get(kind.name, ("model.encoder.pretrained", "image encoder"))
    return "\n".join([*lines, f"Use its {part}:\n  mammorisk-train {key}={out}"])


_USES = {
    "mammoregnet": ("registration=mammoregnet registration.checkpoint", "registration network"),
    "mirai_transformer": ("model=mirai model.pretrained", "image aggregator"),
}

if __name__ == "__main__":
    main()
