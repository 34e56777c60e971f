#!/usr/bin/env python3
"""Table of all models, made from the code, between the markers in README.md (short) and docs/models/README.md (full).

It comes from module docstrings (paper), ``InputSpec`` (unit, views, exams), the bounds of ``model.exams``, the built
model (parameters), its YAML (loss) and its published recipe. usage: python tools/model_table.py [--check]
"""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from mammorisk.bounds import BOUNDS
from mammorisk.component_gate import without_files
from mammorisk.config import CONF_DIR, options, register_schemas
from mammorisk.models.base import RiskModel, parameter_count
from mammorisk.runs.directory import register_resolvers

ROOT = Path(__file__).parents[1]
PLACES = {"README.md": "docs/models/", "docs/models/README.md": ""}  # file -> where the model cards are from there
COLUMNS = {  # column -> its heading and its alignment
    "card": ("model", "---"),
    "paper": ("paper", "---"),
    "unit": ("a sample is", "---"),
    "views": ("views", "--:"),
    "exams": ("exams", "--:"),
    "parameters": ("trained parameters", "---"),
    "loss": ("loss", "---"),
    "recipe": ("published recipe", "---"),
}
SHORT = ("card", "paper", "unit", "views", "exams")  # columns that fit into the lines of README.md
WIDTH = 120  # characters of a line of README.md at most
START, END = "<!-- models: made by tools/model_table.py -->", "<!-- end of models -->"
UNITS = {"image": "one view", "breast": "a breast", "exam": "an exam"}


def main() -> int:
    """Write the table into its places, or with ``--check`` only compare; return 1 if a place differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if a table is out of date")
    check = parser.parse_args().check
    rows = [describe(name) for name in options("model")]
    stale = []
    for place, cards in PLACES.items():
        path = ROOT / place
        text = path.read_text(encoding="utf-8")
        columns = SHORT if place == "README.md" else tuple(COLUMNS)
        new = with_table(text, table(rows, cards, columns), place)
        if new != text:
            stale.append(place)
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale and check:
        print(f"The table of models is out of date in {', '.join(stale)}: run python tools/model_table.py")
    return 1 if stale and check else 0


def describe(name: str) -> dict[str, str]:
    """The cells of the model ``conf/model/<name>.yaml``."""
    published = next((option for option in options("experiment") if option == f"published/{name}"), None)
    config = composed(f"experiment={published}" if published else f"model={name}")
    settings = OmegaConf.to_container(config.model, resolve=False)
    assert isinstance(settings, dict)
    module = importlib.import_module(str(settings["_target_"]).rpartition(".")[0])
    model = built(config)
    inputs = model.inputs
    count = parameter_count(model)
    frozen = count["total"] - count["trainable"]
    trained = f"{count['trainable'] / 1e6:.1f} M"
    return {
        "name": name,
        "paper": paper(module.__doc__ or "", name),
        "unit": UNITS[inputs.unit],
        "views": str(inputs.views),
        "exams": exams(str(settings["_target_"]), inputs.exams),
        "parameters": f"{trained} (+ {frozen / 1e6:.1f} M frozen)" if frozen else trained,
        "loss": f"`{str(settings['loss']['_target_']).rpartition('.')[2]}`",
        "recipe": f"`experiment={published}`: batch {config.dataset.batch_size}, {config.trainer.num_epochs} epochs, "
        f"rate {config.optim.learning_rate:g}"
        if published
        else "none",
    }


def exams(component: str, number: int) -> str:
    """The number of exams, with its bounds where a setting of the component changes it."""
    bound = BOUNDS.get(component, {}).get("exams")
    return str(number) if bound is None else f"{number} ({bound.low:g} to {bound.high:g})"


def composed(*overrides: str) -> DictConfig:
    """A configuration of ``mammorisk-train``."""
    register_schemas()
    register_resolvers()
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def built(config: DictConfig) -> RiskModel:
    """The model of a configuration, without the files of weights that it names."""
    model: Any = hydra.utils.instantiate(without_files(OmegaConf.to_container(config.model, resolve=True), "model"))
    assert isinstance(model, RiskModel)
    return model


def paper(docstring: str, name: str) -> str:
    """The reference that ends the first line of a model's module, in brackets."""
    found = re.search(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)\.$", docstring.strip().splitlines()[0])
    if found is None:
        raise SystemExit(f"{name}: end the first line of the module's docstring with its paper: '… (Authors, venue).'")
    return found.group(1)


def table(rows: list[dict[str, str]], cards: str, columns: tuple[str, ...]) -> str:
    """Markdown of these columns; ``cards`` is the path from the file of the table to the model cards."""
    lines = [tuple(COLUMNS[column][place] for column in columns) for place in (0, 1)]
    for row in rows:
        cells = row | {"card": f"[`{row['name']}`]({cards}{row['name']}.md)"}
        lines.append(tuple(cells[column] for column in columns))
    text = [f"| {' | '.join(line)} |" for line in lines]
    if columns == SHORT and (long := [line for line in text if len(line) > WIDTH]):
        raise SystemExit(f"A line of README.md has {len(long[0])} characters, {WIDTH} at most; shorten it: {long[0]}")
    return "\n".join(text)


def with_table(text: str, new: str, place: str) -> str:
    """The text with the table between its markers replaced."""
    pattern = re.compile(f"{re.escape(START)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"{place} has no '{START}' … '{END}' to put the table between.")
    return pattern.sub(lambda _: f"{START}\n{new}\n{END}", text)


if __name__ == "__main__":
    sys.exit(main())
