"""The wheel: it holds all of the package and its configuration, and works where no checkout is."""

from __future__ import annotations

import configparser
import email
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
from helpers.places import ROOT

import mammorisk

COMMANDS = {
    "mammorisk": "mammorisk.cli.dispatch:main",
    "mammorisk-train": "mammorisk.cli.train:main",
    "mammorisk-phantom": "mammorisk.cli.phantom:main",
    "mammorisk-register": "mammorisk.cli.register:main",
    "mammorisk-evaluate": "mammorisk.cli.evaluate:main",
    "mammorisk-compare": "mammorisk.cli.compare:main",
    "mammorisk-predict": "mammorisk.cli.predict:main",
    "mammorisk-prepare": "mammorisk.cli.prepare:main",
    "mammorisk-import-weights": "mammorisk.cli.import_weights:main",
    "mammorisk-requeue": "mammorisk.cluster.requeue:main",
    "mammorisk-sweep-report": "mammorisk.cli.sweep_report:main",
}
MODELS = sorted(path.stem for path in (ROOT / "conf/model").glob("*.yaml"))

# Run first in a foreign process: forgets the checkout (an editable install puts it on the path), takes the folder
# given as the first argument instead, and proves that it is the one in use.
FOREIGN = """
import sys
from pathlib import Path
checkout, installed = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
sys.path[:] = [str(installed)] + [p for p in sys.path if p and Path(p).resolve() != checkout]
import mammorisk
from mammorisk.config import CONF_DIR
assert Path(mammorisk.__file__).resolve().parent == installed / "mammorisk", mammorisk.__file__
assert CONF_DIR.resolve() == installed / "mammorisk" / "conf", CONF_DIR
"""
# Composes each root config with each option of each of its groups, and tells on stdout what it composed. Options that
# begin as an argument does are left out.
COMPOSE_ALL = """
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from mammorisk.config import register_schemas
from mammorisk.preparation.schemas import register_prepare_schemas
from mammorisk.runs.directory import register_resolvers
register_schemas()
register_prepare_schemas()
register_resolvers()
model = min(path.stem for path in (CONF_DIR / "model").glob("*.yaml"))
def composed(root, *overrides):
    try:
        return compose(root, list(overrides), return_hydra_config=True)
    except ConfigCompositionException:  # a root that asks for a model, and an option that does not bring one
        return compose(root, [f"model={model}", *overrides], return_hydra_config=True)
with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
    for root in sorted(path.stem for path in CONF_DIR.glob("*.yaml")):
        groups = {key.partition("@")[0]: key for key in composed(root).hydra.runtime.choices}
        for path in sorted(CONF_DIR.glob("*/**/*.yaml")):
            option = path.relative_to(CONF_DIR).with_suffix("").as_posix()
            group = next((g for g in sorted(groups, reverse=True) if option.startswith(g + "/")), None)
            if option.startswith(tuple(sys.argv[1:])):
                continue
            if root == "prepare_cohort" and group == "dataset" and not (CONF_DIR / "raw" / path.name).is_file():
                continue  # a cohort that is not made from a download
            if group is not None:
                assert OmegaConf.to_yaml(composed(root, f"{groups[group]}={option[len(group) + 1:]}"))
                print("composed", option)
"""


def run(arguments: list[str | Path], folder: Path) -> str:
    """Standard output of a command run in ``folder`` with nothing of this process's Python or W&B set-up."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WANDB", "MAMMORISK", "PYTEST"))}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:  # pipes outlive a hanging command
        command = [str(argument) for argument in arguments]
        done = subprocess.run(
            command, cwd=folder, env=clean, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=600
        )
        out.seek(0)
        err.seek(0)
        printed = out.read()
        assert done.returncode == 0, f"{printed[-4000:]}\n{err.read()[-4000:]}"
    return printed


def foreign(code: str, *arguments: str, installed: Path, folder: Path) -> str:
    """Standard output of ``code`` run with the package in ``installed`` and without the checkout."""
    return run([sys.executable, "-c", FOREIGN + code, ROOT, installed.resolve(), *arguments], folder)


def on_disk(folder: str) -> set[str]:
    """The files below ``folder``, tracked or not, without what Python and editors leave."""
    files = (path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {f.as_posix() for f in files if "__pycache__" not in f.parts and not f.name.startswith(".")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def info(unpacked):
    return unpacked / f"mammorisk-{mammorisk.version.__version__}.dist-info"


def test_wheel_holds_the_package_and_its_configuration_and_nothing_else(wheel, info):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if not name.startswith(f"{info.name}/")}
    wanted = on_disk("mammorisk") | on_disk("hydra_plugins") | {f"mammorisk/{name}" for name in on_disk("conf")}
    assert "mammorisk/conf/train.yaml" in wanted
    assert packed == wanted


def test_metadata_says_what_it_is(info):
    metadata = email.message_from_string((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Name"] == "mammorisk"
    assert metadata["Version"] == mammorisk.version.__version__
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert (info / "licenses/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    readme = (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert readme
    assert metadata.get_payload().strip() == readme


def test_commands_lead_into_the_package(unpacked, info, tmp_path):
    entries = configparser.ConfigParser(delimiters="=")
    entries.optionxform = str
    entries.read(info / "entry_points.txt")
    assert dict(entries["console_scripts"]) == COMMANDS
    code = "import pkgutil\nfor name in sys.argv[1:]: print(callable(pkgutil.resolve_name(name)))"
    found = foreign(code, *COMMANDS.values(), installed=unpacked, folder=tmp_path)
    assert found.split() == ["True"] * len(COMMANDS)


@pytest.mark.parametrize("model", MODELS)
def test_unpacked_wheel_prints_the_config_of_each_model(unpacked, tmp_path, model):
    code = "from mammorisk.cli.train import main\nsys.argv[0] = 'mammorisk-train'\nmain()"
    printed = foreign(code, f"model={model}", "--cfg", "job", installed=unpacked, folder=tmp_path)
    assert f"_target_: mammorisk.models.{model}." in printed
    assert not list(tmp_path.iterdir())  # printing a config leaves nothing behind


@pytest.mark.slow
def test_unpacked_wheel_composes_every_option(unpacked, tmp_path):
    assert_composes_all(foreign(COMPOSE_ALL, installed=unpacked, folder=tmp_path))


def assert_composes_all(output: str, but: str = "/") -> None:
    """Every YAML file of every group was composed at least once, ``but`` those whose option begins so."""
    options = {Path(name).relative_to("conf").with_suffix("").as_posix() for name in on_disk("conf")}
    composed = {line.removeprefix("composed ") for line in output.splitlines() if line.startswith("composed ")}
    assert composed == {option for option in options if "/" in option and not option.startswith(but)}


@pytest.mark.slow
def test_clean_environment_composes_everything_and_trains_the_quick_start(wheel, tmp_path):
    run([sys.executable, "-m", "venv", tmp_path / "venv"], tmp_path)
    python = tmp_path / "venv/bin/python"
    constraints = ROOT / "constraints.txt"
    (torch,) = re.findall(r"^torch==.*$", constraints.read_text(), re.MULTILINE)
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", constraints]
    for wanted in (torch, wheel):  # torch first: pip then keeps the build it found for the pin
        run([*install, wanted], tmp_path)

    (installed,) = (tmp_path / "venv/lib").glob("python3*/site-packages")
    compose = [python, "-c", FOREIGN + COMPOSE_ALL, ROOT, installed.resolve()]
    of_the_extra = "hydra/launcher/"
    assert_composes_all(run([*compose, of_the_extra], tmp_path), but=of_the_extra)

    quick = ["trainer.num_epochs=1", "dataset.generator.num_women=40", "out_dir=runs"]
    run([tmp_path / "venv/bin/mammorisk-train", "model=lmv_net", "experiment=quickstart", *quick], tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    assert (folder / "model_risk_prediction_training_id_1_last_epoch.pth").stat().st_size > 0
    assert len((folder / "metrics.csv").read_text().splitlines()) == 2  # the names and one epoch

    run([*install, f"{wheel}[sweep]"], tmp_path)
    assert_composes_all(run(compose, tmp_path))
