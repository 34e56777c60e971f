"""Reading of weight files with their format, origin and image settings (docs/pitfalls.md#p31)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mammorisk.errors import UserError
from mammorisk.system.regular_files import open_regular, read_text
from mammorisk.system.strict_yaml import read_strict_yaml
from mammorisk.weights.formats import ENCODER, WeightFormat, find_format
from mammorisk.weights.hub import RESNET18_IMAGENET, hub_file
from mammorisk.weights.image_settings import ImageSettings
from mammorisk.weights.loading import existing, read_safetensors, renamed_state, without_prefix
from mammorisk.weights.pickle_records import printable
from mammorisk.weights.renaming import State, Table, encoder_table
from mammorisk.weights.snapshots import read_torch_state

NOTE = "mammorisk"  # key of our note in a safetensors file's metadata
NOTE_MOST = 1 << 16  # bytes of a note beside a file, and of the config in a checkpoint
ORIENTATIONS = ("native", "left")
SCALE = ("input_mean", "input_std")


@dataclass(frozen=True)
class Weights:
    """Weights of a file, in its own names."""

    state: State
    kind: WeightFormat | None  # None: unknown format
    images: ImageSettings | None  # what they expect of an image; None: they take none, or it is unknown
    path: Path
    sha256: str  # of the file, hexadecimal
    format: str  # for people

    def encoder(self) -> tuple[State, Table]:
        """The image encoder's part and the table that renames it.

        Raises:
            UserError: there is none.
        """
        if self.kind is None:
            return self.state, encoder_table(self.state)
        if self.kind.target == ENCODER:
            return self.state, self.kind.table
        renamed = renamed_state(self.state, self.kind.table, str(self.path))
        part = {key.removeprefix("encoder."): value for key, value in renamed.items() if key.startswith("encoder.")}
        if not part or "conv1.weight" not in part:
            raise UserError(f"Expected an image encoder in {self.path}, found {self.kind.title}, which holds none.")
        return part, []


def read_weights(source: str | Path) -> Weights:
    """Read a file in any format of ``FORMATS`` or ours, or ``imagenet``; nothing in it is executed.

    Raises:
        UserError: no such file, or it cannot be read.
    """
    path = hub_file(*RESNET18_IMAGENET) if str(source) == "imagenet" else existing(source)
    with open_regular(path) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    note: Mapping[str, Any] = {}
    if path.suffix == ".safetensors":
        state, note, container = without_prefix(read_safetensors(path)), _note(path), "safetensors"
        images = _settings(note.get("images")) or _own_settings(state)
    else:
        read = read_torch_state(path)
        state = without_prefix(read.state)
        images = _own_settings(state, read.config)
        container = "torch" if read.snapshot_of is None else f"pickled module, {read.container} format"
    kind = find_format(state)
    if images is None and kind is not None:
        images = kind.images
    title = printable(str(note.get("title", ""))) or (kind.title if kind is not None else "unknown names")
    return Weights(state, kind, images, path, sha256, f"{title} ({container})")


def _note(path: Path) -> Mapping[str, Any]:
    """Our note in a safetensors file, or else in the JSON file beside it."""
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(NOTE)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"Expected a safetensors file at {path}, could not read it: {error}.") from error
    beside = path.with_suffix(".json")
    try:
        if text is None and beside.is_file() and beside.stat().st_size <= NOTE_MOST:
            text = read_text(beside)
        note = json.loads(text) if text is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, Mapping) else {}


def _settings(node: object) -> ImageSettings | None:
    """Settings from a mapping; None if they are incomplete."""
    if not isinstance(node, Mapping):
        return None
    mean, std, orientation = (node.get(key) for key in ("input_mean", "input_std", "orientation"))
    if not isinstance(mean, int | float) or not isinstance(std, int | float) or not 0 < std < math.inf:
        return None
    if not math.isfinite(mean):
        return None
    return ImageSettings(float(mean), float(std), str(orientation) if orientation in ORIENTATIONS else None)


def _own_settings(state: State, stored_config: str | None = None) -> ImageSettings | None:
    """Settings in the state dict of an encoder of ours, and in the configuration stored beside it."""
    node: dict[str, Any] = {}
    if stored_config is not None and len(stored_config) <= NOTE_MOST:
        with suppress(UserError, LookupError, TypeError):
            written = read_strict_yaml(stored_config, "the checkpoint")
            node["orientation"] = written["dataset"]["orientation"]
            node.update({name: written["model"]["encoder"].get(name) for name in SCALE})
    for prefix in ("", "encoder."):
        for name in SCALE:
            value = state.get(prefix + name)
            if isinstance(value, Tensor) and value.numel() == 1:
                node[name] = float(value)
    return _settings(node)
