"""Growth of time with size: an epoch with its samples, index and evaluation with the cohort; four sizes each, a plot.

    python benchmarks/scaling.py [--json FILE] [--plot FILE.png]

Processor seconds of one core. The exponent is that of time over size between the two largest sizes; n log n has 1.08
between 200,000 and a million. An epoch is LMV-Net's on small phantom images, training alone; the index is
``index_cohort.py``'s; an evaluation has all measures and 50 replicates.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from bootstrap import cohort
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure
from measuring import conditions, own_process

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.distributed.signals import StopSignals
from mammorisk.metrics.risk_measures import Settings, evaluate_risk
from mammorisk.runs.directory import RunFiles, register_resolvers
from mammorisk.training.checkpoint import TrainingState
from mammorisk.training.loop import train_epoch
from mammorisk.training.risk import RISK
from mammorisk.training.setup import build_training
from mammorisk.training.step_control import StepControl

EPOCH = (128, 256, 512, 1024)  # samples
INDEX = (10_000, 50_000, 200_000, 1_000_000)  # images
EVALUATION = (10_000, 50_000, 200_000, 1_000_000)  # samples
DRAWS = 50


def epoch_seconds(samples: int, folder: Path) -> float:
    """CPU seconds of training on so many samples."""
    words = ["experiment=quickstart", "model=lmv_net", "tracking=none", f"dataset.generator.folder={folder}"]
    words += ["dataset.generator.num_women=400", "dataset.num_workers=0", f"trainer.samples_per_epoch={samples}"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        context = build_training(compose("train", overrides=words), RunFiles(folder), RISK)
    never = StepControl(StopSignals(), save_every_minutes=1e9)
    before = time.process_time()
    train_epoch(context, TrainingState(), RunFiles(folder), never)
    return time.process_time() - before


def evaluation_seconds(samples: int) -> float:
    """CPU seconds of evaluating so many samples."""
    risk, event, year, patient = cohort(samples)
    before = time.process_time()
    evaluate_risk(risk, event, year, patient, {}, settings=Settings(DRAWS, workers=1))
    return time.process_time() - before


def index_seconds() -> dict[int, float]:
    """CPU seconds of reading, checking and indexing cohorts of ``INDEX`` images."""
    script = str(Path(__file__).with_name("index_cohort.py"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "index.json"
        own_process(script, "--sizes", *map(str, INDEX), "--out", str(out), last_line=False)
        return {run["images"]: run["cpu_s"] for run in json.loads(out.read_text())["runs"]}


def exponent(found: dict[int, float]) -> float:
    """Exponent of time over size, between the two largest sizes."""
    (small, before), (large, after) = sorted(found.items())[-2:]
    return math.log(after / before) / math.log(large / small)


def draw(curves: dict[str, dict[int, float]], path: Path) -> None:
    """Time over size, both logarithmic, beside a straight line through the largest size."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, len(curves)), curves.items(), strict=True):
        sizes, seconds = zip(*sorted(found.items()), strict=True)
        axes.loglog(sizes, seconds, "o-")
        axes.loglog(
            sizes, [seconds[-1] * size / sizes[-1] for size in sizes], "--", color="grey", label="in proportion"
        )
        axes.set(title=f"{name}: exponent {exponent(found):.2f}", xlabel="samples" if name != "index" else "images")
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.legend()
    figure.axes[0].set_ylabel("processor seconds")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--plot", type=Path, help="file for the figure")
    chosen = parser.parse_args()
    logging.getLogger("mammorisk").addHandler(logging.NullHandler())
    register_schemas()
    register_resolvers()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        epoch_seconds(EPOCH[0], Path(folder))  # writes the cohort and warms up
        curves: dict[str, dict[int, float]] = {"epoch": {n: epoch_seconds(n, Path(folder)) for n in EPOCH}}
    curves["evaluation"] = {n: evaluation_seconds(n) for n in EVALUATION}
    curves["index"] = index_seconds()
    result: dict[str, Any] = {name: {"seconds": found, "exponent": exponent(found)} for name, found in curves.items()}
    print(json.dumps(result, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | result, indent=2) + "\n")
    if chosen.plot:
        draw(curves, chosen.plot)


if __name__ == "__main__":
    main()
