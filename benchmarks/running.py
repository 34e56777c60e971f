"""Seconds of start-up, validation, checkpoints and the synthetic cohort.

    python benchmarks/running.py [--json FILE]

Start-up is a command of its own, from its launch to the help's end, and to the checkpoint after the first step of the
quick start (cohort on disk, ``trainer.save_every_minutes=0``). The others are taken in this process, the fastest of
three. A validation epoch is the quick start's: 1,000 samples of LMV-Net.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from measuring import Row, conditions, fastest
from omegaconf import DictConfig

from mammorisk.config import CONF_DIR, register_schemas
from mammorisk.distributed.signals import StopSignals
from mammorisk.runs.directory import RunFiles, register_resolvers
from mammorisk.runs.progress import EpochProgress
from mammorisk.training.checkpoint import TrainingState, load_payload, save
from mammorisk.training.loop import LossWatch, predict_epoch, train_step
from mammorisk.training.predictions import Predictions
from mammorisk.training.risk import RISK
from mammorisk.training.setup import TrainingContext, build_training
from mammorisk.training.step_control import StepControl

WOMEN = 1800
STEPS = 1000  # with bookkeeping


def quick_start(folder: Path) -> list[str]:
    """Overrides of the quick start, its cohort in ``folder``."""
    words = ["experiment=quickstart", "model=lmv_net", "tracking=none", f"dataset.generator.folder={folder}"]
    return [*words, f"dataset.generator.num_women={WOMEN}"]


def composed(words: list[str]) -> DictConfig:
    """The configuration of overrides."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=words)


def helped() -> None:
    """Run a command with ``--help``."""
    subprocess.run([sys.executable, "-m", "mammorisk.cli.train", "--help"], check=True, stdout=subprocess.DEVNULL)


def first_step(cohort: Path) -> float:
    """Seconds from the launch of the quick start to the checkpoint after its first step; its cohort is on disk."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*quick_start(cohort), "trainer.save_every_minutes=0"]
        start = time.perf_counter()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen([sys.executable, "-m", "mammorisk.cli.train", *words], cwd=folder, **quiet)  # type: ignore[call-overload]
        while not any(load_payload(path)["batch"] for path in Path(folder).glob("outputs/*/resume.pth")):
            if process.poll() is not None:
                raise SystemExit("The quick start ended before its first step.")
            time.sleep(0.01)
        seconds = time.perf_counter() - start
        process.kill()
        process.wait()
        return seconds


def step_and_log(context: TrainingContext) -> tuple[float, float]:
    """Seconds of a training step, and of its bookkeeping: outputs, loss, the progress bar."""
    batch = next(iter(context.train.loader))
    context.model.train()
    output, loss = train_step(context, batch, 0, 1, True)

    def noted() -> None:
        predictions, losses = Predictions(), LossWatch(loss.device)
        with EpochProgress("steps", STEPS, 0) as progress:
            for _ in range(STEPS):
                predictions.add(batch, output)
                losses.add(loss, batch.sample_id, last=False)
                progress.advance(len(batch), losses.latest)

    return fastest(lambda: train_step(context, batch, 0, 1, True), 5), fastest(noted, 3) / STEPS


def rows_of(folder: Path) -> list[Row]:
    """All of it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    config = composed([*quick_start(folder / "cohort"), "trainer.validation_samples=1000"])
    generator = config.dataset.generator
    found = {"help": fastest(helped, 3)}
    start = time.perf_counter()
    context = build_training(config, RunFiles(folder), RISK)
    found[f"cohort of {generator.num_women} women, written and read"] = time.perf_counter() - start
    found["quick start: launch to first step"] = min(first_step(folder / "cohort") for _ in range(3))
    found["training step"], found["what is noted of a step"] = step_and_log(context)
    state, files = TrainingState(), RunFiles(folder)
    watching = StepControl(StopSignals(), save_every_minutes=1e9)
    found["validation of 1,000 samples"] = fastest(lambda: predict_epoch(context, state, files, watching), 3)
    found["checkpoint, written"] = fastest(lambda: save(context, state, files), 3)
    found["checkpoint, read"] = fastest(lambda: load_payload(files.resume), 3)
    return [{"work": name, "variant": "ours", "seconds": seconds} for name, seconds in found.items()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="file for the results")
    chosen = parser.parse_args()
    logging.getLogger("mammorisk").addHandler(logging.NullHandler())
    register_schemas()
    register_resolvers()
    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder))
    print(json.dumps(rows, indent=2))
    if chosen.json:
        chosen.json.write_text(json.dumps(conditions() | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
