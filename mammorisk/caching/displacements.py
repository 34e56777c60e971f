"""Cached displacements of a frozen registration: filled before a training, read while training."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mammorisk.caching.displacement_files import DisplacementCache, entry_name, meaning_of
from mammorisk.caching.fill import Computation, precompute
from mammorisk.datasets.displacements import DisplacementRequest, DisplacementSource, Floats
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import read_image
from mammorisk.models.alignment import displacement_to_prior
from mammorisk.registration.ground_truth import GroundTruth, TrueDisplacements
from mammorisk.warping import resize_displacement

BATCH, MANY, PIXELS = 16, 64, 2**18  # pairs registered at once: PIXELS / (H W), at least BATCH, at most MANY


@dataclass(frozen=True)
class ImagePair:
    """Two images of one breast and view, with the name of their entry in the cache."""

    name: str
    current: str  # file
    prior: str  # file
    mirror: bool  # both are mirrored on loading

    def load(self, image_size: tuple[int, int]) -> Tensor:
        """Load both images as the models get them, [2, 1, H, W], the current one first.

        Raises:
            UserError: an image cannot be read.
        """
        files = (self.current, self.prior)
        return torch.stack([torch.from_numpy(read_image(file, image_size, self.mirror)) for file in files])


def displacement_source(registration: nn.Module | None, request: DisplacementRequest) -> DisplacementSource | None:
    """Build a dataset's source of displacements; None: the model runs its registration for each batch.

    Raises:
        UserError: the cohort has no true displacements but they are requested, or an image cannot be read.
    """
    if isinstance(registration, GroundTruth):
        return TrueDisplacements(request)
    if registration is None or getattr(registration, "cache", None) is None:
        return None
    return CachedDisplacements(registration, request)


class CachedDisplacements:
    """Displacements of a registration, read from its cache.

    An entry that disappears or is damaged during a training is computed again on the worker's CPU.

    Args:
        registration: frozen, with ``cache``, ``cache_size`` and ``settings``.
        request: the pairs.

    Raises:
        UserError: an image cannot be read.
    """

    def __init__(self, registration: nn.Module, request: DisplacementRequest) -> None:
        size = request.field_size
        if registration.cache_size == "registration":
            size = registration.image_size or request.image_size  # type: ignore[assignment]
        self.cache = DisplacementCache(str(registration.cache), meaning_of(registration, request.image_size), size)
        self.registration = copy.deepcopy(registration).cpu()  # the model's own moves to the device
        self.image_size = request.image_size
        self._pairs = {(int(c), int(p)): pair for (c, p), pair in zip(request.pairs, _pairs(request), strict=True)}

    @property
    def size(self) -> tuple[int, int]:
        """Grid (h, w) of the displacements."""
        return self.cache.size

    @property
    def pairs(self) -> list[ImagePair]:
        """All pairs of the request."""
        return list(self._pairs.values())

    def read(self, current: int, prior: int) -> Floats:
        """See ``DisplacementSource``."""
        pair = self._pairs[current, prior]
        return self.cache.get_or_compute(pair.name, lambda: self._found(pair))

    def _found(self, pair: ImagePair) -> Floats:
        field = displacements_of(self.registration, pair.load(self.image_size)[None], self.size)
        kept: Floats = self.cache.kept(field)[0]
        return kept


@torch.no_grad()
def displacements_of(registration: nn.Module, pairs: Tensor, size: tuple[int, int]) -> Tensor:
    """Compute the displacements [N, 2, h, w] of image pairs [N, 2, 1, H, W], the current one first, at ``size``."""
    fixed, moving = pairs.unbind(1)
    return resize_displacement(displacement_to_prior(registration, fixed, moving), size)


def precompute_displacements(
    cache: DisplacementCache,
    registration: nn.Module,
    pairs: Sequence[ImagePair],
    image_size: tuple[int, int],
    device: torch.device,
    threads: int = 1,
) -> int:
    """Compute the displacements that a cache lacks, as ``precompute`` does. Collective.

    Args:
        cache: to be filled.
        registration: frozen; moved to ``device``.
        pairs: all pairs of the training.
        image_size: (H, W) of the images.
        device: of the computation.
        threads: number of threads that read images.
    """
    size = min(MANY, max(BATCH, PIXELS // (image_size[0] * image_size[1])))
    find = functools.partial(displacements_of, registration, size=cache.size)
    return precompute(cache, pairs, Computation(registration, find, image_size, size), device, threads)


def _pairs(request: DisplacementRequest) -> list[ImagePair]:
    file, mirror = request.table["file"].to_numpy(dtype=object), request.mirrored
    identity = image_identities(sorted({str(file[row]) for row in request.pairs.ravel()}))
    return [
        ImagePair(
            entry_name(identity[file[current]], identity[file[prior]], bool(mirror[current])),
            *(file[current], file[prior], bool(mirror[current])),
        )
        for current, prior in request.pairs.tolist()
    ]
