from __future__ import annotations

import time

import pytest
from helpers.composed_configs import composed
from omegaconf import OmegaConf

from mammorisk.config import CONF_DIR
from mammorisk.errors import UserError
from mammorisk.system.strict_yaml import MAX_BYTES, MAX_DEPTH, read_strict_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n" for i in range(9)
)


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF_DIR)))
def test_values_are_those_that_omegaconf_reads(path):
    text = path.read_text(encoding="utf-8")
    expected = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    assert (read_strict_yaml(text, str(path)) or {}) == expected


def test_a_configuration_that_omegaconf_wrote_comes_back():
    config = composed("model=vmra_mar", "optim.learning_rate=1e-5", "dataset.name='007'", "tracking.group='yes'")
    assert read_strict_yaml(OmegaConf.to_yaml(config), "x") == OmegaConf.to_container(config, resolve=False)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x 1", "an anchor, &x"),
        ("b: *x", "an alias, [*]x|undefined alias"),
        (BOMB, "an anchor, &a"),
        ("a: !!python/name:os.system ''", "a tag"),
        ("a: !!python/object/apply:os.system ['true']", "a tag"),
        ("!!map {a: 1}", "a tag"),
        ("a: 1\na: 2", "the key a twice"),
        ("<<: {a: 1}", "a merge key"),
        ("1: 2", "a key that is no text"),
        ("? [a]\n: 1", "a key that is no text"),
        ("a: .nan", "no finite number"),
        ("a: -.inf", "no finite number"),
        ("a: 1e999", "no finite number"),
        ("a: " + "9" * 5000, "a number of 5,000 characters"),
        ("a: 1" + ":59" * 4000, "a number of"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels"),
        ("[" * 100_000, f"more than {MAX_DEPTH} levels|nesting depth"),
        ("- " * 100_000, f"more than {MAX_DEPTH} levels"),
        ("--- 1\n--- 2", "more than one document"),
        ("a: [1, 2", "expected"),
        ("a: 'b", "end of stream|scalar"),
        (f"{'k' * 300}: 1", "a key of 300 characters"),
        ("\x00", "control characters"),
        ("a: " + "x" * MAX_BYTES, "262,147 bytes"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_not_plain_is_refused_at_once(text, told):
    began = time.process_time()
    with pytest.raises(UserError, match=told) as refused:
        read_strict_yaml(text, "a.pth")
    assert str(refused.value).startswith("a.pth: its configuration cannot be read")
    assert time.process_time() - began < 10  # not for ever: an alias bomb stands for 9^10 words


def test_the_depth_and_the_size_that_are_allowed_are_read():
    assert read_strict_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH, "x") is not None
    assert len(read_strict_yaml("a: " + "x" * (MAX_BYTES - 10), "x")["a"]) == MAX_BYTES - 10
