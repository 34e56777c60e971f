"""Loader speed: images per second with 0, 1 and 2 workers, from the image store and from PNGs.

    python benchmarks/loading.py [--women 4] [--size 2048 1664] [--json FILE]

A phantom cohort's exams of four views, from disk (files in the system's memory) to batches of tensors on the host. The
plain variant reads each PNG with OpenCV, makes it float32 and adds the channel, in the loading process itself.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from measuring import Row, conditions, fastest
from omegaconf import DictConfig
from torch.utils.data import DataLoader, Dataset

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.datasets.loaders import EpochSampler
from mammorisk.runs.directory import register_resolvers
from mammorisk.training.data_module import decode_images, read_splits, split_loader

BATCH = 2  # exams of four views
ROUNDS = 5  # in which all take turns


class PlainImages(Dataset[torch.Tensor]):
    """Images of files in the common way: one after the other."""

    def __init__(self, files: list[str], size: tuple[int, int]) -> None:
        self.files, self.size = files, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        pixels = cv2.imread(self.files[index], cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        resized = cv2.resize(pixels, self.size[::-1]) if pixels.shape != self.size else pixels
        return torch.from_numpy(resized.astype(np.float32) / 65535).unsqueeze(0)


def through(loader: DataLoader[Any]) -> None:
    """Load an epoch, with each batch as a model on this device gets it."""
    for batch in loader:
        batch.to("cpu")


def configured(folder: Path, women: int, size: tuple[int, int], workers: int) -> DictConfig:
    """Mirai on a phantom cohort with images of ``size``, kept decoded."""
    words = [
        "experiment=quickstart",
        "model=mirai",
        f"dataset.generator.folder={folder}",
        f"dataset.cache={folder}/store",
    ]
    words += [f"dataset.generator.num_women={women}", f"dataset.generator.image_height={size[0]}"]
    words += [f"dataset.image_size=[{size[0]},{size[1]}]", f"dataset.num_workers={workers}"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=words)


def rows_of(folder: Path, women: int, size: tuple[int, int]) -> list[Row]:
    """A row for the plain way and one for each number of workers."""
    config = configured(folder, women, size, 0)
    _, splits = read_splits(config.dataset, instantiate(config.model), ("train",))
    data = splits["train"]
    store = decode_images([data], config.dataset)
    files = [data.table["file"].iloc[row] for row in data.samples.images.ravel() if row >= 0]
    plain = DataLoader(PlainImages(files, size), batch_size=4 * BATCH)
    loaders = {"plain, 0 workers": plain}
    for workers in (0, 1, 2):
        sampler = EpochSampler(len(data.samples), BATCH, training=False)
        own = configured(folder, women, size, workers)
        loaders[f"ours, {workers} workers"] = split_loader(
            data, sampler, own.dataset, own.seed, torch.device("cpu"), store
        )
    found: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(ROUNDS):
        for name, loader in loaders.items():
            found[name].append(fastest(lambda loader=loader: through(loader), 1))
    rows: list[Row] = []
    for name, each in found.items():
        seconds = min(each)
        row = {"work": "loader", "variant": name, "seconds": seconds, "images_per_s": len(files) / seconds}
        rows.append(row | {"faster": (rows[0] if rows else row)["seconds"] / seconds})
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--women", type=int, default=8, help="of the cohort, of whom some train")
    parser.add_argument("--size", type=int, nargs=2, default=(2048, 1664), help="height and width of the images")
    parser.add_argument("--json", type=Path, help="file for the results")
    chosen = parser.parse_args()
    register_schemas()
    register_resolvers()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), chosen.women, (chosen.size[0], chosen.size[1]))
    print(json.dumps(rows, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
