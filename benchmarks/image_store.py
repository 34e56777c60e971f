#!/usr/bin/env python3
"""Size and reading speed of image formats: candidates for ``dataset.cache`` next to PNG.

Every candidate writes the same 16-bit images to files and reads them back, one thread, to the float32 [1, H, W] that
a model gets; PNG is read by ``mammorisk.datasets.images.read_image`` in the same rounds. Times are CPU times of
the process, so that other work on the machine counts little; files are in the system's memory. Packages that are not
installed are left out:

    pip install zarr h5py hdf5plugin lmdb zstandard lz4 imagecodecs numcodecs
    mammorisk-phantom out=/tmp/images image_height=2048 num_women=6
    python benchmarks/image_store.py /tmp/images --json store.json

usage: image_store.py FOLDER [--images N] [--rounds N] [--only WORD] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import xxhash
from PIL import Image

from mammorisk.caching.images import ImageStore
from mammorisk.datasets.images import as_floats, decode_image, read_image

Encode = Callable[[np.ndarray], bytes]
Decode = Callable[[bytes, tuple[int, int]], np.ndarray]


@dataclass
class Candidate:
    """A way to keep images; ``write`` makes its files in a folder, ``read`` gives one of them as float32."""

    name: str
    write: Callable[[Path, list[np.ndarray]], None]
    read: Callable[[Path, int, tuple[int, int]], np.ndarray]
    seconds: list[float] = field(default_factory=list)  # of an image, in each round
    writing: float = 0.0
    size: int = 0


def single_files(name: str, encode: Encode, decode: Decode) -> Candidate:
    """A file for each image: a check sum, then the encoded image."""

    def write(folder: Path, images: list[np.ndarray]) -> None:
        for i, image in enumerate(images):
            body = encode(image)
            (folder / str(i)).write_bytes(xxhash.xxh3_64_digest(body) + body)

    def read(folder: Path, i: int, size: tuple[int, int]) -> np.ndarray:
        body = memoryview((folder / str(i)).read_bytes())
        assert xxhash.xxh3_64_digest(body[8:]) == body[:8]
        return as_floats(decode(body[8:], size))

    return Candidate(name, write, read)


def pngs() -> Iterator[Candidate]:
    """PNG as ``mammorisk-phantom`` writes it (OpenCV, level 1), and as Pillow does (level 6)."""

    def by_opencv(folder: Path, images: list[np.ndarray]) -> None:
        for i, image in enumerate(images):
            cv2.imwrite(str(folder / f"{i}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    def by_pillow(folder: Path, images: list[np.ndarray]) -> None:
        for i, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{i}.png")

    for name, write in (("PNG", by_opencv), ("PNG by Pillow", by_pillow)):
        yield Candidate(name, write, lambda folder, i, size: read_image(str(folder / f"{i}.png"), size))


def our_store() -> Candidate:
    """``dataset.cache`` as it is, with identities, header and check sum."""
    stores: dict[Path, ImageStore] = {}

    def write(folder: Path, images: list[np.ndarray]) -> None:
        store = ImageStore(folder, images[0].shape, {str(i): i.to_bytes(73, "big") for i in range(len(images))})
        for i, image in enumerate(images):
            store.write(store.name(str(i)), image)
        stores[folder] = store

    def read(folder: Path, i: int, size: tuple[int, int]) -> np.ndarray:
        return as_floats(stores[folder].pixels(str(i)))  # fails without an entry: there is no file to decode

    return Candidate("dataset.cache", write, read)


def blosc2_chunks() -> Iterator[Candidate]:
    """Blosc2 chunks by codec and filter, and the b2nd array."""
    import blosc2

    blosc2.set_nthreads(1)
    codecs, filters = blosc2.Codec, blosc2.Filter

    def chunk(codec: blosc2.Codec, level: int, *steps: blosc2.Filter) -> tuple[Encode, Decode]:
        how = {"codec": codec, "clevel": level, "typesize": 2, "nthreads": 1}
        how["filters"] = [filters.NOFILTER] * (6 - len(steps)) + list(steps)
        how["filters_meta"] = [0] * 5 + [2 if filters.BYTEDELTA in steps else 0]

        def decode(body: bytes, size: tuple[int, int]) -> np.ndarray:
            pixels = np.empty(size, np.uint16)
            blosc2.decompress2(body, dst=pixels, nthreads=1)
            return pixels

        return lambda image: blosc2.compress2(image, **how), decode

    shuffle, delta = filters.SHUFFLE, (filters.SHUFFLE, filters.BYTEDELTA)
    yield single_files("blosc2 lz4, shuffle", *chunk(codecs.LZ4, 5, shuffle))
    yield single_files("blosc2 lz4, bit shuffle", *chunk(codecs.LZ4, 5, filters.BITSHUFFLE))
    yield single_files("blosc2 lz4, byte delta", *chunk(codecs.LZ4, 5, *delta))
    yield single_files("blosc2 zstd 1, shuffle", *chunk(codecs.ZSTD, 1, shuffle))
    yield single_files("blosc2 zstd 1, bit shuffle", *chunk(codecs.ZSTD, 1, filters.BITSHUFFLE))
    yield single_files("blosc2 zstd 1, byte delta", *chunk(codecs.ZSTD, 1, *delta))
    yield single_files("blosc2 zstd 3, byte delta", *chunk(codecs.ZSTD, 3, *delta))

    params = blosc2.CParams(
        codec=codecs.ZSTD, clevel=1, filters=[0, 0, 0, 0, *delta], filters_meta=[0] * 5 + [2], nthreads=1
    )
    yield single_files(
        "blosc2 b2nd, same filters",
        lambda image: blosc2.asarray(image, chunks=image.shape, cparams=params).to_cframe(),
        lambda body, size: blosc2.ndarray_from_cframe(bytes(body))[...],
    )


def numcodecs_chunks() -> Iterator[Candidate]:
    """Blosc 1 as zarr 2 and 3 use it."""
    import numcodecs.blosc

    numcodecs.blosc.use_threads = False
    for codec, level, shuffle in (("lz4", 5, 1), ("zstd", 1, 1), ("zstd", 1, 2)):
        blosc = numcodecs.blosc.Blosc(cname=codec, clevel=level, shuffle=shuffle)
        words = f"numcodecs {codec}, {'bit ' if shuffle == 2 else ''}shuffle"
        yield single_files(
            words, blosc.encode, lambda body, size, b=blosc: np.frombuffer(b.decode(body), np.uint16).reshape(size)
        )


def plain_codecs() -> Iterator[Candidate]:
    """General compressors without filters, and none at all."""

    def pixels(body: bytes, size: tuple[int, int]) -> np.ndarray:
        return np.frombuffer(body, np.uint16).reshape(size)

    yield single_files("uncompressed", lambda image: image.tobytes(), pixels)
    with contextlib.suppress(ImportError):
        import zstandard

        pack, unpack = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()
        yield single_files(
            "zstd 1", lambda image: pack.compress(image.tobytes()), lambda b, s: pixels(unpack.decompress(b), s)
        )
    with contextlib.suppress(ImportError):
        import lz4.block

        yield single_files(
            "lz4", lambda image: lz4.block.compress(image.tobytes()), lambda b, s: pixels(lz4.block.decompress(b), s)
        )


def image_codecs() -> Iterator[Candidate]:
    """Lossless image formats."""
    import imagecodecs

    yield single_files("JPEG-LS", imagecodecs.jpegls_encode, lambda body, size: imagecodecs.jpegls_decode(bytes(body)))
    yield single_files(
        "HTJ2K",
        lambda image: imagecodecs.htj2k_encode(image, reversible=True),
        lambda body, size: imagecodecs.htj2k_decode(bytes(body)),
    )


def hdf5() -> Iterator[Candidate]:
    """One HDF5 file, a chunk an image."""
    import h5py
    import hdf5plugin

    opened: dict[Path, h5py.File] = {}

    def write(folder: Path, images: list[np.ndarray]) -> None:
        with h5py.File(folder / "images.h5", "w") as file:
            how = hdf5plugin.Blosc2(cname="zstd", clevel=1, filters=hdf5plugin.Blosc2.BITSHUFFLE)
            shape = images[0].shape
            data = file.create_dataset("images", (len(images), *shape), "u2", chunks=(1, *shape), **how)
            for i, image in enumerate(images):
                data[i] = image

    def read(folder: Path, i: int, size: tuple[int, int]) -> np.ndarray:
        if folder not in opened:
            opened[folder] = h5py.File(folder / "images.h5")
        return as_floats(opened[folder]["images"][i])

    yield Candidate("HDF5, blosc2 zstd 1, bit shuffle", write, read)


def zarr3() -> Iterator[Candidate]:
    """A zarr 3 array, a chunk an image."""
    import zarr

    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    opened: dict[Path, zarr.Array] = {}

    def write(folder: Path, images: list[np.ndarray]) -> None:
        shape = images[0].shape
        data = zarr.create_array(
            folder / "images", shape=(len(images), *shape), chunks=(1, *shape), dtype="u2", compressors=codec
        )
        for i, image in enumerate(images):
            data[i] = image

    def read(folder: Path, i: int, size: tuple[int, int]) -> np.ndarray:
        if folder not in opened:
            opened[folder] = zarr.open_array(folder / "images", mode="r")
        return as_floats(opened[folder][i])

    yield Candidate("zarr 3, blosc zstd 1, bit shuffle", write, read)


def lmdb_of_chunks() -> Iterator[Candidate]:
    """One LMDB file of the chunks that ``dataset.cache`` keeps."""
    import lmdb

    opened: dict[Path, tuple[lmdb.Environment, ImageStore]] = {}

    def write(folder: Path, images: list[np.ndarray]) -> None:
        store = ImageStore(folder, images[0].shape, {})
        base = lmdb.open(str(folder), map_size=2**40)
        with base.begin(write=True) as transaction:
            for i, image in enumerate(images):
                transaction.put(str(i).encode(), store.encode(image))
        opened[folder] = base, store

    def read(folder: Path, i: int, size: tuple[int, int]) -> np.ndarray:
        base, store = opened[folder]
        with base.begin(buffers=True) as transaction:
            return as_floats(store.decode(transaction.get(str(i).encode())))

    yield Candidate("LMDB, blosc2 zstd 1, byte delta", write, read)


def candidates(only: str) -> list[Candidate]:
    """All candidates that are installed; PNG and ours always."""
    found = [*pngs(), our_store()]
    for kind in (blosc2_chunks, numcodecs_chunks, plain_codecs, image_codecs, hdf5, zarr3, lmdb_of_chunks):
        try:
            found += [each for each in kind() if only in each.name]
        except ImportError as error:
            print(f"left out: {error}")
    return found


def kinds(images: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """The images as they are (noise in all 16 bits), and imitations of real ones."""

    def twelve_bits(image: np.ndarray) -> np.ndarray:
        return np.rint((image >> 4) * (65535 / 4095)).astype(np.uint16)

    def smooth(image: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5)
        return np.where(image == 0, 0, np.rint(blurred)).astype(np.uint16)

    return {
        "phantom": images,
        "phantom of 12 bits": [twelve_bits(image) for image in images],
        "smoothed phantom": [smooth(image) for image in images],
        "smoothed phantom of 12 bits": [twelve_bits(smooth(image)) for image in images],
    }


def measure(tried: list[Candidate], images: list[np.ndarray], rounds: int, base: Path) -> list[dict[str, object]]:
    """Write once, then read in rounds of all candidates in turn; a row for each."""
    size, folders = images[0].shape, [base / str(i) for i in range(len(tried))]
    for each, folder in zip(tried, folders, strict=True):
        folder.mkdir()
        start = time.process_time()
        each.write(folder, images)
        each.writing = time.process_time() - start
        each.size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        for i, image in enumerate(images):
            np.testing.assert_array_equal(each.read(folder, i, size), as_floats(image), each.name)
    for _ in range(rounds):
        for each, folder in zip(tried, folders, strict=True):
            start = time.process_time()
            for i in range(len(images)):
                each.read(folder, i, size)
            each.seconds.append((time.process_time() - start) / len(images))
    png = tried[0]
    return [
        {
            "name": each.name,
            "reads_per_second": 1 / float(np.median(each.seconds)),
            "times_png": float(np.median([p / s for p, s in zip(png.seconds, each.seconds, strict=True)])),
            "writes_per_second": len(images) / each.writing,
            "bytes_of_png": each.size / png.size,
        }
        for each in tried
    ]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("folder", type=Path, help="16-bit PNGs of one size, in it or below")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the names of the candidates to try")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    every = sorted(map(str, arguments.folder.rglob("*.png")))
    files = every[:: max(1, len(every) // arguments.images)][: arguments.images]
    megabytes = np.mean([Path(file).stat().st_size for file in files]) / 1e6
    first = np.asarray(Image.open(files[0]))
    images = [decode_image(file, Path(file).read_bytes(), first.shape) for file in files]
    black = np.mean([(image == 0).mean() for image in images])
    print(f"{len(files)} images of {first.shape[0]} x {first.shape[1]}, {megabytes:.2f} MB each, {black:.0%} black")
    tables: dict[str, list[dict[str, object]]] = {}
    for kind, pictures in kinds(images).items():
        with tempfile.TemporaryDirectory() as base:
            tables[kind] = measure(candidates(arguments.only), pictures, arguments.rounds, Path(base))
        print(f"\n{kind:34} {'reads/s':>8} {'x PNG':>6} {'writes/s':>9} {'bytes of PNG':>13}")
        for row in tables[kind]:
            numbers = f"{row['reads_per_second']:8.0f} {row['times_png']:6.1f} {row['writes_per_second']:9.1f}"
            print(f"{row['name']!s:34} {numbers} {row['bytes_of_png']:13.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"images": len(files), "size": first.shape, "kinds": tables}, indent=2))


if __name__ == "__main__":
    main()
