"""tools/words.py: old names are found wherever a name is made, and nowhere else; module docstrings name a thing."""

from __future__ import annotations

from pathlib import Path

import pytest
from words import WORDS, Word, old_words, untitled_modules

TABLE = (
    Word("oracle", "true_risk", within=True),
    Word("draws", "bootstrap_samples", ("parameter", "attribute"), typed=r"^int$"),
    Word("draws", "bootstrap_samples", ("keyword", "key")),
    Word("gather", "all_gather_objects", ("def", "import")),
    Word("some", "format_examples", ("def", "import"), where="messages"),
    Word("parts", "context", typed="TrainingContext|build_training"),
    Word("watch", "watchdog", ("module",)),
    Word("tuned", "experiment_overrides", ("key",)),
    Word("LAST_WORDS", "GRACE_SECONDS"),
)


def write(root: Path, text: str, name: str = "mammorisk/models/net.py") -> Path:
    """A tree of one file."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def oracle(): pass\n", "1 def oracle"),
        ("class C:\n    async def read_oracle(self): pass\n", "2 def read_oracle"),
        ("class MyOracle: pass\n", "1 class MyOracle"),
        ("def f(*, oracle=None): pass\n", "1 parameter oracle"),
        ("def f(**oracle): pass\n", "1 parameter oracle"),
        ("f = lambda oracle: 0\n", "1 parameter oracle"),
        ("_ORACLE_COLUMNS = 1\n", "1 attribute _ORACLE_COLUMNS"),
        ("def f():\n    a, oracle = 1, 2\n", "2 local oracle"),
        ("for oracle in []: pass\n", "1 local oracle"),
        ("self.oracle = 1\n", "1 attribute oracle"),
        ("@dataclass\nclass C:\n    oracle: float = 1\n", "3 attribute oracle"),
        ("f(oracle=1)\n", "1 keyword oracle"),
        ("from mammorisk.a import oracle\n", "1 import oracle"),
        ("_LAST_WORDS = 2.0\n", "1 attribute _LAST_WORDS"),
        ("@dataclass\nclass C:\n    draws: int = 1\n", "3 attribute draws"),
        ("def f(draws: int): pass\n", "1 parameter draws"),
        ("f(draws=1)\n", "1 keyword draws"),
        ("def gather(value): pass\n", "1 def gather"),
        ("from mammorisk.messages import rows, some\n", "1 import some"),
        ("def f(parts: TrainingContext): pass\n", "1 parameter parts"),
        ("parts = build_training(config)\n", "1 attribute parts"),
        ("def f():\n    parts = build_training(config)\n", "2 local parts"),
    ],
)
def test_an_old_word_is_found_where_a_name_is_made(tmp_path, text, found):
    lines = old_words(write(tmp_path, text), TABLE)
    assert [line.partition(": ")[0] for line in lines] == [f"mammorisk/models/net.py:{found}"]


@pytest.mark.parametrize(
    "text",
    [
        '"""The oracle draws."""\n# oracle\nTEXT = "oracle"\n',
        "x = accelerator.gather(y)\ny = other.oracle\n",  # a foreign object's: only read
        "from torch.distributed import gather\n",
        "def f(draws: ArrayLike):\n    draws = rng.integers(3)\n",
        "def f(some): return some\n",
        "from mammorisk.metrics import some\n",
        "def f(parts: list[str]):\n    parts = line.split()\n",
        "def coracle(): pass\n",
        "last_words = 1\n",  # another name than LAST_WORDS
        "watch = tuned = 1\n",
    ],
)
def test_prose_foreign_attributes_and_plain_english_pass(tmp_path, text):
    assert old_words(write(tmp_path, text), TABLE) == []


@pytest.mark.parametrize("folder", ["hydra_plugins", "tools", "benchmarks", "tests"])
def test_all_code_is_looked_at(tmp_path, folder):
    assert len(old_words(write(tmp_path, "oracle = 1\n", f"{folder}/a.py"), TABLE)) == 1


def test_names_of_test_functions_are_sentences(tmp_path):
    assert old_words(write(tmp_path, "def test_the_oracle_is_read(): pass\n", "tests/test_a.py"), TABLE) == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mammorisk/watch.py", "mammorisk/watch.py:1 module watch: watch is watchdog now"),
        ("tests/test_watch.py", "tests/test_watch.py:1 module watch: watch is watchdog now"),
        ("tools/oracle_page.py", "tools/oracle_page.py:1 module oracle_page: oracle is true_risk now"),
        ("conf/data/oracle.yaml", "conf/data/oracle.yaml:1 key oracle: oracle is true_risk now"),
        ("conf/tuned/quick/a.yaml", "conf/tuned:1 key tuned: tuned is experiment_overrides now"),
    ],
)  # fmt: skip
def test_files_are_held_to_the_words_too(tmp_path, name, found):
    assert old_words(write(tmp_path, "", name), TABLE) == [found]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("draws: 1000 # of the bootstrap\n", "1 key draws"),
        ("a: 1\nb:\n  draws: 3\n", "3 key draws"),
        ("a:\n  - draws: 3\n", "2 key draws"),
        ("params:\n  metrics.draws: choice(1, 2)\n", "2 key draws"),
        ("'draws': 1\n", "1 key draws"),
        ("defaults:\n  - override /tuned/quick: a\n", "2 key tuned"),
        ("oracle_1y: oracle_1y\n", "1 key oracle_1y"),
    ],
)
def test_keys_of_the_configuration_are_names(tmp_path, text, line):
    lines = old_words(write(tmp_path, text, "conf/evaluate.yaml"), TABLE)
    assert [found.partition(": ")[0] for found in lines] == [f"conf/evaluate.yaml:{line}"]


def test_comments_and_values_of_the_configuration_are_not(tmp_path):
    assert (
        old_words(write(tmp_path, "# draws: 1\na: oracle # draws: 1\nbootstrap: draws\n", "conf/a.yaml"), TABLE) == []
    )


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("def prepare(self): pass\n", {"mammorisk/caching/entries.py": True, "mammorisk/preparation/embed.py": False}),
        ("def shown(value): pass\n", {"mammorisk/models/alignment.py": True, "mammorisk/bound.py": False}),
        ("fields = 1\n", {"mammorisk/a.py": True}),
        ("from dataclasses import fields\n", {"mammorisk/a.py": False}),
        ("def f():\n    goal = 1\n", {"mammorisk/a.py": False}),
        ("def f(goal): pass\n", {"mammorisk/a.py": True}),
        ("KINDS = 1\n", {"mammorisk/weights/formats.py": True, "mammorisk/cli/main.py": False}),
    ],
)
def test_the_words_of_the_project_are_meant_where_they_say(tmp_path, text, is_found):
    for number, (name, found) in enumerate(is_found.items()):
        assert bool(old_words(write(tmp_path / str(number), text, name))) is found


def test_no_new_word_is_an_old_one(tmp_path):
    for number, word in enumerate(WORDS):
        name = word.use.split()[0].rstrip(".")
        assert old_words(write(tmp_path / str(number), f"class C:\n    {name} = 1\n")) == [], word


@pytest.mark.parametrize(
    "title", ["What a run says.", "Which files.", "How it is done.", "From CSV to table.", "Where"]
)
def test_a_module_docstring_names_its_subject(tmp_path, title):
    tree = write(tmp_path, f'"""{title}"""\n')
    assert untitled_modules(tree) == [
        f"mammorisk/models/net.py:1 begins with {title.split()[0]}: name the thing, then say why"
    ]


@pytest.mark.parametrize("text", ['"""The log of a run.\n\nWhat else."""\n', '"""Whatever: a log."""\n', "x = 1\n"])
def test_other_docstrings_pass(tmp_path, text):
    assert untitled_modules(write(tmp_path, text)) == []


def test_docstrings_of_test_files_are_free_but_those_of_helpers_are_not(tmp_path):
    write(tmp_path, '"""What is tested."""\n', "tests/test_a.py")
    assert untitled_modules(write(tmp_path, '"""What helps."""\n', "tests/helpers/runs.py")) == [
        "tests/helpers/runs.py:1 begins with What: name the thing, then say why"
    ]
