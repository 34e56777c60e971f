"""Fields of a frozen registration, found once: filling the cache before a training, reading from it while training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mammorisk.agreement import at_once, from_main
from mammorisk.datasets.fields import FieldRequest, FieldSource, Floats
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import read_image
from mammorisk.distributed import rank, world_size
from mammorisk.logs import LOGGER
from mammorisk.models.alignment import displacement_to_prior
from mammorisk.registration.cache import FieldCache, entry_name, meaning_of
from mammorisk.registration.displacement import resize_displacement
from mammorisk.registration.phantom_truth import PhantomTruth, TrueFields
from mammorisk.tracking import EpochProgress

BATCH, MANY, PIXELS = 16, 64, 2**18  # pairs registered at once: as many of small images as have so many pixels


@dataclass(frozen=True)
class ImagePair:
    """Two images of one breast and view, and the name of their entry in the cache."""

    name: str
    current: str  # file
    prior: str  # file
    mirror: bool  # both are mirrored on loading

    def load(self, image_size: tuple[int, int]) -> Tensor:
        """Both images as the models get them, [2, 1, H, W], the current one first.

        Raises:
            UserError: one cannot be read.
        """
        files = (self.current, self.prior)
        return torch.stack([torch.from_numpy(read_image(file, image_size, self.mirror)) for file in files])


def field_source(registration: nn.Module | None, request: FieldRequest) -> FieldSource | None:
    """Where a dataset reads the fields of a model's registration; None: the model has to ask it for each batch.

    Raises:
        UserError: true fields are wanted of a cohort that has none, or an image cannot be read.
    """
    if isinstance(registration, PhantomTruth):
        return TrueFields(request)
    if getattr(registration, "cache", None) is None:
        return None
    assert registration is not None
    return CachedFields(registration, request)


class CachedFields:
    """Fields of a registration from its cache.

    Should an entry be gone or damaged in the middle of a training, it is computed again on the CPU of the worker.

    Args:
        registration: frozen, with ``cache``, ``cache_size`` and ``settings``.
        request: for which pairs.

    Raises:
        UserError: an image cannot be read.
    """

    def __init__(self, registration: nn.Module, request: FieldRequest) -> None:
        size = request.field_size
        if registration.cache_size == "registration":
            size = registration.image_size or request.image_size  # type: ignore[assignment]
        self.cache = FieldCache(str(registration.cache), meaning_of(registration, request.image_size), size)
        self.registration = copy.deepcopy(registration).cpu()  # the model's own moves to the device
        self.image_size = request.image_size
        self._pairs = {(int(c), int(p)): pair for (c, p), pair in zip(request.pairs, _pairs(request), strict=True)}

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the fields."""
        return self.cache.size

    @property
    def pairs(self) -> list[ImagePair]:
        """All pairs it may be asked for."""
        return list(self._pairs.values())

    def read(self, current: int, prior: int) -> Floats:
        """See ``FieldSource``."""
        pair = self._pairs[current, prior]
        return self.cache.recall(pair.name, lambda: self._found(pair))

    def _found(self, pair: ImagePair) -> Floats:
        field: Floats = _kept(fields_of(self.registration, pair.load(self.image_size)[None], self.size))[0]
        return field


@torch.no_grad()
def fields_of(registration: nn.Module, pairs: Tensor, size: tuple[int, int]) -> Tensor:
    """Fields of pairs of images [N, 2, 1, H, W], the current one first, at ``size``: [N, 2, h, w]."""
    fixed, moving = pairs.unbind(1)
    return resize_displacement(displacement_to_prior(registration, fixed, moving), size)


def fill(
    cache: FieldCache,
    registration: nn.Module,
    pairs: Sequence[ImagePair],
    image_size: tuple[int, int],
    device: torch.device,
    threads: int = 1,
) -> int:
    """Compute the fields that a cache lacks, each process its share. Collective.

    Args:
        cache: where they go.
        registration: frozen; moved to ``device``.
        pairs: all that will be wanted.
        image_size: (H, W) of the images.
        device: where it computes.
        threads: that read images.

    Returns:
        How many were computed, by all processes.

    Raises:
        UserError: an image cannot be read, or the disk is or would become full.
    """
    names = from_main(lambda: _wanted(cache, pairs, type(registration).__name__))
    wanted = set(names)
    todo = list({pair.name: pair for pair in pairs if pair.name in wanted}.values())
    at_once(lambda: _fill_share(cache, registration.to(device), todo, image_size, device, threads))
    return len(todo)


def _wanted(cache: FieldCache, pairs: Sequence[ImagePair], name: str) -> list[str]:
    """Names of the entries to compute; says what that takes."""
    missing, damaged = cache.incomplete(list(dict.fromkeys(pair.name for pair in pairs)))
    if damaged:
        LOGGER.warning("%d damaged fields in %s are computed again, as %s", len(damaged), cache.folder, damaged[0])
    names = [*missing, *damaged]
    if not names:
        LOGGER.info("fields of all %d pairs are in %s", len(pairs), cache.folder)
        return names
    needed, (rows, columns) = len(names) * cache.entry_bytes, cache.size
    what = f"{len(names)} of {len(pairs)} fields of {rows} x {columns}, {needed / 1e6:.1f} MB"
    cache.prepare(what, needed)
    LOGGER.info("%s computes %s, to be kept in %s", name, what, cache.folder)
    return names


def _fill_share(
    cache: FieldCache,
    registration: nn.Module,
    pairs: Sequence[ImagePair],
    image_size: tuple[int, int],
    device: torch.device,
    threads: int,
) -> None:
    share = pairs[rank() :: world_size()]
    size = min(MANY, max(BATCH, PIXELS // (image_size[0] * image_size[1])))
    batches = [share[start : start + size] for start in range(0, len(share), size)]
    with (
        ThreadPoolExecutor(max(1, threads)) as readers,
        EpochProgress("fields", len(batches)) as progress,
    ):
        for batch, images in zip(batches, _read_ahead(batches, image_size, readers), strict=True):
            fields = fields_of(registration, images.to(device), cache.size)
            for pair, field in zip(batch, _kept(fields), strict=True):
                cache.write(pair.name, field)
            progress.advance(len(batch))


def _read_ahead(
    batches: Sequence[Sequence[ImagePair]], image_size: tuple[int, int], readers: ThreadPoolExecutor
) -> Iterator[Tensor]:
    """The images of each batch, [N, 2, 1, H, W]; those of the next are read meanwhile."""

    def start(batch: Sequence[ImagePair]) -> list[Future[Tensor]]:
        return [readers.submit(pair.load, image_size) for pair in batch]

    coming = start(batches[0]) if batches else []
    for after in range(1, len(batches) + 1):
        images, coming = coming, start(batches[after]) if after < len(batches) else []
        yield torch.stack([each.result() for each in images])


def _kept(fields: Tensor) -> Floats:
    """Fields [N, 2, h, w] as they come back from the cache, to the last bit."""
    kept: Floats = fields.half().float().cpu().numpy()
    return kept


def _pairs(request: FieldRequest) -> list[ImagePair]:
    file, mirror = request.table["file"].to_numpy(dtype=object), request.mirrored
    identity = image_identities(sorted({str(file[row]) for row in request.pairs.ravel()}))
    return [
        ImagePair(
            entry_name(identity[file[current]], identity[file[prior]], bool(mirror[current])),
            *(file[current], file[prior], bool(mirror[current])),
        )
        for current, prior in request.pairs.tolist()
    ]
