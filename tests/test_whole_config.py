"""tools/whole_config.py: whole configurations below the commands are found; sections and values pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from whole_config import MAY_TAKE_IT, takers

ROOT = Path(__file__).parents[1]


def write(root: Path, text: str, name: str = "mammorisk/training/loop.py") -> Path:
    """A tree of one file."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("def f(config): pass\n", "1 f(config)"),
        ("def f(config: DatasetConfig): pass\n", "1 f(config: DatasetConfig)"),  # a section by the name of the whole
        ("def f(a: int, *, run: DictConfig | None = None): pass\n", "1 f(run: DictConfig | None)"),
        ("class C:\n    def _f(self, settings: 'TrainConfig'): pass\n", "2 _f(settings: 'TrainConfig')"),
        ("def f():\n    def g(cfg, /): pass\n", "2 g(cfg)"),
        ("async def f(config): pass\n", "1 f(config)"),
        ("def f(*config): pass\n", "1 f(config)"),
        ("def f(**run: DictConfig): pass\n", "1 f(run: DictConfig)"),
        (
            "def f(a: Callable[[list[str]], DictConfig] | DictConfig): pass\n",
            "1 f(a: Callable[[list[str]], DictConfig] | DictConfig)",
        ),
    ],
)
def test_a_function_that_takes_the_whole_configuration_is_named(tmp_path, text, function):
    assert takers(write(tmp_path, text)) == [
        f"mammorisk/training/loop.py:{function}: hand down a section or values"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "def f(dataset: DatasetConfig, splits: SplitConfig, config_name: str): pass\n",
        "def f():\n    config = 1\n    return config\n",
        "def f(compose: Callable[[list[str]], DictConfig]): pass\n",  # what it gives is its own affair
        "@dataclass\nclass C:\n    config: DictConfig\n",
        "def f(name: str, *, _root_: DictConfig): pass\n",  # a resolver: Hydra's signature
        "def setup(self, *, hydra_context: Any, task_function: Any, config: DictConfig): pass\n",  # a launcher's
    ],
)
def test_sections_values_and_what_hydra_calls_pass(tmp_path, text):
    assert takers(write(tmp_path, text)) == []


@pytest.mark.parametrize("name", ["mammorisk/cli/train.py", "mammorisk/training/setup.py", "hydra_plugins/a.py"])
def test_commands_and_builders_may_take_it(tmp_path, name):
    assert takers(write(tmp_path, "def f(config): pass\n", name)) == []


def test_what_may_take_it_exists():
    assert [place for place in MAY_TAKE_IT if not (ROOT / place).exists()] == []
