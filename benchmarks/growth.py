"""Growth of a training: measure the cost of one process, image, sample and step, and multiply.

    python benchmarks/growth.py [--model lmv_net] [--constants FILE] [--out FILE.json]

Prints the tables of docs/how_it_grows.md. Costs of an image, a process and a checkpoint are measured here; those of a
row of the cohort come from ``benchmarks/results/index_cohort.json`` and those of a step on a GPU from
``benchmarks/results/gpu_step.json`` (``index_cohort.py`` and ``gpu_step.py`` write them). The second table
is arithmetic on these numbers: none of it was run on several GPUs.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_step import model_of, published
from measuring import fastest
from torch import nn

from mammorisk.caching.displacement_files import DisplacementCache
from mammorisk.caching.images import ImageStore
from mammorisk.config import register_schemas
from mammorisk.datasets.image_identity import image_identities
from mammorisk.datasets.images import as_floats, read_image
from mammorisk.metrics.training_measures import risk_metrics
from mammorisk.runs.directory import register_resolvers

RESULTS = Path(__file__).parent / "results"
SIZE = (2048, 1664)
BATCH = 4  # samples a GPU, as published
GPUS = (1, 2, 4, 8, 16, 32, 64)
# EMBED in full (Jeong et al. 2023): 3.4 million images. If all are screening exams of four views and none is left out,
# they are at most 850,000 exams of 116,000 women.
IMAGES, WOMEN, VIEWS = 3_400_000, 116_000, 4
NETWORK = 12.5e9  # bytes a second between nodes: 100 Gbit/s
BASE = (
    "import mammorisk.training.setup, mammorisk.training.loop, mammorisk.training.tracking, mammorisk.training.summary"
)


def image_costs(folder: Path) -> dict[str, float]:
    """Bytes of an image and images that a core reads in a second: PNG, and entry of ``dataset.cache``."""
    where = [f"out={folder}", f"image_height={SIZE[0]}", "num_women=2"]
    subprocess.run([sys.executable, "-m", "mammorisk.cli.phantom", *where], check=True, stdout=subprocess.DEVNULL)
    files = [str(file) for file in sorted(folder.rglob("*.png"))[:12]]
    identities = image_identities(files)
    store = ImageStore(folder / "store", SIZE, identities)
    store.prepare("images", 0)
    for file in files:
        store.write(store.name(file), store.decoded(file))
    kept = [path.stat().st_size for path in (folder / "store").rglob("*.b2")]
    return {
        "png_bytes": float(np.mean([Path(file).stat().st_size for file in files])),
        "png_per_s": len(files) / fastest(lambda: [read_image(file, SIZE) for file in files], 5),
        "store_bytes": float(np.mean(kept)),
        "store_per_s": len(files) / fastest(lambda: [as_floats(store.pixels(file)) for file in files], 5),
    }


def checkpoint_costs(model: nn.Module) -> dict[str, float]:
    """Bytes of a checkpoint, seconds to write it into memory, and bytes of gradients that processes exchange."""
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    file = io.BytesIO()
    taken = fastest(lambda: (file.seek(0), torch.save([model.state_dict(), optimizer.state_dict()], file)), 2)
    size = len(file.getvalue())
    return {"bytes": size, "seconds": taken, "gradient_bytes": 4 * sum(p.numel() for p in trained)}


def measure_costs(samples: int) -> float:
    """Seconds that the measures of an epoch of that many samples take."""
    random = np.random.default_rng(0)
    risk = np.sort(random.random((samples, 5), dtype=np.float32), axis=1)
    event, year = random.random(samples) < 0.02, random.integers(0, 5, samples)
    return fastest(lambda: risk_metrics(risk, event, year), 1)


def constants(model: str) -> dict[str, Any]:
    """All costs that are measured here."""
    unwrapped_model = model_of(published(model, SIZE))
    own = f"import resource; {BASE}; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    base = subprocess.run([sys.executable, "-c", own], check=True, capture_output=True, text=True).stdout
    with tempfile.TemporaryDirectory() as folder:
        images = image_costs(Path(folder))
        fields = DisplacementCache(folder, {}, unwrapped_model.field_size(SIZE)).entry_bytes
    return {
        "model": model,
        "exams": unwrapped_model.inputs.exams,
        "views": unwrapped_model.inputs.views,
        "heads": len(unwrapped_model.heads),
        "process_bytes": int(base) * 1024,
        "image": images,
        "field_bytes": fields,
        "checkpoint": checkpoint_costs(unwrapped_model),
        "measures_s_per_million": measure_costs(1_000_000),
        "own_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def step_costs(model: str) -> dict[str, float]:
    """Seconds and GiB of a bfloat16 step on the measured GPU, and seconds of registering a pair there."""
    results = json.loads((RESULTS / "gpu_step.json").read_text())["results"]
    (step,) = (r for r in results if r["work"] == model and r["precision"] == "bf16")
    (registration,) = (r for r in results if r["work"] == "MammoRegNet")
    return {
        "step_s": step["ms"] / 1e3,
        "step_GiB": step["GiB"],
        "pair_s": registration["ms"] / 1e3 / (registration["images"] / 2),
        "images": step["images"],
    }


def row_costs() -> dict[str, float]:
    """Seconds and bytes that an image of the cohort costs each process at the start."""
    small, large = json.loads((RESULTS / "index_cohort.json").read_text())["runs"][-2:]
    more = large["images"] - small["images"]
    return {
        "s": (large["cpu_s"] - small["cpu_s"]) / more,
        "bytes": (large["peak_rss_mb"] - small["peak_rss_mb"]) * 2**20 / more,
    }


def grown(found: dict[str, Any]) -> list[dict[str, float]]:
    """Cost of a training on EMBED in full on each number of GPUs."""
    step, image = step_costs(found["model"]), found["image"]
    exams = IMAGES / VIEWS
    samples = (exams - (WOMEN if found["exams"] > 1 else 0)) * VIEWS / found["views"]
    pairs_a_sample = found["views"] if found["exams"] > 1 else 0
    cached = step["step_s"] - pairs_a_sample * BATCH * step["pair_s"]
    rows = []
    for gpus in GPUS:
        steps = samples / BATCH / gpus
        images_per_s = step["images"] / cached * gpus
        exchange = 2 * (gpus - 1) / gpus * found["checkpoint"]["gradient_bytes"] / NETWORK
        rows.append(
            {
                "gpus": gpus,
                "epoch_h": steps * step["step_s"] / 3600,
                "epoch_cached_h": steps * cached / 3600,
                "images_per_s": images_per_s,
                "png_cores_a_gpu": images_per_s / gpus / image["png_per_s"],
                "store_cores_a_gpu": images_per_s / gpus / image["store_per_s"],
                "GB_per_s": images_per_s * image["store_bytes"] / 1e9,
                "exchange_share": exchange / cached,
                "gather_MB": samples * (8 + 4 * 5 * found["heads"]) / 1e6,
                "samples": samples,
            }
        )
    return rows


def markdown(found: dict[str, Any]) -> str:
    """Both tables."""
    row, step = row_costs(), step_costs(found["model"])
    image, checkpoint = found["image"], found["checkpoint"]
    first = [
        ("a process before it has any data", f"{found['process_bytes'] / 1e6:.0f} MB"),
        ("an image of the cohort, in each process", f"{row['bytes']:.0f} bytes at the peak, {row['s'] * 1e6:.0f} µs"),
        ("a PNG", f"{image['png_bytes'] / 1e6:.1f} MB, {image['png_per_s']:.0f} a second and core"),
        (
            "an entry of `dataset.cache`",
            f"{image['store_bytes'] / 1e6:.1f} MB, {image['store_per_s']:.0f} a second and core",
        ),
        ("an entry of `registration.cache`", f"{found['field_bytes'] / 1e3:.1f} KB"),
        ("a checkpoint", f"{checkpoint['bytes'] / 1e6:.0f} MB, {checkpoint['seconds']:.1f} s without the disk"),
        ("gradients that GPUs exchange at a step", f"{checkpoint['gradient_bytes'] / 1e6:.0f} MB"),
        ("measures of a million samples", f"{found['measures_s_per_million']:.1f} s"),
        (f"a step of {BATCH} samples, bf16, H200", f"{step['step_s'] * 1e3:.0f} ms, {step['step_GiB']:.1f} GiB"),
        ("registering a pair, H200", f"{step['pair_s'] * 1e3:.1f} ms"),
    ]
    lines = ["| what | costs |", "|---|---|", *(f"| {what} | {costs} |" for what, costs in first), ""]
    lines += [
        "| GPUs | epoch, h | with cached displacements, h | images a second | cores a GPU: PNG | cache "
        "| GB/s from the disk | exchange, share of a step |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['gpus']} | {r['epoch_h']:.1f} | {r['epoch_cached_h']:.1f} | {r['images_per_s']:.0f} "
        f"| {r['png_cores_a_gpu']:.1f} | {r['store_cores_a_gpu']:.1f} | {r['GB_per_s']:.2f} "
        f"| {100 * r['exchange_share']:.0f} % |"
        for r in grown(found)
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, multiply and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lmv_net", help="name of the model")
    parser.add_argument("--constants", type=Path, help="file of an earlier --out, instead of measuring")
    parser.add_argument("--out", type=Path, help="file for what was measured and what follows")
    chosen = parser.parse_args()
    register_schemas()
    register_resolvers()
    torch.set_num_threads(1)
    found = json.loads(chosen.constants.read_text())["measured"] if chosen.constants else constants(chosen.model)
    print(markdown(found))
    if chosen.out:
        chosen.out.write_text(json.dumps({"measured": found, "grown": grown(found)}, indent=2) + "\n")


if __name__ == "__main__":
    main()
