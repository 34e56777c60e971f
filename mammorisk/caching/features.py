"""Feature cache (``model.encoder.cache``): features of a frozen encoder, computed before a training.

float32, so that a model's outputs are the same with the cache and without: float16 would change them by more than 1e-4.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mammorisk.augment.longitudinal import NoAugment
from mammorisk.caching.arrays import ArrayEntries, network_meaning
from mammorisk.caching.fill import Computation, precompute
from mammorisk.datasets.features import FeatureRequest, Floats
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import read_image
from mammorisk.errors import UserError
from mammorisk.models.base import RiskModel, is_frozen

FORMAT = 2  # of the entries and of their computation: raise it when either changes
MANY, PIXELS = 64, 2**21  # images encoded at once: PIXELS / (H W), at most MANY
_OFF = "model.encoder.cache=null"


class FeatureCache(ArrayEntries):
    """Cached features [C, h, w] of one encoder.

    Args:
        folder: base folder, which several encoders may share.
        encoder: frozen, with ``settings``, ``out_channels`` and ``feature_size``.
        image_size: (H, W) of its input images.
    """

    setting, advice = "model.encoder.cache", f"{_OFF} to encode images for each batch"
    suffix, record_name = ".features", "features.json"
    dtype, what, of = "<f4", "features", "images"

    def __init__(self, folder: str | Path, encoder: Any, image_size: tuple[int, int]) -> None:
        shape = (int(encoder.out_channels), *encoder.feature_size(image_size))
        record = {"format": FORMAT, "encoder": network_meaning(encoder), "image_size": list(image_size)}
        super().__init__(folder, {**record, "dtype": self.dtype}, shape)


@dataclass(frozen=True)
class KeptImage:
    """Image with the name of its entry in the cache."""

    name: str
    file: str
    mirror: bool

    def load(self, image_size: tuple[int, int]) -> Tensor:
        """Load the image as the models get it, [1, H, W].

        Raises:
            UserError: it cannot be read.
        """
        return torch.from_numpy(read_image(self.file, image_size, self.mirror))


class CachedFeatures:
    """Features of a split's images, read from the cache of ``encoder``.

    An entry that disappears or is damaged during a training is computed again on the worker's CPU.

    Args:
        encoder: frozen, with ``cache``; see ``FeatureCache``.
        request: the images.

    Raises:
        UserError: an image cannot be read.
    """

    def __init__(self, encoder: nn.Module, request: FeatureRequest) -> None:
        self.cache = FeatureCache(str(encoder.cache), encoder, request.image_size)
        self.encoder = copy.deepcopy(encoder).cpu()  # the model's own moves to the device
        self.image_size = request.image_size
        self._images = _images(request)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (C, h, w) of the features."""
        return self.cache.shape

    @property
    def images(self) -> list[KeptImage]:
        """All images of the request."""
        return list(self._images.values())

    def read(self, row: int) -> Floats:
        """See ``FeatureSource``."""
        image = self._images[row]
        return self.cache.get_or_compute(image.name, lambda: self._found(image))

    def _found(self, image: KeptImage) -> Floats:
        features: Floats = self.cache.kept(features_of(self.encoder, image.load(self.image_size)[None]))[0]
        return features


def feature_source(model: RiskModel, request: FeatureRequest) -> CachedFeatures | None:
    """Build a dataset's source of features; None: the model runs its encoder for each batch.

    Raises:
        UserError: the encoder cannot have a cache, or an image cannot be read.
    """
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module) or getattr(encoder, "cache", None) is None:
        return None
    found = f"model.encoder.cache={encoder.cache}"
    if model.encoder_module is None:
        raise UserError(
            f"{found}: {type(model).__name__} does not take kept features, or with its settings encodes images that "
            f"are warped first (model.alignment=image). Set {_OFF}."
        )
    if not is_frozen(encoder):
        raise UserError(
            f"{found}: the encoder is trained, and its features change with every step. Set {_OFF}, or take it out of "
            "training, model.encoder.freeze=true."
        )
    return CachedFeatures(encoder, request)


def check_augment(model: RiskModel, augment: Any) -> None:
    """Check that the cached features belong to the images of the training.

    Raises:
        UserError: images are augmented although features are cached.
    """
    cache = getattr(getattr(model, "encoder", None), "cache", None)
    if cache is not None and not isinstance(augment, NoAugment):
        raise UserError(
            f"model.encoder.cache={cache}: features are kept of images as they are, and {type(augment).__name__} "
            f"changes them in every epoch. Set augment=none, or {_OFF}."
        )


@torch.no_grad()
def features_of(encoder: nn.Module, images: Tensor) -> Tensor:
    """Compute the features [N, C, h, w] of images [N, 1, H, W] in float32."""
    with torch.autocast(images.device.type, enabled=False):
        features: Tensor = encoder(images)
    return features


def precompute_features(
    sources: Sequence[CachedFeatures], encoder: nn.Module, device: torch.device, threads: int = 1
) -> int:
    """Compute the features that the cache lacks for some splits, as ``precompute`` does. Collective.

    Args:
        sources: one per split, at least one, all of ``encoder``.
        encoder: frozen; moved to ``device``.
        device: of the computation.
        threads: number of threads that read images.
    """
    first, images = sources[0], [image for source in sources for image in source.images]
    rows, columns = first.image_size
    size = min(MANY, max(1, PIXELS // (rows * columns)))
    computation = Computation(encoder, functools.partial(features_of, encoder), first.image_size, size)
    return precompute(first.cache, images, computation, device, threads)


def entry_name(identity: bytes, mirror: bool) -> str:
    """Name of an image's entry: a hash of its identity and of whether it is mirrored."""
    return hashlib.sha256(identity + (b"|mirrored" if mirror else b"|native")).hexdigest()[:32]


def _images(request: FeatureRequest) -> dict[int, KeptImage]:
    file, mirror = request.table["file"].to_numpy(dtype=object), request.mirrored
    identity = image_identities(sorted({str(file[row]) for row in request.rows}))
    return {
        row: KeptImage(entry_name(identity[file[row]], bool(mirror[row])), file[row], bool(mirror[row]))
        for row in request.rows.tolist()
    }
