#!/usr/bin/env python3
"""Time to check and index a cohort: generated CSVs of four sizes, timed in one run, as JSON.

For each size: the CSV and its (empty) image files are written into a temporary folder, then a process of its own
reads and checks the table with ``load_cohort``, which also looks for every file, and builds the samples of all splits
(a breast, two exams). On small sizes the samples are also found by a plain loop over rows, and must be the same ones.
CPU seconds are those of one core; on an idle machine they are close to the elapsed ones.

usage: python benchmarks/index_cohort.py [--sizes 4000 40000 100000 500000] [--folder DIR] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammorisk.batch import VIEWS, InputSpec
from mammorisk.config import DatasetConfig
from mammorisk.datasets.attrition import Attrition
from mammorisk.datasets.cohort import load_cohort
from mammorisk.datasets.samples import SampleTable, build_samples

SIZES = (4_000, 40_000, 100_000, 500_000)  # images
EXAMS = 3  # of a woman, two years apart
SPLITS = ("train", "val", "test")
AGAIN = 2  # the index is the fastest of three
LOOPED = 40_000  # images, at most, for the plain loop
LINEAR = 1.15  # exponent of time over size, between the two largest sizes


def cohort_table(images: int) -> pd.DataFrame:
    """A cohort in our own format: 4 images an exam, 3 exams a woman, one woman in 20 with cancer."""
    exam = np.arange(images) // len(VIEWS)
    woman, visit, view = exam // EXAMS, exam % EXAMS, np.arange(images) % len(VIEWS)
    sides, views = np.array(VIEWS).T
    has_cancer = (woman % 20 == 7) & (sides[view] == np.where(woman % 2, "R", "L"))
    left = 2 * (EXAMS - 1 - visit)  # years to the last exam
    ids = pd.Series(woman).map("{:08d}".format)
    table = pd.DataFrame({"patient_id": ids, "exam_id": pd.Series(9 * 10**15 + exam * 7).astype(str)})
    day = pd.Timestamp(2008, 1, 1) + pd.to_timedelta(woman % 365 + 730 * visit, unit="D")
    table["exam_date"], table["laterality"], table["view"] = day.strftime("%Y-%m-%d"), sides[view], views[view]
    folder = pd.Series(woman // 500).map("{:03d}/".format)
    name = pd.Series(visit).astype(str).str.cat([pd.Series(sides[view]), pd.Series(views[view])], sep="_")
    table["file_name"] = folder + ids + "_" + name + ".png"
    table["split"] = np.array(SPLITS)[np.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2])[woman % 10 * 3 % 10]]
    table["years_to_cancer"] = np.where(has_cancer, (left + 1).astype(str), "")
    table["years_to_last_followup"], table["density"] = (left + 3).astype(str), (woman % 4 + 1).astype(str)
    table["race"] = np.array(["Asian", "Black", "White"])[woman % 3]
    return table.assign(age=(50 + woman % 20 + 2 * visit).astype(str))


def write(folder: Path, images: int) -> None:
    """The CSV and an empty file for each image."""
    table = cohort_table(images)
    (folder / "png").mkdir(parents=True)
    table.to_csv(folder / "cohort.csv", index=False)
    for each in table["file_name"].str.slice(0, 3).unique():
        (folder / "png" / each).mkdir()
    for name in table["file_name"]:
        os.close(os.open(folder / "png" / name, os.O_CREAT | os.O_WRONLY))


def measure(folder: Path, with_loop: bool) -> dict[str, Any]:
    """Times of one cohort: check, index, and optionally a plain loop; in seconds."""
    columns = {name: name for name in pd.read_csv(folder / "cohort.csv", nrows=0)}
    config = DatasetConfig("benchmark", str(folder / "cohort.csv"), str(folder / "png"), columns)
    start, cpu = time.perf_counter(), time.process_time()
    cohort = load_cohort(config)
    checked, checked_cpu = time.perf_counter(), time.process_time()
    samples = {name: build_samples(cohort.split(name), InputSpec("breast", 2), cohort.attrition) for name in SPLITS}
    indexed, indexed_cpu = time.perf_counter(), time.process_time()
    spent = [indexed_cpu - checked_cpu]
    for _ in range(AGAIN):
        start_cpu = time.process_time()
        for name in SPLITS:
            build_samples(cohort.split(name), InputSpec("breast", 2), Attrition())
        spent.append(time.process_time() - start_cpu)
    found: dict[str, Any] = {
        "images": len(cohort.table),
        "samples": sum(map(len, samples.values())),
        "check_s": round(checked - start, 3),
        "index_s": round(indexed - checked, 3),
        "total_s": round(indexed - start, 3),
        "index_cpu_s": round(min(spent), 3),
        "cpu_s": round(indexed_cpu - cpu, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    if with_loop:
        tables = {name: cohort.table[cohort.table["split"] == name] for name in SPLITS}
        looped = []
        for _ in range(1 + AGAIN):
            start_cpu = time.process_time()
            ids = {name: by_loop(table) for name, table in tables.items()}
            looped.append(time.process_time() - start_cpu)
        found["row_loop_index_cpu_s"] = round(min(looped), 3)
        found["row_loop_over_index"] = round(found["row_loop_index_cpu_s"] / found["index_cpu_s"], 1)
        if any(sorted(ids[name]) != sorted(_pairs(samples[name])) for name in SPLITS):
            raise SystemExit("the loop and build_samples disagree")
    return found


def by_loop(table: pd.DataFrame) -> list[tuple[str, float]]:
    """Samples of a breast and two exams by a plain loop over rows: patient, years between the exams."""
    exams: dict[tuple[str, str], dict[tuple[float, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for _, row in table.iterrows():
        exams[row["patient_id"], row["laterality"]][row["exam_time"], row["exam_id"]].add(row["view"])
    pairs = []
    for (patient, _), views in exams.items():
        times = sorted(time for (time, _), seen in views.items() if len(seen) == 2)
        pairs += [(patient, round(now - before, 3)) for before, now in pairwise(times)]
    return pairs


def _pairs(samples: SampleTable) -> list[tuple[str, float]]:
    gaps = (round(float(gap), 3) for gap in samples.time_gap[:, 0])
    return list(zip(map(str, samples.patient_id), gaps, strict=True))


def main() -> None:
    """Measure every size in a process of its own and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--folder", type=Path, help="where to write the cohorts (default: a temporary folder)")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given.loop)))
        return
    runs = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for size in sorted(given.sizes):
            write(Path(folder) / str(size), size)
            command = [
                sys.executable,
                __file__,
                "--measure",
                f"{folder}/{size}",
                *(["--loop"] if size <= LOOPED else []),
            ]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(answer.stdout))
    growth = None
    if len(runs) > 1:
        growth = float(np.log(runs[-1]["cpu_s"] / runs[-2]["cpu_s"]) / np.log(runs[-1]["images"] / runs[-2]["images"]))
    text = json.dumps(
        {
            "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0],
            "runs": runs,
            "growth_exponent": growth,
            "linear": growth is not None and growth < LINEAR,
        },
        indent=2,
    )
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
