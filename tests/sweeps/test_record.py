from __future__ import annotations

import pytest

from mammorisk.errors import UserError
from mammorisk.sweeps.record import JobRecord, read_record, write_record


def test_what_is_written_is_read(tmp_path):
    jobs = [JobRecord("a", "1f", ["seed=1", "x='é'"], "lost"), JobRecord("b")]
    write_record(tmp_path, jobs)
    assert read_record(tmp_path) == jobs
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"jobs": [{"folder": "a"}]}', '{"jobs": 3}'])
def test_half_a_record_is_none(tmp_path, text):
    assert read_record(tmp_path) == []
    (tmp_path / "jobs.json").write_text(text)
    assert read_record(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["../other", "/home", "a/b", "", ".", "..", ".hydra", "${oc.env:HOME}", "a,b", "linked"]
)
def test_a_folder_outside_of_the_sweep_is_refused(tmp_path, name):
    (tmp_path / "linked").symlink_to(tmp_path.parent)
    write_record(tmp_path, [JobRecord("a"), JobRecord(name)])
    with pytest.raises(UserError, match="expected a job's folder in it"):
        read_record(tmp_path)


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be written to"):
        write_record(tmp_path / "nowhere", [JobRecord("a")])
