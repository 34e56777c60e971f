"""The field's words: old names that must not come back, and module docstrings that name their subject.

An old name is looked for where a name is made: definitions, parameters, variables, attributes, keyword arguments,
imports from the package, names of modules, keys and files of ``conf/``. Prose and strings are not looked at, and
neither are attributes that are only read, which may be other people's (``accelerator.gather``).
Needs nothing but the standard library.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

CODE = ("mammorisk", "hydra_plugins", "tools", "benchmarks", "tests")
CONF = "conf"
TITLE = re.compile(r"(What|Which|How|From|Where|Whether|When|Who|Whose|Why)\b")
KEY = re.compile(r"""\s*(?:-\s+)?(?:override\s+)?["']?([\w./@-]+)["']?\s*:(?:\s|$)""")

DEFINED = ("def", "class", "import", "module")
KEPT = (*DEFINED, "parameter", "attribute", "keyword", "key")  # what outlives a function: no local variables
CACHES = r"caching/|entries|_cache\b|image_store|registration/cache"


@dataclass(frozen=True)
class Word:
    """An old name, the one to use, and where the old one is meant."""

    old: str
    use: str
    kinds: Sequence[str] = ()  # of names, of those ``Name`` has; empty: all
    within: bool = False  # also as a part of a longer name, in any case
    where: str = ""  # only in files, or imported from modules, whose path this expression finds
    typed: str = ""  # only annotated, or made by a call, as this expression says

    def means(self, name: Name) -> bool:
        """Whether a name is this word."""
        bare = name.text.lstrip("_")
        same = bare == self.old or (self.within and f"_{self.old}_" in f"_{_snake(bare)}_")
        return (
            same
            and (not self.kinds or name.kind in self.kinds)
            and bool(re.search(self.where, name.where))
            and bool(re.search(self.typed, name.type))
        )


@dataclass(frozen=True)
class Name:
    """A name that a file makes."""

    text: str
    kind: str  # def | class | import | module | parameter | attribute | keyword | local | key
    where: str  # path of the file, or of the module that is imported from
    line: int
    type: str = ""  # annotation, or the function whose result it is


WORDS = (
    Word("agreement", "step_control", within=True),
    Word("settle", "sync", DEFINED, where="step_control|agreement"),
    Word("trouble", "error", where="step_control|agreement"),
    Word("may_pause", "can_stop"),
    Word("together", "run_main_first", DEFINED),
    Word("at_once", "run_on_all_ranks", DEFINED),
    Word("from_main", "run_on_main_rank", DEFINED),
    Word("agree", "broadcast_object", DEFINED),
    Word("gather", "all_gather_objects", DEFINED),
    Word("raise_together", "raise_on_all_ranks"),
    Word("watch", "watchdog", ("module",)),
    Word("say_goodbye", "announce_exit"),
    Word("wait_for_bad_news", "wait_for_peer_failure"),
    Word("LAST_WORDS", "GRACE_SECONDS"),
    Word("strangers", "shifted_window_mask"),
    Word("parts", "setup", ("module",)),
    Word("parts", "context", typed=r"\bParts\b|TrainingContext|build_parts|build_training"),
    Word("Parts", "TrainingContext"),
    Word("build_parts", "build_training"),
    Word("learner", "unwrapped_model", within=True),
    Word("recall", "get_or_compute", DEFINED, where=CACHES),
    Word("prepare", "reserve", ("def",), where=CACHES),
    Word("incomplete", "find_missing", DEFINED, where=CACHES),
    Word("glance", "check_header", DEFINED, where=CACHES),
    Word("filling", "precompute (caching/fill)", DEFINED),
    Word("fill_ahead", "precompute"),
    Word("filled_store", "precompute"),
    Word("fields", "displacements", KEPT),
    Word("StillFields", "ZeroDisplacement"),
    Word("phantom_truth", "ground_truth"),
    Word("oracle", "true_risk", within=True),
    Word("recompute", "gradient_checkpointing"),
    Word("citation", "messages", ("module",)),
    Word("some", "format_examples", DEFINED, where="messages|citation"),
    Word("rows", "format_rows", DEFINED, where="messages|citation"),
    Word("nearest", "closest_match", DEFINED, where="messages|citation"),
    Word("contenders", "compared_models", within=True),
    Word("tally", "pair_counts", within=True),
    Word("shots", "dicom_views", within=True),
    Word("sheets", "contact_sheets", ("module",)),
    Word("doubts", "caveats", DEFINED),
    Word("say", "print_...", DEFINED),
    Word("described", "describe", DEFINED),
    Word("goal", "monitor", KEPT),
    Word("chooses", "monitor_key"),
    Word("chance", "chance_level", KEPT),
    Word("waited", "epochs_without_improvement", KEPT),
    Word("aligns_by", "registration_module"),
    Word("encodes_by", "encoder_module"),
    Word("shown", "mask_images", DEFINED, where="models/"),
    Word("kinds", "formats", DEFINED, where="weights"),
    Word("KINDS", "FORMATS", where="weights"),
    Word("Kind", "WeightFormat"),
    Word("smallest", "min_group_size", ("parameter", "attribute"), typed=r"^int$"),
    Word("smallest", "min_group_size", ("keyword", "key")),
    Word("draws", "bootstrap_samples", ("parameter", "attribute"), typed=r"^int$"),
    Word("draws", "bootstrap_samples", ("keyword", "key")),
    Word("tuned", "experiment_overrides", ("key",)),
)


def old_words(root: Path, words: Sequence[Word] = WORDS) -> list[str]:
    """Every old name below ``root``, with the one to use."""
    found = []
    for path, name in _all_names(root):
        for word in words:
            if word.means(name):
                found.append(f"{path}:{name.line} {name.kind} {name.text}: {word.old} is {word.use} now")
                break
    return found


def untitled_modules(root: Path) -> list[str]:
    """Modules whose docstring begins with a question word and so names no thing; files of tests are left out."""
    found = []
    for path in _code_files(root):
        docstring = ast.get_docstring(ast.parse((root / path).read_text(encoding="utf-8"))) or ""
        if TITLE.match(docstring) and not path.name.startswith("test_"):
            found.append(f"{path}:1 begins with {docstring.split(maxsplit=1)[0]}: name the thing, then say why")
    return found


def _all_names(root: Path) -> Iterator[tuple[Path, Name]]:
    for path in _code_files(root):
        yield path, Name(path.stem.removeprefix("test_"), "module", str(path), 1)
        tree = ast.parse((root / path).read_text(encoding="utf-8"), str(path))
        for name in names(tree, str(path)):
            if not (name.kind == "def" and name.text.startswith("test_")):  # a sentence, not a name of ours
                yield path, name
    folders = {folder for path in _conf_files(root) for folder in path.parents if len(folder.parts) > 1}
    for path in sorted(folders | set(_conf_files(root))):
        yield path, Name(path.stem, "key", str(path), 1)
    for path in _conf_files(root):
        for line, text in enumerate((root / path).read_text(encoding="utf-8").splitlines(), start=1):
            for key in re.split(r"[./@]", match[1]) if (match := KEY.match(text)) else ():
                yield path, Name(key, "key", str(path), line)


def names(tree: ast.Module, where: str) -> Iterator[Name]:
    """Every name that a module makes, and those it imports from the package or passes as keywords."""
    outer = {id(target) for body in _outer_bodies(tree) for node in body for target in _targets(node)}
    types = {id(target): _type(node) for node in ast.walk(tree) for target in _targets(node)}
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text):
                yield Name(text, "def", where, node.lineno)
            case ast.ClassDef(name=text):
                yield Name(text, "class", where, node.lineno)
            case ast.arg(arg=text, annotation=annotation):
                yield Name(text, "parameter", where, node.lineno, ast.unparse(annotation) if annotation else "")
            case ast.keyword(arg=str(text)):
                yield Name(text, "keyword", where, node.lineno)
            case ast.Name(id=text, ctx=ast.Store()):
                yield Name(
                    text, "attribute" if id(node) in outer else "local", where, node.lineno, types.get(id(node), "")
                )
            case ast.Attribute(attr=text, ctx=ast.Store()):
                yield Name(text, "attribute", where, node.lineno, types.get(id(node), ""))
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in CODE:
                for alias in node.names:
                    yield Name(alias.name, "import", module.replace(".", "/"), node.lineno)


def _outer_bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    """Statements of the module and of its classes, whose names are no local variables."""
    yield tree.body
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.body


def _targets(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement assigns to."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield from ast.walk(target)
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr):
        yield node.target


def _type(node: ast.AST) -> str:
    """What a statement says of the type of its targets: an annotation, or the function that it calls."""
    if isinstance(node, ast.AnnAssign):
        return ast.unparse(node.annotation)
    value = getattr(node, "value", None)
    return ast.unparse(value.func) if isinstance(value, ast.Call) else ""


def _code_files(root: Path) -> list[Path]:
    return [path.relative_to(root) for folder in CODE for path in sorted((root / folder).rglob("*.py"))]


def _conf_files(root: Path) -> list[Path]:
    return [path.relative_to(root) for path in sorted((root / CONF).rglob("*.yaml"))]


def _snake(name: str) -> str:
    """``CamelCase`` and ``UPPER_CASE`` as ``snake_case``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
