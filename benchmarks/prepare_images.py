#!/usr/bin/env python3
"""Speed of ``mammorisk-prepare images`` on full-size mammograms, with one and two processes.

Writes DICOM files of 3328 x 2560 pixels of 12 bits into a temporary folder, converts them with the default settings
(2048 x 1664 PNGs, contact sheet and reports), and prints a JSON record.
usage: python benchmarks/prepare_images.py [--files 24] [--processes 1 2] [--syntax UID] [--out record.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.dicom_files import LITTLE, breast, write

from mammorisk.dicom.conversion_jobs import jobs_of_folder
from mammorisk.dicom.conversion_settings import Conversion
from mammorisk.dicom.convert import convert
from mammorisk.dicom.run import make_images
from mammorisk.dicom.work import Order
from mammorisk.version import __version__

ROWS, COLUMNS, BITS = 3328, 2560, 12


def main() -> None:
    """Write the files, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--syntax", default=LITTLE, help="UID of the transfer syntax")
    parser.add_argument("--out", type=Path, help="also write the record there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "dicom", asked.files, asked.syntax)
        record = measure(folder, asked.files, asked.processes, asked.syntax)
    text = json.dumps(record, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")


def write_files(folder: Path, count: int, syntax: str) -> None:
    """Breasts with a marker and detector noise, each file its own noise."""
    plain = breast(ROWS, COLUMNS, BITS, marker=True).astype(np.float32)
    for number in range(count):
        noise = np.random.default_rng(number).standard_normal(plain.shape, dtype=np.float32)
        noisy = np.clip(plain + 12 * noise * (plain > 0), 0, 2**BITS - 1).astype(np.uint16)
        window = {"WindowCenter": 2047.5, "WindowWidth": 4096}
        write(folder / f"{number:04d}.dcm", noisy, BITS, syntax, **window)


def measure(folder: Path, files: int, processes: list[int], syntax: str) -> dict[str, object]:
    """Images per second for each number of processes; the processes' start is part of it."""
    root, runs = folder / "dicom", []
    cv2.setNumThreads(1)
    start = time.perf_counter()
    convert(root / "0000.dcm", Conversion())
    alone = time.perf_counter() - start
    for count in processes:
        out = folder / f"png_{count}"
        orders = [Order(job, root, out, Conversion()) for job in jobs_of_folder(root, out)]
        start, cpu = time.perf_counter(), cpu_seconds()
        outcomes = make_images(orders, out, count, stop_on_error=True)
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
        assert all(outcome.note is not None for outcome in outcomes)
        start = time.perf_counter()
        make_images(orders, out, count, stop_on_error=True)
        again = time.perf_counter() - start
        size = sum(order.target.stat().st_size for order in orders) / files
        runs.append(
            {
                "processes": count,
                "images_per_second": round(files / seconds, 3),
                "seconds": round(seconds, 2),
                "cpu_seconds_per_image": round(cpu / files, 3),
                "seconds_when_all_is_done": round(again, 3),
                "megabytes_per_png": round(size / 1e6, 2),
            }
        )
    return {
        "benchmark": "prepare_images",
        "mammorisk": __version__,
        "files": files,
        "dicom": {"rows": ROWS, "columns": COLUMNS, "bits": BITS, "transfer_syntax": syntax},
        "image_size": list(Conversion().image_size or ()),
        "seconds_of_one_conversion_without_writing": round(alone, 3),
        "runs": runs,
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 2),
            "python": platform.python_version(),
            "opencv": cv2.__version__,
        },
    }


def cpu_seconds() -> float:
    """CPU seconds of this process and its ended children; other programs on the machine hardly change them."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    main()
