"""Damaged downloads: whatever is in them, the command ends in a table or in a message, and nothing is half-written."""

from __future__ import annotations

import csv
import io
import zlib
from pathlib import Path

import pandas as pd
import pytest
from helpers.composed_configs import composed
from helpers.raw_downloads import csaw_download, embed_download
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mammorisk.cli.prepare import prepare_cohort
from mammorisk.errors import UserError

WORDS = st.one_of(
    st.sampled_from(
        ["", "NaN", "-1", "0", "1e400", "9.1e+15", "1.0", "inf", "L", "B", "K", "A", "Left", "2D", "MLO", "ML", "2016",
         "9999-12-31", "2013-02-30", "2014-05-05", "0001-01-01", "../../etc/x", "a\nb", 'say "x"', "ä\u2028", "\x00",
         "x" * 5000]
    ),
    st.text(max_size=8),
    st.integers(-10, 10**18).map(str),
)  # fmt: skip
CELL = st.tuples(st.just("cell"), st.integers(0, 10**6), st.integers(0, 40), WORDS)
COLUMN = st.tuples(
    st.sampled_from(["drop", "twice", "empty", "swap"]), st.integers(0, 40), st.integers(0, 40), st.just("")
)
ROWS = st.tuples(
    st.sampled_from(["cut", "repeat", "none", "shuffle"]), st.integers(0, 10**6), st.integers(0, 9), st.just("")
)
BYTES = st.tuples(st.just("bytes"), st.integers(0, 10**7), st.integers(0, 9), st.binary(min_size=1, max_size=6))
MUTATIONS = st.lists(st.one_of(CELL, CELL, COLUMN, ROWS, BYTES), min_size=1, max_size=4)
DAMAGE = st.tuples(st.integers(0, 1), MUTATIONS)  # which table, and what happens to it


def mutated(text: str, mutations: list) -> bytes:
    """A CSV with cells, columns, rows and at last bytes changed."""
    rows = list(csv.reader(io.StringIO(text)))
    for kind, one, other, value in mutations:
        width, place = len(rows[0]), 1 + one % max(len(rows) - 1, 1)
        column, second = one % width, other % width
        if kind == "cell" and len(rows) > 1:
            rows[place][other % len(rows[place])] = value
        elif kind == "drop" and width > 1:
            rows = [row[:column] + row[column + 1 :] for row in rows]
        elif kind == "twice":
            rows = [[*row, row[column]] for row in rows]
        elif kind == "empty":
            rows = [rows[0], *([*row[:column], "", *row[column + 1 :]] for row in rows[1:])]
        elif kind == "swap":  # the header keeps its order: values of one column stand under the name of another
            for row in rows[1:]:
                row[column], row[second] = row[second], row[column]
        elif kind == "cut":
            rows = rows[: place + 1]
        elif kind == "repeat":
            rows += [list(row) for row in rows[place : place + 9]]
        elif kind == "none":
            rows = rows[:1]
        elif kind == "shuffle":
            rows = [rows[0], *sorted(rows[1:], key=lambda row: zlib.crc32(f"{one}{row}".encode("utf-8", "replace")))]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    data = out.getvalue().encode("utf-8", "surrogatepass")
    for kind, one, other, value in mutations:
        if kind == "bytes":
            at = one % (len(data) + 1)
            data = data[:at] + value + data[at + other :]
    return data


@pytest.fixture(scope="module", params=["embed", "csaw"])
def damaged(request, tmp_path_factory):
    """(settings of the command, its tables with what they hold, the CSV that it writes)."""
    folder = tmp_path_factory.mktemp("damaged")
    download = {"embed": embed_download, "csaw": csaw_download}[request.param](folder / "download")
    out = folder / "out" / "cohort.csv"
    words = (f"dataset={request.param}", *download.overrides, f"out={out}", "split.rule=exact", "overwrite=true")
    return words, [(path, path.read_text()) for path in download.tables.values()], out


def check(damaged: tuple, which: int, mutations: list) -> None:
    """Run the command on damaged tables and look at what it leaves."""
    words, tables, out = damaged
    path, text = tables[which % len(tables)]
    for other, whole in tables:
        other.write_text(whole)
    path.write_bytes(mutated(text, mutations))
    before = contents(out.parent)
    try:
        prepare_cohort(composed(*words, root="prepare_cohort"))
    except UserError:
        assert contents(out.parent) == before
        return
    table = pd.read_csv(out, dtype=str, keep_default_na=False)
    assert set(table["split"]) == {"train", "val", "test"}
    assert table["file_name"].is_unique
    assert sorted(contents(out.parent)) == ["cohort.csv", "cohort.json", "cohort_attrition.csv"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=QUIET, database=None)
@given(damage=DAMAGE)
def test_some_damaged_tables(damaged, damage):
    check(damaged, *damage)
    assert damaged[2].parent.parent.is_dir()


@pytest.mark.slow
@settings(max_examples=250, deadline=None, suppress_health_check=QUIET, database=None)
@given(damage=DAMAGE)
def test_hundreds_of_damaged_tables(damaged, damage):
    check(damaged, *damage)
    assert damaged[2].parent.parent.is_dir()
