"""tools/rooms.py: a house without circles passes; each import that ties or climbs is found, with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from rooms import ARGUED, FLOORS, House, components, computed_imports, knots, read_house, upward

ROOT = Path(__file__).parents[1]
HOUSE = {  # cli -> training -> models -> ground.py
    "mammorisk/__init__.py": '"""Root."""\n__version__ = "1"\n',
    "mammorisk/cli/train.py": "from mammorisk.training.loop import run\n",
    "mammorisk/training/loop.py": "from mammorisk.models import net\nfrom mammorisk.training import other\n",
    "mammorisk/training/other.py": "from mammorisk.training.loop import run\n",
    "mammorisk/models/net.py": "import mammorisk.ground\n",
    "mammorisk/ground.py": "import torch\n",
    "hydra_plugins/sweeper.py": "from mammorisk.cli.train import train\n",
}
STOREYS = (("cli",), ("training",), ("models",), ("ground.py",))
MODELS_TO_TRAINING = "mammorisk/models/net.py:{} {} mammorisk.training.loop"


@pytest.fixture
def house(tmp_path):
    def build(**changed: str) -> House:
        """The house, with the text of some modules (``models_net``) replaced."""
        files = HOUSE | {f"mammorisk/{name.replace('_', '/', 1)}.py": text for name, text in changed.items()}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return read_house(tmp_path)

    return build


def test_imports_that_only_go_down_pass_and_a_room_may_tie_its_own_modules(house):
    assert knots(house(), {}) == []
    assert upward(house(), STOREYS, {}) == []


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("import mammorisk.training.loop\n", MODELS_TO_TRAINING.format(1, "imports")),
        ("\ndef f():\n    from mammorisk.training.loop import run\n", MODELS_TO_TRAINING.format(3, "imports") + ".run"),
        ("from mammorisk.training import loop\n", MODELS_TO_TRAINING.format(1, "imports")),
        ("from ..training.loop import run\n", MODELS_TO_TRAINING.format(1, "imports") + ".run"),
        ("from ..training import loop as there\n", MODELS_TO_TRAINING.format(1, "imports")),
        ('TARGET = "mammorisk.training.loop.run"\n', MODELS_TO_TRAINING.format(1, "names") + ".run"),
        ('TARGET = "mammorisk.training.loop:run"\n', MODELS_TO_TRAINING.format(1, "names") + ".run"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import mammorisk.training.loop\n",
         MODELS_TO_TRAINING.format(5, "imports")),
    ],
)  # fmt: skip
def test_an_import_that_closes_a_circle_is_named_from_both_sides(house, text, where):
    tied = house(models_net=text)
    assert knots(tied, {}) == [
        "2 rooms: models, training",
        f"  models -> training: {where}",
        "  training -> models: mammorisk/training/loop.py:1 imports mammorisk.models.net",
    ]
    assert upward(tied, STOREYS, {}) == [f"{where}: from models up to training"]


@pytest.mark.parametrize(
    "text",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from mammorisk.training.loop import run\n",
        "import typing\nif typing.TYPE_CHECKING:\n    import mammorisk.training.loop\n",
        '"""mammorisk.training.loop"""\n',
        'class Net:\n    """mammorisk.training.loop"""\n',
        'raise ValueError("see mammorisk.training.loop")\n',
        'LOGGER = "mammorisk"\nNO_MODULE = "mammorisk.trainings.loop"\n',
    ],
)
def test_type_checking_docstrings_and_prose_are_no_imports(house, text):
    assert knots(house(models_net=text), {}) == []
    assert upward(house(models_net=text), STOREYS, {}) == []


def test_the_start_of_a_formatted_name_counts(house):
    named = house(models_net='NAME = f"mammorisk.training.{word}"\n', training___init__="")
    assert upward(named, STOREYS, {}) == [
        "mammorisk/models/net.py:1 names mammorisk.training: from models up to training"
    ]


@pytest.mark.parametrize(
    ("text", "is_hidden"),
    [
        ('from importlib import import_module\nimport_module("mammorisk." + "training.loop")\n', True),
        ('import importlib\nimportlib.import_module(".training.loop", "mammorisk")\n', True),
        ('ROOM = "training"\n__import__(f"mammorisk.{ROOM}")\n', True),
        ('import importlib\nimportlib.import_module("json")\n', False),
    ],
)
def test_an_import_of_a_computed_name_is_told(house, text, is_hidden):
    told = [f"mammorisk/models/net.py:{text.count(chr(10))} imports a name that it computes: write it in full"]
    assert computed_imports(house(models_net=text)) == (told if is_hidden else [])
    assert computed_imports(house(models_net=text), {"mammorisk.models.net": "why"}) == []


def test_the_package_itself_and_the_plugins_are_the_top(house):
    tied = house(ground="from mammorisk import __version__\n")
    assert upward(tied, STOREYS, {}) == [
        "mammorisk/ground.py:1 imports mammorisk.__version__: from ground.py up to cli"
    ]
    assert knots(tied, {})[0] == "4 rooms: cli, ground.py, models, training"
    plugin = house(ground="import hydra_plugins.sweeper\n")
    assert upward(plugin, STOREYS, {})[0].endswith("from ground.py up to cli")


def test_a_folder_within_a_room_is_part_of_it(house, tmp_path):
    (tmp_path / "mammorisk/models/swin").mkdir(parents=True)
    (tmp_path / "mammorisk/models/swin/blocks.py").write_text("from mammorisk.models.net import Net\n")
    assert upward(house(models_net="from mammorisk.models.swin.blocks import Block\n"), STOREYS, {}) == []


def test_a_room_on_no_floor_fails(house):
    assert upward(house(attic_hidden="x = 1\n"), STOREYS, {}) == [
        "attic stands on no floor: give it one in tools/rooms.py"
    ]


def test_an_argued_import_may_climb_but_ties_a_knot_still(house):
    argued = {("mammorisk.models.net", "mammorisk.training.loop"): "why"}
    climbing = house(models_net="import mammorisk.training.loop\n")
    assert upward(climbing, STOREYS, argued) == []
    assert knots(climbing, argued)[0] == "2 rooms: models, training"


@pytest.mark.parametrize("imported", ["mammorisk.training.loop", "mammorisk.training", "mammorisk"])
def test_an_argued_string_ties_no_knot_and_may_be_argued_for_with_its_room(house, imported):
    argued = {("mammorisk.models.net", imported): "why"}
    named = house(models_net='TARGET = "mammorisk.training.loop.run"\n')
    assert upward(named, STOREYS, argued) == []
    assert knots(named, argued) == []


def test_an_import_is_argued_for_with_its_very_module(house):
    argued = {("mammorisk.models.net", "mammorisk.training"): "why"}
    climbing = house(models_net="import mammorisk.training.loop\n")
    assert len(upward(climbing, STOREYS, argued)) == 2  # the import, and an argument that nothing needs


@pytest.mark.parametrize("key", [("mammorisk.models.net", "mammorisk.training.loop"), ("mammorisk.gone", "mammorisk")])
def test_an_argument_that_nothing_needs_any_more_fails(house, key):
    assert upward(house(), STOREYS, {key: "why"}) == [
        f"{key[0]} -> {key[1]} is argued for in tools/rooms.py and no longer needed"
    ]


def test_an_argument_is_needed_where_it_cuts_a_knot_on_one_floor(house):
    floors = (("cli",), ("training", "models"), ("ground.py",))
    argued = {("mammorisk.models.net", "mammorisk.training.loop"): "why"}
    named = house(models_net='TARGET = "mammorisk.training.loop.run"\n')
    assert upward(named, floors, argued) == []
    assert knots(named, {})[0] == "2 rooms: models, training"
    assert knots(named, argued) == []


@pytest.mark.parametrize(
    ("pairs", "circles"),
    [
        ("ab bc", []),
        ("ab bc ca", ["abc"]),
        ("ab ba bc cd dc", ["ab", "cd"]),
        ("ab bc cd db", ["bcd"]),
        ("ab ac bd cd da", ["abcd"]),
        ("ab bc cb ce ed dc", ["bcde"]),
    ],
)
def test_strongly_connected_components_of_small_graphs(pairs, circles):
    assert components([(one, other) for one, other in pairs.split()]) == [list(circle) for circle in circles]


def test_the_guide_names_the_floors_of_the_guard():
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Floors")[2].partition("\n## ")[0]
    lines = re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]
    named = [re.findall(r"`([^`]+)`", line.partition(":")[0]) for line in lines]
    named[0].remove("hydra_plugins")  # which stands with cli
    assert named == [list(rooms) for rooms in FLOORS]


def test_no_room_stands_on_two_floors_and_each_argument_is_a_sentence():
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    assert all(reason.endswith(".") and len(reason.split()) > 5 for reason in ARGUED.values())


def test_each_room_of_a_floor_exists():
    there = read_house(ROOT)
    assert {room for floor in FLOORS for room in floor} <= {there.room(module) for module in there.modules}
