from __future__ import annotations

from helpers.sweep_directories import write_job

from mammorisk.sweeps.differences import differences, overridden, settings_of


def told(sweep, *jobs):
    """What is said of jobs, each a folder with the overrides of its plan."""
    found = [settings_of(sweep / name, words) for name, words in jobs]
    given = set().union(*(overridden(sweep / name, words) for name, words in jobs))
    return differences([each for each, _ in found], [each for _, each in found], given)


def test_only_what_differs_is_told_and_seeds_last(tmp_path):
    write_job(tmp_path, "a", {"seed": 1, "optim.learning_rate": 0.1, "optim.weight_decay": 0.5})
    write_job(tmp_path, "b", {"seed": 2, "optim.learning_rate": 0.2, "optim.weight_decay": 0.5})
    keys, own = told(tmp_path, ("a", []), ("b", []))
    assert keys == ["optim.learning_rate", "seed"]
    assert own == [{"optim.learning_rate": 0.1, "seed": 1}, {"optim.learning_rate": 0.2, "seed": 2}]


def test_what_follows_from_a_choice_is_not_told_unless_it_was_set(tmp_path):
    write_job(tmp_path, "a", {"seed": 1})
    write_job(tmp_path, "b", {"seed": 1}, model="lmv_net")  # model.size differs, too; so does the launcher
    assert told(tmp_path, ("a", []), ("b", [])) == (["model"], [{"model": "mirai"}, {"model": "lmv_net"}])
    keys, _ = told(tmp_path, ("a", ["model.size=5"]), ("b", []))
    assert keys == ["model", "model.size"]


def test_where_and_how_a_job_ran_is_no_difference(tmp_path):
    write_job(tmp_path, "a", {"seed": 1, "dataset.num_workers": 1, "tracking.project": "x", "out_dir": "x"})
    write_job(tmp_path, "b", {"seed": 2, "dataset.num_workers": 2, "tracking.project": "y", "out_dir": "y"})
    assert told(tmp_path, ("a", []), ("b", []))[0] == ["seed"]


def test_a_job_that_was_never_begun_is_known_by_its_command(tmp_path):
    write_job(tmp_path, "a", {"seed": 1, "optim.learning_rate": 0.1})
    planned = ["+seed=2", "optim.learning_rate=1e-3", "model=mirai", "x=[1,2]", "y=[1"]
    keys, own = told(tmp_path, ("a", []), ("b", planned))
    assert keys == ["optim.learning_rate", "seed"]
    assert own[1]["seed"] == 2
    assert float(own[1]["optim.learning_rate"]) == 0.001
    assert told(tmp_path, ("b", planned), ("c", ["model=lmv_net", "seed=2"]))[0][0] == "model"


def test_half_written_files_are_as_good_as_none(tmp_path):
    job = write_job(tmp_path, "a", {"seed": 1})
    write_job(tmp_path, "b", {"seed": 2})
    for name in ("config", "hydra", "overrides"):
        (job / ".hydra" / f"{name}.yaml").write_text("trainer: {num_epochs: [")
    keys, own = told(tmp_path, ("a", ["seed=3"]), ("b", []))
    assert keys == ["seed"]
    assert [each["seed"] for each in own] == [3, 2]
    assert told(tmp_path, ("a", []), ("b", [])) == ([], [{}, {}])
