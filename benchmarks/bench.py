"""Run the benchmarks and print one table: seconds, ratios to the plain variant, ratio to the last stored result.

    python benchmarks/bench.py [--only steps loading …] [--store]

Results are compared with ``results/bench.json``; ``--store`` puts the new ones there. Ratios of one run count;
seconds depend on the machine and its load. It takes about twenty minutes on two cores. Training steps use all cores, as
a training does; everything else uses one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import Row, conditions
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
STORED = HERE / "results" / "bench.json"
SCRIPTS = ("running", "loading", "steps", "index_cohort", "bootstrap")


def results_of(script: str, folder: Path) -> list[Row]:
    """The result rows of a script."""
    out = folder / f"{script}.json"
    flag = "--out" if script in ("index_cohort", "bootstrap") else "--json"
    threads = {} if script == "steps" else {"OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    subprocess.run(
        [sys.executable, str(HERE / f"{script}.py"), flag, str(out)],
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    found = json.loads(out.read_text())
    if script == "index_cohort":
        return [
            {
                "work": f"index of {run['images']:,} images",
                "variant": "ours",
                "seconds": run["index_cpu_s"],
                "faster": run.get("row_loop_over_index"),
                "MB": run["peak_rss_mb"],
            }
            for run in found["runs"]
        ]
    if script == "bootstrap":
        ranking, whole = found["c_index_and_aucs"], found["everything"]
        one = {"work": "bootstrap replicate", "variant": "ours", "seconds": ranking["seconds_a_replicate"]}
        every = {
            "work": f"evaluation, {found['bootstrap_samples']:,} replicates, {found['groups']} groups",
            "variant": "ours",
        }
        every |= {"seconds": whole["seconds"], "MB": 1e3 * whole["peak_rss_gb"]}
        return [one | {"faster": ranking["ratio"]}, every]
    rows: list[Row] = found["rows"]
    return rows


def table_of(rows: list[Row], before: list[Row]) -> Table:
    """The rows beside the stored ones."""
    table = Table()
    for column in ("work", "variant", "seconds", "× plain", "MB", "memory / plain", "last / now"):
        table.add_column(column, justify="left" if column in ("work", "variant") else "right")
    known = {(row["work"], row["variant"]): row["seconds"] for row in before}
    for row in rows:
        last = known.get((row["work"], row["variant"]))
        cells = [row["seconds"], row.get("faster"), row.get("MB"), row.get("memory"), last and last / row["seconds"]]
        table.add_row(row["work"], row["variant"], *("" if cell is None else f"{cell:.3g}" for cell in cells))
    return table


def main() -> None:
    """Run, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS, help="scripts to run")
    parser.add_argument("--store", action="store_true", help="keep the results to compare later ones with")
    chosen = parser.parse_args()
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"rows": []}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for script in chosen.only:
            print(f"{script} …", file=sys.stderr, flush=True)
            when = {name: value for name, value in conditions().items() if name in ("date", "load")}
            rows += [row | when for row in results_of(script, Path(folder))]
    Console(width=150).print(table_of(rows, stored["rows"]))
    if chosen.store:
        measured = {(row["work"], row["variant"]) for row in rows}
        kept = [row for row in stored["rows"] if (row["work"], row["variant"]) not in measured]
        STORED.write_text(json.dumps(conditions() | {"rows": [*kept, *rows]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
