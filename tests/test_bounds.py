from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
from helpers.composed_configs import composed
from helpers.settable_numbers import numbers_of_components, numbers_of_plugins, numbers_of_schemas
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from mammorisk.batch import MAX_FOLLOWUP
from mammorisk.bound import Bound
from mammorisk.bounds import BOUNDS, COHORT, out_of_bounds, outliers, require_in_bounds
from mammorisk.config import options
from mammorisk.errors import UserError
from mammorisk.risk_factors import RISK_FACTORS

NUMBERS = {(place, name) for place, bounds in BOUNDS.items() for name in bounds}
NETWORKS = ("mammorisk.models.", "mammorisk.registration.mammoregnet", "mammorisk.registration.affine")


def outside(bound: Bound) -> list[Any]:
    """Values just out of a bound, and what is no number at all."""
    step = 1 if bound.whole else 1e-9 * max(1, abs(bound.low), abs(bound.high))
    ends = [bound.low if bound.above else bound.low - step, bound.high if bound.below else bound.high + step]
    ends += [math.nan, math.inf, -math.inf, True, "much", 10**400, *([] if bound.null else [None])]
    ends += [bound.low + 0.5] if bound.whole else []
    if bound.count is None:
        return ends
    within = [bound.high - (0 if not bound.below else step)] * bound.count[0]
    return [*([*within[:-1], end] for end in ends if end is not None), [], within * 20, within[0]]


def inside(bound: Bound) -> list[Any]:
    """Both ends, if they are in, or what is next to them."""
    step = 1 if bound.whole else 1e-9 * max(abs(bound.low), abs(bound.high))
    ends = [bound.low + step * bound.above, bound.high - step * bound.below, *([None] if bound.null else [])]
    return ends if bound.count is None else [end if end is None else [end] * bound.count[0] for end in ends]


def node(place: str, name: str, value: Any) -> dict[str, Any]:
    """A configuration with one value."""
    is_component = "." in place and not place.startswith("hydra.")
    config: dict[str, Any] = {name: value, **({"_target_": place} if is_component else {})}
    for key in reversed([] if is_component or not place else place.split(".")):
        config = {key: config}
    return config


def test_every_number_has_a_bound_and_every_bound_a_number():
    there = numbers_of_schemas() | numbers_of_components() | numbers_of_plugins()
    there |= {("hydra.sweeper", name) for name in ("seed", "n_trials", "n_jobs")}
    assert sorted(there - NUMBERS) == [], "these numbers lack a bound in mammorisk/bounds.py"
    assert sorted(NUMBERS - there) == [], "there are no such numbers (any more)"


def test_every_risk_factor_that_is_a_number_has_a_bound():
    wanted = {name for name, factor in RISK_FACTORS.items() if factor.limits}
    assert wanted <= set(COHORT)
    for name in wanted:
        assert all(limit in COHORT[name] for limit in RISK_FACTORS[name].limits)


def test_the_horizon_is_that_of_the_labels():
    assert all(bounds["max_followup"].high == MAX_FOLLOWUP for bounds in BOUNDS.values() if "max_followup" in bounds)


@pytest.mark.parametrize(("place", "name"), sorted(NUMBERS))
def test_what_is_outside_is_named_and_the_ends_are_in(place, name):
    bound = BOUNDS[place][name]
    for value in outside(bound):
        ((key, found, wanted),) = outliers(node(place, name, value))
        assert (key.rpartition(".")[2], wanted) == (name, bound)
        assert found is value
    for value in [*inside(bound), "???", "${trainer.other}", "${oc.env:X}"]:
        assert list(out_of_bounds(node(place, name, value))) == []


SHIPPED = [
    *((f"model={model}",) for model in options("model")),
    *((f"experiment={name}", *(() if "/" in name else ("model=lmv_net",))) for name in options("experiment")),
    *(("model=lmv_net", f"registration={name}") for name in options("registration")),
    *(("model=mirai", f"{group}={name}") for group in ("dataset", "augment", "optim") for name in options(group)),
    *(
        ("model=mirai", word)
        for word in ("hparams=tpe", "hparams=grid", "hydra/launcher=slurm", "hydra/launcher=local")
    ),
]


@pytest.mark.parametrize("words", SHIPPED, ids=" ".join)
def test_all_that_we_ship_for_trainings_is_within(words):
    assert list(out_of_bounds(plain(composed(*words, hydra=True)))) == []


@pytest.mark.slow
@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("registration", options("registration"))
def test_so_is_every_model_with_every_registration_and_experiment(model, registration):
    for experiment in options("experiment"):
        found = composed(f"model={model}", f"registration={registration}", f"experiment={experiment}")
        assert list(out_of_bounds(plain(found))) == [], experiment


@pytest.mark.parametrize(
    ("root", "words"),
    [
        *product(["register"], [(), *((f"recipe={name}",) for name in options("recipe"))]),
        *product(["write_phantom"], [(f"phantom={name}",) for name in options("phantom")]),
        *product(["evaluate", "compare", "predict", "prepare_images", "prepare_check", "import_weights"], [()]),
        *product(["prepare_cohort"], [("dataset=embed",), ("dataset=csaw",)]),
    ],
)  # fmt: skip
def test_all_that_we_ship_besides_is_within(root, words):
    assert list(out_of_bounds(plain(composed(*words, root=root, hydra=True)))) == []


def plain(config: Any) -> Any:
    """Resolved where it can be."""
    return OmegaConf.to_container(config, resolve=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "name"), sorted(pair for pair in NUMBERS if pair[0].startswith(NETWORKS) and pair[1] != "num_heads")
)
def test_a_network_with_a_value_at_its_upper_end_is_built_in_little_memory(place, name):
    """Bytes of its tensors: none may eat the machine of who opens a stranger's file."""
    import torch

    bound = BOUNDS[place][name]
    high = inside(bound)[1]
    node = network(place)
    if bound.count and name != "image_size":
        high = [*node[name][:-1], bound.high]
    node[name] = high
    with torch.device("meta"):
        built = instantiate(node)
    tensors = [*built.parameters(), *built.buffers()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) < 2 * 2**30


def network(target: str) -> Any:
    """The node of a network as published, without weights."""
    words = ["model=lmv_net", "registration=mammoregnet", "registration.checkpoint=null"]
    config = OmegaConf.to_container(composed(*words), resolve=True)
    if "registration" in target:
        return {**config["registration"], "_target_": target}
    if target == config["model"]["encoder"]["_target_"]:
        return config["model"]["encoder"]
    for model in options("model"):
        node = OmegaConf.to_container(composed(f"model={model}"), resolve=True)["model"]
        if node["_target_"] == target:
            node["encoder"]["pretrained"] = None
            return node
    raise AssertionError(f"{target} is in no option of model")


def test_components_are_found_wherever_they_stand():
    mirai = {"_target_": "mammorisk.models.mirai.Mirai", "num_layers": 10**6}
    assert list(out_of_bounds({"a": {"b": mirai}})) == ["a.b.num_layers=1000000: expected a whole number from 1 to 24"]
    own = {"_target_": "mylab.Model", "num_layers": 10**6, "encoder": mirai}  # of other packages we know nothing
    assert [key for key, *_ in outliers({"model": own})] == ["model.encoder.num_layers"]
    assert [key for key, *_ in outliers({"batch_size": 0}, "dataset.")] == ["dataset.batch_size"]
    assert [key for key, *_ in outliers({"dataset": {"batch_size": {"a": 1}}})] == ["dataset.batch_size"]


def test_messages_of_strange_values_are_short_and_printable():
    (line,) = out_of_bounds(
        {"\x1b[2J": {"_target_": "mammorisk.models.mirai.Mirai", "dropout": "\x1b[31m" + "x" * 999}}
    )
    assert line.isprintable()
    assert len(line) < 200


def test_components_hold_their_own_settings():
    name = "mammorisk.preparation.csaw.CsawDownload"
    require_in_bounds(name, {"last_year": 2016, "csv": "x"})
    with pytest.raises(UserError, match=r"^raw\.last_year=16: expected a whole number from 1900 to 2300\.$"):
        require_in_bounds(name, {"last_year": 16}, "raw.")
    assert callable(get_object(name))
