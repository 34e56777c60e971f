from __future__ import annotations

import re
from typing import Any

import pytest
from helpers.composed_configs import composed
from omegaconf import DictConfig, OmegaConf

from mammorisk.bound import Bound
from mammorisk.bounds import BOUNDS
from mammorisk.config import options
from mammorisk.config_check import CHOICES, bad_choice, bad_numbers, check_config, check_numbers
from mammorisk.errors import UserError


def problems(config: DictConfig) -> list[str]:
    """The lines of the message; none for a configuration that can be used."""
    try:
        check_config(config)
    except UserError as error:
        lines = str(error).splitlines()
        assert lines[0] == "The configuration cannot be used:"
        assert "--cfg job" in lines[-1]
        return [line.strip() for line in lines[1:-1]]
    return []


def changed(*overrides: str) -> DictConfig:
    """A Mirai with other values, faster than composed anew."""
    config = composed("model=mirai")
    config.merge_with_dotlist(list(overrides))
    return config


def problem(*overrides: str) -> str:
    """The only problem of a Mirai with other values."""
    (line,) = problems(changed(*overrides))
    return line


@pytest.mark.parametrize("model", options("model"))
@pytest.mark.parametrize("experiment", [[], ["experiment=quickstart"]])
def test_every_model_can_be_used(model, experiment):
    assert problems(composed(f"model={model}", *experiment)) == []


@pytest.mark.parametrize("experiment", [name for name in options("experiment") if "/" in name])
def test_every_published_recipe_can_be_used(experiment):
    config = composed(f"experiment={experiment}")
    for key in OmegaConf.missing_keys(config):  # weights are files of the user's
        assert key.endswith((".checkpoint", ".pretrained"))
        OmegaConf.update(config, key, "weights.pth")
    assert problems(config) == []


@pytest.mark.parametrize("dataset", ["embed", "csaw", "mirai_csv"])
def test_real_cohorts_want_their_paths(dataset):
    assert problems(composed("model=mirai", f"dataset={dataset}")) == [
        "dataset.csv_file is not set: give dataset.csv_file=VALUE",
        "dataset.data_root is not set: give dataset.data_root=VALUE",
    ]
    assert problems(composed("model=mirai", f"dataset={dataset}", "dataset.csv_file=a", "dataset.data_root=b")) == []


def test_a_model_is_to_be_chosen():
    assert problems(composed()) == [f"model is not set: choose {' or '.join('model=' + m for m in options('model'))}"]


def test_settings_of_a_model_choose_none():
    """An experiment that sets keys of any model makes a node without a model."""
    (line,) = problems(composed("experiment=quickstart"))
    assert line == f"model is not set: choose {' or '.join('model=' + name for name in options('model'))}"


def test_registration_wants_its_weights():
    lines = problems(composed("model=mirai", "registration=mammoregnet"))
    assert lines == ["registration.checkpoint is not set: give registration.checkpoint=VALUE"]


def test_true_fields_are_of_phantoms_alone():
    paths = ("dataset.csv_file=a", "dataset.data_root=b")
    assert problems(composed("model=lmv_net", "registration=ground_truth")) == []
    (line,) = problems(composed("model=lmv_net", "dataset=embed", *paths, "registration=ground_truth"))
    assert "registration=ground_truth goes with dataset=phantom alone" in line


@pytest.mark.parametrize("key", CHOICES)
def test_choices_are_listed_with_the_nearest(key):
    assert bad_choice(key, CHOICES[key][0]) is None
    typo = CHOICES[key][-1] + "x"
    line = problem(f"{key}={typo}")
    assert line.startswith(f"{key}={typo}: expected {' or '.join(CHOICES[key])}")
    assert line.endswith(f"did you mean {CHOICES[key][-1]}?")
    assert "did you mean" not in str(bad_choice(key, "zzzzzz"))


SETTINGS = [(place, name) for place in ("dataset", "optim", "trainer") for name in BOUNDS[place]]
LISTS = {"dataset.image_size": ("[0,2]", "[3,4]")}


def just_outside(bound: Bound) -> list[object]:
    step = 1 if bound.whole else 1e-6
    low = bound.low if bound.above else bound.low - step
    high = bound.high if bound.below else bound.high + max(step, bound.high * 1e-6)
    return [low, int(high) if bound.whole else high, *([] if bound.whole else ["nan", "inf"])]


@pytest.mark.parametrize(("place", "name"), SETTINGS)
def test_every_value_out_of_bounds_is_refused_by_its_key(place, name):
    key, bound = f"{place}.{name}", BOUNDS[place][name]
    bad, fine = LISTS.get(key, (None, bound.high - (1e-6 if bound.below else 0)))
    for value in just_outside(bound) if bad is None else [bad]:
        lines = problems(changed(f"{key}={value}"))
        assert [line for line in lines if line.startswith(f"{key}=") and str(bound) in line], (value, lines)
        assert len(lines) == 1
    if key == "dataset.num_workers":  # its upper end is that of any machine; this one's is looked at, too
        fine = 1
    relaxed = ["optim.learning_rate=100", "optim.min_lr=0"]
    assert problems(changed(*relaxed, f"{key}={int(fine) if bound.whole and bad is None else fine}")) == []
    if bound.null:
        assert problems(changed(f"{key}=null")) == []


@pytest.mark.parametrize("seed", [-1, 2**32, 10**20])
def test_seeds_that_numpy_or_torch_would_refuse_or_fold(seed):
    assert problem(f"seed={seed}").startswith(f"seed={seed}: expected a whole number from 0 to ")


@pytest.mark.parametrize(
    "word",
    ["optim.lr_decay_per_epoch=0", "trainer.gradient_accumulation_steps=100000", "dataset.batch_size=1000000000"],
)
def test_settings_that_train_to_the_end_of_nothing_are_refused(word):
    assert problem(word).startswith(f"{word.partition('=')[0]}=")


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("model", "num_layers", 10**6),
        ("model", "dropout", 1.0),
        ("model.encoder", "width", 65536),
        ("augment", "gamma", [1.2, 0.8]),
        ("augment", "crop_probability", 1.5),
        ("dataset.generator", "num_women", 0),
        ("dataset.generator.hazard", "event_rate", 1.5),
        ("optim.optimizer", "betas", [0.9, 1.0]),
    ],
)
def test_settings_of_components_are_held_to_their_bounds(group, key, value):
    config = composed("model=mirai")
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, f"{group}.{key}", value)
    (line,) = problems(config)
    assert line.startswith(f"{group}.{key}={value}: expected ")


def test_a_rate_does_not_start_below_the_least_one():
    line = problem("optim.learning_rate=1e-9")
    assert line == "optim.min_lr=1e-07: expected at most optim.learning_rate=1e-09, which falls to it"
    assert problems(changed("optim.learning_rate=1e-9", "optim.min_lr=0")) == []
    assert problems(changed("optim.learning_rate=1e-9", "optim.use_scheduler=false")) == []


def test_a_value_is_told_where_it_stands_and_not_where_a_reference_brings_it():
    config = composed(
        "model=oa_breacr", "registration=mammoregnet", "registration.checkpoint=x", "registration.depth=99"
    )
    config.merge_with_dotlist(["dataset.image_size=[0,2]", "optim.weight_decay=-1"])
    assert list(bad_numbers(config)) == ["dataset.image_size", "optim.weight_decay", "registration.depth"]


def test_a_resolver_hides_no_number(monkeypatch):
    monkeypatch.setenv("MANY", "100000")
    assert problem("trainer.gradient_accumulation_steps=${oc.decode:${oc.env:MANY}}").startswith("trainer.grad")
    monkeypatch.setenv("MANY", "4")
    assert problems(changed("trainer.gradient_accumulation_steps=${oc.decode:${oc.env:MANY}}")) == []


def test_numbers_of_any_command_are_all_told_at_once():
    config = composed("bootstrap_samples=0", "confidence=1", "+dataset.batch_size=0", root="evaluate")
    with pytest.raises(UserError) as error:
        check_numbers(config)
    assert [line.partition("=")[0] for line in str(error.value).splitlines()] == [
        "dataset.batch_size", "bootstrap_samples", "confidence"
    ]  # fmt: skip
    check_numbers(composed(root="evaluate"))


@pytest.mark.parametrize(
    ("bad", "fine"),
    [("on", "none"), ("lmdb", "./lmdb"), ("''", "null"), ("true", "~/nowhere/images"), ("/dev/null", "/dev")],
)
def test_a_cache_is_none_or_a_folder(bad, fine):
    assert problem(f"dataset.cache={bad}").startswith("dataset.cache=")
    assert "expected none, or a folder with a / in it" in problem(f"dataset.cache={bad}")
    assert problems(changed(f"dataset.cache={fine}")) == []


def test_every_choice_is_of_a_key_that_exists():
    config = composed("model=mirai")
    for key in CHOICES:
        group, _, leaf = key.rpartition(".")
        assert leaf in (OmegaConf.select(config, group) if group else config), key


def component(node: dict[str, Any], group: str = "model") -> list[str]:
    config = composed("model=mirai")
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, group, node, merge=False)
    return problems(config)


def mirai(**changes: Any) -> dict[str, Any]:
    node = OmegaConf.to_container(composed("model=mirai").model)
    assert isinstance(node, dict)
    return {**node, **changes}


@pytest.mark.parametrize(
    "target", ["mammorisk.models.mirai.Miraj", "no_such_module.X", "x", "mammorisk.models.nothing.X"]
)
def test_what_cannot_be_imported(target):
    (line,) = component({"_target_": target})
    assert line.startswith(f"model._target_={target} cannot be imported")


def test_unknown_missing_and_wrongly_typed_keywords_are_all_told():
    node = mirai(num_head=4, dropout="much", missing_views="maks", num_layers=1.5)
    del node["encoder"]
    assert sorted(component(node)) == [
        "model.dropout=much: expected a number",
        "model.encoder: mammorisk.models.mirai.Mirai needs it",
        "model.missing_views=maks: expected drop or mask",
        "model.num_head: mammorisk.models.mirai.Mirai has no such parameter; did you mean num_heads?",
        "model.num_layers=1.5: expected a whole number",
    ]


def test_keywords_of_nested_components():
    encoder = {**mirai()["encoder"], "widht": 3, "freeze": "no"}
    lines = component(mirai(encoder=encoder, loss={"_target_": "mammorisk.losses.nothing", "_partial_": True}))
    assert (
        "model.encoder.widht: mammorisk.models.encoders.ResNetEncoder has no such parameter; did you mean width?"
        in lines
    )
    assert "model.encoder.freeze=no: expected true or false" in lines
    assert any(line.startswith("model.loss._target_=mammorisk.losses.nothing cannot be imported") for line in lines)
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("group", "key", "value", "words"),
    [
        ("augment", "scale", [1, "x"], "expected a list of a number"),
        ("augment", "scale", 1.0, "expected a list"),
        ("augment", "gamma_probability", True, "expected a number"),
        ("model.encoder", "width", True, "expected a whole number"),
        ("model.encoder", "pretrained", 3, "expected text or null"),
        ("dataset.generator", "num_women", "many", "expected a whole number"),
    ],
)
def test_types_are_in_words(group, key, value, words):
    config = composed("model=mirai")
    OmegaConf.update(config, f"{group}.{key}", value)
    lines = problems(config)
    assert [line for line in lines if line.startswith(f"{group}.{key}=") and words in line], lines


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("augment", "translation", 1),
        ("model", "hidden_dim", None),
        ("model", "hidden_dim", 8),
        ("augment", "scale", [1, 1]),
    ],
)
def test_values_that_fit(group, key, value):
    config = composed("model=mirai")
    OmegaConf.update(config, f"{group}.{key}", value)
    assert problems(config) == []


def test_an_optimiser_of_ones_own_is_checked_too():
    assert problems(changed("optim.optimizer._target_=torch.optim.SGD")) == []
    (line,) = problems(composed("model=mirai", "+optim.optimizer.beta=0.9"))
    assert line == "optim.optimizer.beta: torch.optim.AdamW has no such parameter; did you mean betas?"


def test_a_reference_to_nothing_is_told():
    for key in ("out_dir", "optim.learning_rate", "trainer.resume_from", "dataset.orientation"):
        assert "nothing" in problem(f"{key}=${{nothing}}")


def test_all_problems_are_told_at_once():
    config = composed("dataset=embed", "trainer.num_epochs=0", "tracking.mode=offlin", "+augment.flip=1")
    lines = problems(config)
    keys = [re.split("[=: ]", line)[0] for line in lines]
    expected = {"model", "dataset.csv_file", "dataset.data_root", "trainer.num_epochs", "tracking.mode", "augment.flip"}
    assert set(keys) == expected
    assert len(lines) == len(set(lines)) == len(expected)


@pytest.mark.parametrize("path", ["nowhere/resume.pth", "."])
def test_a_checkpoint_that_is_not_there_is_told_before_any_data_is_read(path, monkeypatch):
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)
    line = problem(f"trainer.resume_from={path}")
    assert line.startswith(f"trainer.resume_from={path}: there is no such file")
    assert "auto" in line


def test_a_checkpoint_that_is_there_or_not_needed_is_fine(tmp_path, monkeypatch):
    path = tmp_path / "resume.pth"
    path.touch()
    assert problems(changed(f"trainer.resume_from={path}")) == []
    assert problems(changed("trainer.resume_from=auto")) == []
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # goes on from its own checkpoint
    assert problems(changed("trainer.resume_from=was_removed.pth")) == []


def test_checking_changes_nothing():
    config = changed("trainer.num_epochs=0")
    before = OmegaConf.to_yaml(config)
    problems(config)
    assert OmegaConf.to_yaml(config) == before


def test_columns_of_risk_factors_are_no_problem_and_their_use_is_a_choice():
    config = composed("model=mirai", "dataset.risk_factors.menarche_age=MENARCHE", "model.risk_factors=given")
    assert problems(config) == []
    assert problem("model.risk_factors=guessed") == "model.risk_factors=guessed: expected none or predicted or given"
