"""Every command, function and group of the configuration has a verdict: what of a stranger's file can reach it.

A new one without a verdict fails here. Some entries are asked again in interpreters that have imported nothing before,
and with the oldest hydra-core that is allowed.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib

import pytest
from helpers.hostile_checkpoints import told
from helpers.places import TESTS
from helpers.untrusted_cases import assert_refused
from test_untrusted_files import predicted

import mammorisk
from mammorisk.config import CONF_DIR

HERE = TESTS
PROJECT = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]
FILES, WEIGHTS, FOLDERS = (f"test_untrusted_{name}.py" for name in ("files", "weights", "folders"))
ONLY_OURS = "named on the command line alone; nothing of a stranger's file is read"
# entry -> what of a stranger's file reaches it, and the tests that show it
SCRIPTS: dict[str, tuple[str, list[str]]] = {
    "mammorisk": ("whatever reaches the command that its first word names", []),
    "mammorisk-train": (
        "checkpoints to go on from, run directories, weights, caches, sweeps",
        [
            f"{WEIGHTS}::test_a_training_that_is_to_go_on_from_it_refuses_by_name",
            f"{WEIGHTS}::test_resume_auto_passes_over_checkpoints_that_call",
            f"{WEIGHTS}::test_resume_auto_writes_through_no_link",
            f"{WEIGHTS}::test_a_training_refuses_weights_by_name",
            f"{FOLDERS}::test_entries_of_a_cache_are_data_or_made_again",
            f"{FOLDERS}::test_a_sweep_that_goes_on_starts_no_job_elsewhere",
            f"{FOLDERS}::test_a_strangers_study_is_a_message",
        ],
    ),
    "mammorisk-register": (
        "weights and checkpoints, by the same functions as mammorisk-train",
        [f"{WEIGHTS}::test_a_training_refuses_weights_by_name"],
    ),
    "mammorisk-evaluate": (
        "checkpoints and run directories",
        [
            f"{FILES}::test_evaluate_refuses_by_name",
            f"{FILES}::test_evaluate_generates_the_cohort_in_our_folder_alone",
            f"{FILES}::test_evaluate_reads_a_cohort_that_a_file_names_only_where_it_is_told_to",
        ],
    ),
    "mammorisk-compare": (
        "checkpoints, measures and predictions",
        [
            f"{FILES}::test_compare_refuses_by_name",
            f"{FOLDERS}::test_compare_refuses_measures_of_another_form",
            f"{FOLDERS}::test_compare_takes_texts_of_an_evaluation_as_texts",
        ],
    ),
    "mammorisk-predict": (
        "checkpoints and recalibrations",
        [
            f"{FILES}::test_predict_refuses_by_name",
            f"{FILES}::test_predict_follows_nothing_of_a_file_that_passes",
            f"{FOLDERS}::test_a_recalibration_is_numbers_or_a_message",
        ],
    ),
    "mammorisk-sweep-report": (
        "records, configurations, logs and measures of a sweep",
        [
            f"{FOLDERS}::test_a_sweeps_report_reads_configurations_as_data",
            f"{FOLDERS}::test_a_sweeps_report_stays_in_its_folder",
        ],
    ),
    "mammorisk-import-weights": (
        "files of weights and the notes beside them",
        [
            f"{WEIGHTS}::test_import_weights_refuses_by_name",
            f"{WEIGHTS}::test_import_weights_reads_no_component_of_a_configuration",
            f"{WEIGHTS}::test_import_weights_reads_a_note_as_data",
        ],
    ),
    "mammorisk-prepare": (
        "tables, PNG and DICOM files, which hold data alone; their damage is tested in preparation",
        [],
    ),
    "mammorisk-phantom": (ONLY_OURS, []),
    "mammorisk-requeue": (ONLY_OURS, []),
}
FUNCTIONS: dict[str, list[str]] = {
    "load_model": [f"{FILES}::test_load_model_refuses_every_one_by_name"],
    "predict": [f"{FILES}::test_functions_refuse_by_name"],
    "predict_dicom": [f"{FILES}::test_functions_refuse_by_name"],
    "evaluate": [f"{FILES}::test_functions_refuse_by_name"],
}
BUILT = "built of a stranger's file, past the gate"
DATA = "read of a stranger's file as data, never built"
GROUPS: dict[str, str] = {
    "model": BUILT,
    "registration": BUILT,
    "phantom": BUILT,  # as dataset.generator
    "dataset": DATA,
    "optim": DATA,
    "augment": DATA,
    "trainer": DATA,
    "tracking": DATA,
    "recipe": ONLY_OURS,
    "experiment": ONLY_OURS,
    "experiment/published": ONLY_OURS,
    "experiment_overrides": ONLY_OURS,
    "experiment_overrides/quickstart": ONLY_OURS,
    "hparams": ONLY_OURS,
    "conversion": ONLY_OURS,
    "raw": ONLY_OURS,
    "hydra": ONLY_OURS,
    "hydra/launcher": ONLY_OURS,
    "hydra/sweeper": ONLY_OURS,
}


@functools.cache
def defined_in(name: str) -> set[str]:
    nodes = ast.walk(ast.parse((HERE / name).read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def test_every_command_has_a_verdict():
    assert set(PROJECT["scripts"]) == set(SCRIPTS)


def test_every_function_offered_has_a_verdict():
    assert set(mammorisk._OFFERED) == set(FUNCTIONS)


def test_every_group_of_the_configuration_has_a_verdict():
    groups = {str(path.relative_to(CONF_DIR)) for path in CONF_DIR.rglob("*") if path.is_dir()}
    assert groups == set(GROUPS)


def test_what_is_built_is_what_the_gate_knows():
    from mammorisk.component_gate import _GROUPS

    assert set(_GROUPS) == {group for group, verdict in GROUPS.items() if verdict == BUILT}


def test_the_tests_of_the_verdicts_are_there():
    named = [name for _, names in SCRIPTS.values() for name in names] + [
        n for names in FUNCTIONS.values() for n in names
    ]
    for file, _, test in (name.partition("::") for name in named):
        assert test in defined_in(file), f"{file}::{test}"


good = functools.cache(predicted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sympify", "torch.hub in registration", "a module that runs on import", "pickle"])
def test_an_interpreter_that_has_imported_nothing_refuses_by_name(name):
    word = "stranger.pth" if name == "pickle" else told(name)
    assert_refused(predicted(name, fresh=True), good(None, fresh=True), told=word)


@pytest.fixture(scope="module")
def oldest_hydra(tmp_path_factory) -> str:
    """A folder with the oldest hydra-core that the project allows."""
    (requirement,) = (each for each in PROJECT["dependencies"] if each.startswith("hydra-core"))
    found = re.search(r">=([\d.]+)", requirement)
    assert found is not None, requirement
    folder = str(tmp_path_factory.mktemp("hydra"))
    line = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder]
    subprocess.run([*line, f"hydra-core=={found.group(1)}"], check=True, timeout=300)
    asked = [sys.executable, "-c", "import hydra; print(hydra.__version__, hydra.__file__)"]
    told = subprocess.run(asked, env={"PYTHONPATH": folder}, capture_output=True, text=True, check=True).stdout
    assert told.split()[0] == found.group(1)
    assert told.split()[1].startswith(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "sympify",
        "os.system",
        "eval",
        "open deep in the generator",
        "instantiate",
        "joined references",
        "secret in model",
    ],
)
def test_the_oldest_hydra_allowed_refuses_by_name(name, oldest_hydra):
    benign = good(None, fresh=True, PYTHONPATH=oldest_hydra)
    assert benign.status == 0, benign.printed
    assert_refused(predicted(name, fresh=True, PYTHONPATH=oldest_hydra), benign, told=told(name))
