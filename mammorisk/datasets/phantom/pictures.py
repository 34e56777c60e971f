"""Drawing and writing of the images of many women, in several processes."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import joblib
import numpy as np
from joblib.externals.loky import get_reusable_executor
from numpy.typing import NDArray

from mammorisk.datasets.phantom.render import PictureRules, render_woman
from mammorisk.datasets.phantom.woman import LATERALITIES, VIEWS, Woman
from mammorisk.system.worker_limits import checked_workers
from mammorisk.system.worker_pool import end_with

DISPLACEMENTS = "displacements"  # folder of the true displacements, named as the images are
_SMALL = 2**19  # women x rows^2 below which starting processes takes longer than it saves
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@dataclass(frozen=True)
class Album:
    """Images of one woman, to be written."""

    woman: Woman
    times: tuple[float, ...]  # years of her exams from the first
    files: tuple[str, ...]  # images/….png by exam, breast (R, L) and view (CC, MLO)


@dataclass(frozen=True)
class Printing:
    """Settings for writing images."""

    rules: PictureRules
    image_height: int
    displacements: bool = False


def write_albums(albums: Sequence[Album], folder: Path, printing: Printing, num_workers: int | None) -> Iterator[int]:
    """Write all images below ``folder``, and yield the number of women after each part.

    The files do not depend on the number of processes.

    Args:
        albums: images of each woman.
        folder: an existing folder.
        printing: settings.
        num_workers: processes; None: all usable cores, or this process alone if there is little to do.
    """
    _make_folders(albums, folder, printing.displacements)
    workers = _workers(len(albums), printing.image_height, num_workers)
    size = max(1, min(16, math.ceil(len(albums) / (8 * workers))))
    parts = [albums[start : start + size] for start in range(0, len(albums), size)]
    if workers == 1:
        yield from (_write_part(part, folder, printing) for part in parts)
        return
    parallel = joblib.Parallel(workers, backend="loky", return_as="generator_unordered", max_nbytes=None)
    try:
        yield from parallel(joblib.delayed(_work_for)(os.getpid(), part, folder, printing) for part in parts)
    except BaseException:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)  # no process must write after an error
        raise
    get_reusable_executor().shutdown(wait=True)


def bytes_needed(images: int, image_height: int, image_width: int, displacements: bool) -> int:
    """Upper estimate of the bytes of the images on disk."""
    per_pixel = 2 + (4 if displacements else 0)
    return images * (per_pixel * image_height * image_width + (8192 if displacements else 4096))


def field_file(image_file: str) -> str:
    """``displacements/….npy`` of ``images/….png``."""
    return str(Path(DISPLACEMENTS, *Path(image_file).parts[1:]).with_suffix(".npy"))


def _workers(women: int, image_height: int, num_workers: int | None) -> int:
    if num_workers is not None:
        return min(checked_workers(num_workers, "num_workers"), women)
    is_small = women * image_height**2 < _SMALL
    return 1 if is_small else min(joblib.cpu_count(), women)


def _make_folders(albums: Sequence[Album], folder: Path, displacements: bool) -> None:
    files = {file for album in albums for file in album.files}
    parents = {str(Path(file).parent) for file in files}
    if displacements:
        parents |= {str(Path(field_file(file)).parent) for file in files}
    for parent in sorted(parents):
        (folder / parent).mkdir(parents=True, exist_ok=True)


def _work_for(parent: int, albums: Sequence[Album], folder: Path, printing: Printing) -> int:
    """Run ``_write_part`` in a process that ends if ``parent`` is killed."""
    end_with(parent)  # joblib's processes outlive their parent by minutes
    return _write_part(albums, folder, printing)


def _write_part(albums: Sequence[Album], folder: Path, printing: Printing) -> int:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the processes already use all cores
    try:
        for album in albums:
            _write_album(album, folder, printing)
    finally:
        cv2.setNumThreads(threads)
    return len(albums)


def _write_album(album: Album, folder: Path, printing: Printing) -> None:
    pictures = render_woman(album.woman, album.times, printing.rules, printing.image_height, printing.displacements)
    for picture in pictures:
        breast = picture.exam * len(LATERALITIES) + LATERALITIES.index(picture.laterality)
        file = album.files[breast * len(VIEWS) + VIEWS.index(picture.view)]
        (folder / file).write_bytes(_png(picture.pixels))
        if picture.displacement is not None:
            np.save(folder / field_file(file), picture.displacement.astype(np.float16))


def _png(pixels: NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", pixels, _FAST)[1].tobytes()
