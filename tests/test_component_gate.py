from __future__ import annotations

import copy
import functools
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
import torch
from helpers.composed_configs import composed
from helpers.model_cases import random_batch
from helpers.places import TESTS
from helpers.training_runs import environment
from omegaconf import OmegaConf

from mammorisk import component_gate
from mammorisk.component_gate import GateError, build, check_components, own_modules, slots, without_files
from mammorisk.component_values import PATHS, is_path
from mammorisk.config import CONF_DIR, options
from mammorisk.models.base import RiskModel

# What ran, or could have, when a checkpoint's names were handed to Hydra.
HOSTILE = [
    "sympy.sympify",
    "sympy.parsing.sympy_parser.parse_expr",
    "torch.hub.load",
    "builtins.open",
    "builtins.eval",
    "builtins.exec",
    "os.system",
    "os.execl",
    "posix.system",
    "subprocess.Popen",
    "subprocess.run",
    "shutil.rmtree",
    "pathlib.Path.write_text",
    "webbrowser.open",
    "urllib.request.urlopen",
    "importlib.import_module",
    "runpy.run_path",
    "pickle.loads",
    "torch.load",
    "pandas.read_pickle",
    "numpy.load",
    "ctypes.CDLL",
    "antigravity.webbrowser",
    "this.s",
    "functools.partial",
    "hydra.utils.instantiate",
    "hydra.utils.get_object",
    "hydra.utils.call",
    "omegaconf.OmegaConf.load",
    "mammorisk.caching.entries.shutil.disk_usage",  # what an allowed module imported
    "mammorisk.models.lmv_net.torch.hub.get_dir",
    "mammorisk.models.lmv_net.LMVNet.__init__",  # below a real component
    "mammorisk.models.lmv_net.LMVNet.load_state_dict",
    "mammorisk.models.lmv_net.LMVNet ",
    " mammorisk.models.lmv_net.LMVNet",
    "mammorisk.models.lmv_net.ＬMVNet",  # a wide letter, which Python takes for L
    "mammorisk.models.lmv_net..LMVNet",
    "mammorisk.models.lmv_net",
    "mammorisk.system.atomic_files.whole_file",
    "mammorisk.datasets.phantom.phantom_cohort.read_record",
    "mammorisk.cli.main.run_command",
    "tests.anything",
    "LMVNet",
    "",
    "${t}.${u}",
]
WRONG_SLOT = [
    "mammorisk.datasets.phantom.phantom_cohort.PhantomCohort",
    "mammorisk.models.encoders.ResNetEncoder",
    "mammorisk.losses.hazard_bce",
    "mammorisk.registration.mammoregnet.MammoRegNet",
    "mammorisk.datasets.phantom.phantom_settings.Splits",
]


@functools.cache
def _config(model: str = "lmv_net") -> dict[str, Any]:
    config = composed(f"model={model}", "experiment=quickstart", "registration=mammoregnet_small",
                      "registration.checkpoint=null")  # fmt: skip
    return OmegaConf.to_container(config, resolve=True)


def config(**changes: Any) -> dict[str, Any]:
    """A configuration that passes, with values at dotted keys (``__`` for a dot) set."""
    found = copy.deepcopy(_config())
    for key, value in changes.items():
        *parts, last = key.split("__")
        node: Any = found
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return found


def reasons(found: dict[str, Any], allow: tuple[str, ...] = ()) -> str:
    """Why a configuration is refused."""
    with pytest.raises(GateError) as error:
        check_components(found, allow)
    return str(error.value)


def test_what_the_commands_compose_passes():
    for name in options("model"):
        check_components(_config(name))


PLACES = {
    "model": "model._target_",
    "model__encoder": "model.encoder._target_",
    "model__loss": "model.loss._target_",
    "model__registration": "model.registration._target_",
    "registration": "registration._target_",
    "dataset__generator": "dataset.generator._target_",
    "dataset__generator__woman__density_a": "dataset.generator.woman.density_a._target_",
    "model__dropout": "model.dropout._target_",  # a place of a plain value
    "model__surplus": "model.surplus._target_",
    "model__encoder__width__deeper": "model.encoder.width.deeper._target_",
}


@pytest.mark.parametrize("target", HOSTILE)
def test_a_name_that_is_not_in_the_table_is_refused_at_every_depth(target):
    before = set(sys.modules)
    for place, where in PLACES.items():
        found = config()
        node: Any = found
        for part in place.split("__"):
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node["_target_"] = target
        assert f"{where}={target}" in reasons(found)
        assert f"{where}={target}" in reasons(found, allow=("mylab.models",))
    assert set(sys.modules) == before  # nothing was imported to find out


@pytest.mark.parametrize("target", WRONG_SLOT)
def test_a_real_component_in_a_wrong_place_is_refused(target):
    for place in ("model", "model__encoder", "model__loss", "registration", "dataset__generator"):
        if target not in slots()[place.rpartition("__")[2]].names:
            assert target in reasons(config(**{f"{place}___target_": target}))


@pytest.mark.parametrize("place", ["model", "model__loss", "model__encoder", "dataset__generator"])
@pytest.mark.parametrize("key", ["_args_", "_recursive_", "_convert_", "_mode_", "_anything_", "__class__"])
def test_special_keys_are_refused(place, key):
    found = config()
    node: Any = found
    for part in place.split("__"):
        node = node[part]
    node[key] = "all"
    assert f".{key}: there is no such key" in reasons(found)


def test_a_partial_is_made_where_the_table_says_so_and_nowhere_else():
    assert "model._partial_" in reasons(config(model___partial_=True))
    assert "model.encoder._partial_" in reasons(config(model__encoder___partial_=True))
    assert "model.loss._partial_" in reasons(config(model__loss___partial_=False))
    found = config()
    del found["model"]["loss"]["_partial_"]
    assert "model.loss._partial_: mammorisk.losses.hazard_bce needs it" in reasons(found)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model___target_": 5}, "expected a dotted name"),
        ({"model___target_": ["os.system"]}, "expected a dotted name"),
        ({"model___target_": {"_target_": "os.system"}}, "expected a dotted name"),
        ({"model": "mammorisk.models.lmv_net.LMVNet"}, "model: expected a component"),
        ({"model": {}}, "model: expected a component"),
        ({"registration": ["x"]}, "registration: expected a component"),
        ({"dataset__generator": {"folder": "/x"}}, "dataset.generator: expected a component"),
        ({"model__columns": [{"_target_": "os.system"}]}, "model.columns[0]._target_=os.system"),
        ({"model__x": [[{"y": {"_target_": "os.system"}}]]}, "_target_=os.system"),
        ({"model__surplus": 1}, "model.surplus: mammorisk.models.lmv_net.LMVNet has no such parameter"),
        ({"model__self": 1}, "model.self"),
        ({"model__dropout": "much"}, "model.dropout=much: expected a number"),
        ({"model__dropout": None}, "model.dropout=None"),
        ({"model__dropout": [0.1]}, "model.dropout"),
        ({"model__dropout": "???"}, "model.dropout=???"),
        ({"model__num_heads": 2.5}, "model.num_heads=2.5: expected a whole number"),
        ({"model__num_heads": True}, "model.num_heads=True"),
        ({"model__prior_features": "os"}, "model.prior_features=os: expected aligned or raw"),
        ({"model__encoder": "resnet"}, "model.encoder=resnet: expected a component"),
        ({"model__encoder": None}, "model.encoder=None"),
        ({"model__loss": "x" * 5000}, "model.loss"),
        ({"registration__channels": [8, "x"]}, "registration.channels"),
        ({"registration__cache": {"a": 1}}, "registration.cache"),
        ({"dataset__generator__num_women": "all"}, "dataset.generator.num_women=all"),
        ({"dataset__batch_size": 10**9}, "dataset.batch_size"),
    ],
)  # fmt: skip
def test_keywords_and_values_are_those_of_the_constructor(change, told):
    assert told in reasons(config(**change))


def test_a_keyword_that_is_needed_is_missed():
    found = config()
    del found["model"]["encoder"]
    assert "model.encoder: mammorisk.models.lmv_net.LMVNet needs it" in reasons(found)


def test_only_what_passed_is_built():
    for node in ({"_target_": "os.system", "command": "true"}, {"_target_": WRONG_SLOT[0]}):
        with pytest.raises(GateError, match="no component of mammorisk"):
            build(node, "model")
    with pytest.raises(GateError):
        build({**_config()["model"], "encoder": {"_target_": "os.getcwd"}}, "model")


@pytest.mark.parametrize("name", options("model"))
def test_a_model_is_built_as_hydra_builds_it(name):
    from hydra.utils import instantiate

    node = without_files(_config(name)["model"], "model")
    torch.manual_seed(0)
    expected = instantiate(OmegaConf.create(node))
    torch.manual_seed(0)
    found = build(node, "model")
    assert isinstance(found, RiskModel)
    assert {key: value.shape for key, value in found.state_dict().items()} == {
        key: value.shape for key, value in expected.state_dict().items()
    }
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in expected.state_dict().items())
    batch = random_batch(found.inputs, size=(64, 52))
    assert torch.isfinite(found.eval().risk(found(batch))).all()


def test_the_table_comes_from_the_packaged_files_alone(tmp_path, monkeypatch):
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group="model", name="evil", node={"_target_": "os.system"})
    monkeypatch.setenv("HYDRA_SEARCHPATH", str(tmp_path))
    slots.cache_clear()
    names = {name for slot in slots().values() for name in slot.names}
    assert "os.system" not in names
    assert all(name.startswith("mammorisk.") for name in names)
    written = {
        line.partition("_target_:")[2].split(",")[0].strip(" }")
        for group in ("model", "registration", "phantom")
        for path in (CONF_DIR / group).rglob("*.yaml")
        for line in path.read_text().splitlines()
        if "_target_:" in line
    }
    assert written <= names
    ConfigStore.instance().repo.get("model", {}).pop("evil.yaml", None)


def test_every_text_that_a_component_takes_is_a_choice_or_a_path():
    """A constructor of the table with a text that is neither lets a file say where to read or write."""
    loose = []
    for slot, entry in slots().items():
        for name in entry.names:
            parameters = component_gate._parameters(component_gate._component({"_target_": name}, slot, ()))
            for key, parameter in parameters.items():
                words = str(parameter.annotation)
                is_text = parameter.annotation is str or re.search(r"\b(str|Path|PathLike|bytes)\b", words) is not None
                if "Literal" not in words and is_text and not is_path(key, "x", parameter, own=False):
                    loose.append(f"{name}({key}: {words})")
                if parameter.annotation is inspect.Parameter.empty:
                    loose.append(f"{name}({key}) has no annotation")
    assert loose == []


def test_paths_of_components_are_forgotten():
    found = config(
        model__encoder__pretrained="/etc/passwd", model__encoder__cache="~/x", registration__cache="/x",
        registration__checkpoint="http://x/y", model__registration__cache="../x", dataset__generator__folder="/x",
    )  # fmt: skip
    check_components(found)
    model, registration = without_files(found["model"], "model"), without_files(found["registration"], "registration")
    generator = without_files(found["dataset"]["generator"], "generator")
    for node in (model["encoder"], model["registration"], registration):
        assert {node.get(key) for key in PATHS} == {None}
    assert "folder" not in generator  # its default
    assert build(generator, "generator").folder == "data/phantom"


MYLAB = """
import os, subprocess
from os import system as alias
from typing import Any, Literal
from torch import nn
from mammorisk.registration.mammoregnet import MammoRegNet
from mammorisk.models.lmv_net import LMVNet
from mammorisk.models.base import RiskModel
class Mine(LMVNet):
    class Inner(RiskModel): ...
    def run(self): ...
class Wide(LMVNet):
    def __init__(self, weights: str | None = None, name: str = "a", **more): super().__init__(**more)
class Headed(LMVNet):
    def __init__(self, head, **more): super().__init__(**more)
class Cohort:
    def __init__(self, stages: list | dict | None = None): ...
    def write(self): ...
class Filed(LMVNet):
    def __init__(self, checkpoint: Any = None, cache: Literal["a", "b"] = "a", **more): super().__init__(**more)
class Warped(MammoRegNet):
    def __init__(self, **more): super().__init__(**more)
class Other: ...
class Head(nn.Module): ...
def loss(logits, target, target_mask): return logits.sum()
Imported = LMVNet
spoofed = os.system
lam = lambda x: x
def __getattr__(name): raise SystemError("asked for " + name)
"""


@pytest.fixture
def mylab(tmp_path, monkeypatch):
    (tmp_path / "mylab_gate").mkdir()
    (tmp_path / "mylab_gate" / "__init__.py").touch()
    (tmp_path / "mylab_gate" / "models.py").write_text(MYLAB)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "mylab_gate.models"
    for name in [name for name in sys.modules if name.startswith("mylab_gate")]:
        del sys.modules[name]


def test_own_components_pass_where_their_module_is_named(mylab):
    found = config(model___target_=f"{mylab}.Mine", model__loss___target_=f"{mylab}.loss")
    assert f"allow_modules=[{mylab}]" in reasons(found)
    assert mylab not in sys.modules
    check_components(found, (mylab,))
    assert type(build(without_files(found["model"], "model", (mylab,)), "model", (mylab,))).__name__ == "Mine"
    assert own_modules(found) == [mylab]
    assert own_modules(_config()) == []


@pytest.mark.parametrize(
    "name", ["Imported", "LMVNet", "RiskModel", "alias", "spoofed", "os", "lam", "Mine.run", "Mine.Inner", "Other",
             "Head", "loss", "gone", "__getattr__", "subprocess.Popen", "nn.Module"],
)  # fmt: skip
def test_of_an_own_module_only_what_it_defines_itself_and_fits_passes(mylab, name):
    assert f"{mylab}.{name}" in reasons(config(model___target_=f"{mylab}.{name}"), allow=(mylab,))


@pytest.mark.parametrize("allowed", ["mylab_gate", "mylab_gate.", "mylab_gate.models.Mine", "", "*", "mylab_gate.*"])
def test_modules_are_named_exactly(mylab, allowed):
    assert f"{mylab}.Mine" in reasons(config(model___target_=f"{mylab}.Mine"), allow=(allowed,))
    assert mylab not in sys.modules


def test_an_own_module_that_is_not_there_is_a_message():
    assert "cannot be imported" in reasons(config(model___target_="gone_lab.models.X"), allow=("gone_lab.models",))


def test_texts_of_own_components_that_look_like_paths_are_forgotten_or_refused(mylab):
    node = {"_target_": f"{mylab}.Wide", "name": "b"}
    for text in ("/etc/passwd", "bare.txt", "~", "a/b", ["/x"], {"a": {"b": "c.csv"}}):
        assert without_files({**node, "weights": text}, "model", (mylab,)) == {**node, "weights": None}
    assert without_files({**node, "weights": "mean"}, "model", (mylab,))["weights"] == "mean"
    with pytest.raises(GateError, match=r"model.name=hub/model: it looks like a path.*Literal"):
        without_files({**node, "name": "hub/model"}, "model", (mylab,))  # its default would be another model


def test_own_functions_are_losses_and_nothing_else(mylab):
    """In any other place one would run with a file's arguments."""
    function = {"_target_": f"{mylab}.loss"}
    for place in (
        "model__encoder",
        "model__dropout",
        "dataset__generator__splits",
        "dataset__generator",
        "registration",
    ):
        for more in ({}, {"_partial_": True}):
            assert "mylab_gate" in reasons(config(**{place: function | more}), allow=(mylab,))
    found = config(model___target_=f"{mylab}.Headed", model__head=function)
    assert "expected for head a class derived from torch.nn.Module" in reasons(found, allow=(mylab,))
    found["model"]["head"] = {"_target_": f"{mylab}.Head"}
    check_components(found, (mylab,))
    found["model"]["surplus"] = 1  # Headed hands any keyword on, to a constructor that has none of this name
    assert "model.surplus" in reasons(found, allow=(mylab,))
    assert "mylab_gate" in reasons(config(dataset__generator__woman={"_target_": f"{mylab}.Head"}), allow=(mylab,))


def test_an_own_generator_is_a_class_that_writes(mylab):
    assert "expected for generator" in reasons(
        config(dataset__generator={"_target_": f"{mylab}.Other"}), allow=(mylab,)
    )


def test_a_list_of_modules_is_a_list(mylab):
    assert "expected a list" in reasons(config(), allow=mylab)


def test_what_belongs_to_the_machine_is_not_taken_from_a_file():
    found = config(registration__compile=True, model__registration__compile=True, dataset__generator__num_workers=64)
    assert without_files(found["model"], "model")["registration"]["compile"] is False
    assert without_files(found["registration"], "registration")["compile"] is False
    assert without_files(found["dataset"]["generator"], "generator")["num_workers"] is None


def test_nothing_hangs_on_assert_statements():
    """With ``python -O`` the same is refused."""
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from test_component_gate import HOSTILE, config
from mammorisk.component_gate import GateError, check_components
passed = []
for target in HOSTILE:
    try:
        check_components(config(model__encoder___target_=target))
        passed.append(target)
    except GateError:
        pass
print(passed, __debug__)
"""
    done = subprocess.run(
        [sys.executable, "-O", "-W", "ignore", "-c", script, str(TESTS)],
        env=environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "[] False", done.stderr


def test_components_stand_under_keywords_of_components_alone(mylab):
    """In a list, or in a mapping of plain data, nobody would hold one to its place: Hydra would have made it."""
    for target in (f"{mylab}.Head", f"{mylab}.alias", "mammorisk.models.encoders.ResNetEncoder"):
        part = {"_target_": target, "file": "/etc/passwd"}
        for value in ([part], {"a": part}, [[part]], {"a": [part]}):
            own = config(model___target_=f"{mylab}.Wide", model__weights=value)
            assert "under a keyword of another one alone" in reasons(own, allow=(mylab,))
            own = config(dataset__generator={"_target_": f"{mylab}.Cohort", "stages": value})
            assert "under a keyword of another one alone" in reasons(own, allow=(mylab,))


def test_paths_of_own_components_are_forgotten_whatever_they_stand_in(mylab):
    node = {"_target_": f"{mylab}.Filed"}
    for value in ("/etc/passwd", "weights", ["/etc/passwd"], {"a": "/etc/passwd"}):
        assert without_files({**node, "checkpoint": value}, "model", (mylab,))["checkpoint"] is None
    assert without_files({**node, "cache": "b"}, "model", (mylab,))["cache"] == "b"  # a choice, as it says


def test_own_classes_keep_the_bounds_of_those_they_come_from(mylab):
    found = config(model___target_=f"{mylab}.Mine", model__num_heads=100_000)
    assert "model.num_heads=100000" in reasons(found, (mylab,))
    node = {"_target_": f"{mylab}.Warped", "compile": True}
    assert without_files(node, "registration", (mylab,))["compile"] is False


def test_a_file_of_many_faults_is_refused_in_few_words():
    found = config(model__x={f"_{i}": {f"_{j}": 1 for j in range(100)} for i in range(100)})
    assert len(reasons(found)) < 20_000
