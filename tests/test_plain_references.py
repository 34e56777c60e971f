from __future__ import annotations

import pytest
from helpers.composed_configs import composed
from omegaconf import OmegaConf

from mammorisk.config import options
from mammorisk.plain_references import MAX_CHAIN, References, ReferencesError


def resolved(config: dict) -> dict:
    return References(config, ["model"]).resolved()


@pytest.mark.parametrize("model", options("model"))
def test_references_become_what_omegaconf_makes_of_them(model):
    config = composed(f"model={model}", "experiment=quickstart")
    plain = OmegaConf.to_container(config, resolve=False)
    assert "${" in str(plain)
    assert resolved(plain) == OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize("value", [None, True, 1e-5, 3, "text", [1, 2], {"a": 1}])
def test_a_reference_alone_is_the_value_itself(value):
    assert resolved({"here": value, "model": {"there": "${here}"}})["model"]["there"] == value


@pytest.mark.parametrize("value", [None, True, 1e-5, 3, "text"])
def test_a_reference_in_a_text_is_written_as_omegaconf_writes_it(value):
    config = {"a": value, "b": "x_${a}_y"}
    assert resolved(config) == OmegaConf.to_container(OmegaConf.create(config), resolve=True)


def test_below_a_reference_keys_are_found():
    config = {
        "registration": {"window": 5},
        "model": {"registration": "${registration}"},
        "x": "${model.registration.window}",
    }
    assert resolved(config)["x"] == 5


@pytest.mark.parametrize(
    "text",
    ["${oc.env:HOME}", "${run_dir:a,b,c}", "a${oc.env:HOME}b", "${a[0]}", "${.x}", "${..x}", "${${a}}", "\\${a}", "${a",
     "${oc.decode:'${a}'}", "${ a }", "${a}${oc.env:HOME}", "${A:-x}", "${}"],
)  # fmt: skip
def test_what_is_no_plain_reference_is_missing_and_refused_in_a_model(text, monkeypatch):
    monkeypatch.setenv("HOME", "/secret")
    assert resolved({"a": 1, "dataset": {"data_root": text}})["dataset"]["data_root"] == "???"
    with pytest.raises(ReferencesError, match=r"model\.x="):
        resolved({"a": 1, "model": {"x": text}})


def test_a_text_put_together_from_references_is_looked_at_again():
    parts = {"t": "$", "u": "{oc.env:HOME}"}
    assert resolved({**parts, "v": "${t}${u}"})["v"] == "???"
    with pytest.raises(ReferencesError, match=r"model\.v"):
        resolved({**parts, "model": {"v": "${t}${u}"}})


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model": {"_target_": "${t}.${u}"}, "t": "os", "u": "system"}, "named by a reference"),
        ({"dataset": {"x": {"_partial_": "${t}"}}, "t": True}, "named by a reference"),
        ({"model": {"${t}": 1}, "t": "_target_"}, "its key"),
        ({"a": "${b}", "b": "${a}"}, "in a circle"),
        ({"a": "${a}"}, "in a circle"),
        ({"a": {"b": "${a}"}}, "in a circle|too large"),
        ({f"a{i}": f"${{a{i + 1}}}" for i in range(MAX_CHAIN + 2)} | {f"a{MAX_CHAIN + 2}": 1}, "further than"),
        ({"model": {"x": "${dataset.gone}"}, "dataset": {}}, "dataset.gone, which is not there"),
        ({"model": {"x": "${dataset.y}"}, "dataset": {"y": "???"}}, "does not hold"),
        ({"model": {"x": "${dataset.y}"}, "dataset": {"y": "${oc.env:HOME}"}}, "expected a value"),
        ({"a": {"b": 1}, "c": "x${a}"}, "more than a value"),
        ({"a": ["x" * 100] * 100, **{f"b{i}": [f"${{b{i + 1}}}"] * 10 for i in range(6)}, "b6": "${a}"}, "too large"),
        ({"a": "x" * 1000, "b": "${a}" * 2000}, "too large"),
    ],
)  # fmt: skip
def test_references_that_are_refused(config, told):
    with pytest.raises(ReferencesError, match=told):
        resolved(config)


def test_what_refers_to_a_missing_value_is_missing():
    assert resolved({"a": "${b}", "b": "???", "c": "x${b}"}) == {"a": "???", "b": "???", "c": "???"}
