"""Hostile checkpoints: real ones of tiny trainings with a changed configuration or pickle."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from helpers.audit_hooks import CANARY
from helpers.foreign_files import CONTAINERS, Calls, contained, evil_pickles

Config = dict[str, Any]
Change = Callable[[Config, Path], None]
OWN = "stranger_net"  # a module in the working folder


def altered(source: Path, target: Path, change: Callable[[Config], None] | str) -> Path:
    """A copy of a checkpoint with a changed configuration, or with another text in its place."""
    payload = torch.load(source, weights_only=True)
    if isinstance(change, str):
        payload["config"] = change
    else:
        config = yaml.safe_load(payload["config"])
        change(config)
        payload["config"] = yaml.safe_dump(config, sort_keys=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(payload, target)
    return target


def prepared(place: Path) -> Path:
    """Prepare a case's folder with the modules that hostile names would import; they leave a mark."""
    work = place / "work"
    work.mkdir(parents=True)
    trace = f"open({str(mark(place))!r}, 'w').close()\n"
    modules = [OWN, "hubconf", "blosc2_grok", "blosc2_openhtj2k", "blosc2_openzl", "sitecustomize_stranger"]
    for name in modules:
        (work / f"{name}.py").write_text(trace + "def net(*a, **k): ...\nclass Net:\n    pass\n")
    return work


def mark(place: Path) -> Path:
    """File that a hostile checkpoint creates if any of it is run."""
    return place / "mark"


def _shell(place: Path) -> str:
    return f"__import__('os').system('touch {mark(place)}')"


def _model(node: Callable[[Path], Config]) -> Change:
    def change(config: Config, place: Path) -> None:
        config["model"] = node(place)

    return change


def _within(key: str, node: Callable[[Path], Any]) -> Change:
    """Put a value at a dotted key."""

    def change(config: Config, place: Path) -> None:
        *parents, last = key.split(".")
        at = config
        for parent in parents:
            at = at[parent]
        at[last] = node(place)

    return change


def _joined(config: Config, place: Path) -> None:
    config.update(t="sympy", u="sympify")
    config["model"] = {"_target_": "${t}.${u}", "a": _shell(place)}


def _target(name: str, **more: Any) -> Callable[[Path], Config]:
    def node(place: Path) -> Config:
        known = {"CODE": _shell(place), "MARK": str(mark(place)), "WORK": str(place / "work")}
        return {"_target_": name, **{key: known.get(str(value), value) for key, value in more.items()}}

    return node


def _nested(place: Path) -> Config:
    return {"_target_": "hydra.utils.instantiate", "config": _target("sympy.sympify", a="CODE")(place)}


_PARSE = "sympy.parsing.sympy_parser.parse_expr"
_SECRET = f"${{oc.env:{CANARY}}}"
# name -> change, and text that the message must contain
REFUSED: dict[str, tuple[Change, str]] = {
    "sympify": (_model(_target("sympy.sympify", a="CODE")), "sympy.sympify"),
    "parse_expr in the encoder": (_within("model.encoder", _target(_PARSE, s="CODE")), _PARSE),
    "parse_expr in a keyword": (_within("model.hidden_dim", _target(_PARSE, s="CODE")), _PARSE),
    "torch.hub in registration": (
        _within("registration", _target("torch.hub.load", repo_or_dir="WORK", model="net", source="local")),
        "torch.hub.load",
    ),
    "open in the generator": (
        _within("dataset.generator", _target("builtins.open", file="MARK", mode="w")),
        "builtins.open",
    ),
    "open deep in the generator": (
        _within("dataset.generator.woman.density_a", _target("builtins.open", file="MARK", mode="w")),
        "builtins.open",
    ),
    "partial": (_model(_target("functools.partial", _args_="CODE")), "functools.partial"),
    "instantiate": (_model(_nested), "hydra.utils.instantiate"),
    "attribute of a module of ours": (
        _within("model.encoder", _target("mammorisk.caching.entries.shutil.disk_usage", path="/")),
        "mammorisk.caching.entries.shutil.disk_usage",
    ),
    "attribute of a model's module": (
        _within("model.loss", _target("mammorisk.models.lmv_net.torch.hub.get_dir")),
        "mammorisk.models.lmv_net.torch.hub.get_dir",
    ),
    "a module that runs on import": (_model(_target("this.x")), "this.x"),
    "a module of the working folder": (_model(_target(f"{OWN}.Net")), f"allow_modules=[{OWN}]"),
    "os.system": (_model(_target("os.system", command="CODE")), "os.system"),
    "eval": (_within("model.loss", _target("builtins.eval", _partial_=True, source="CODE")), "builtins.eval"),
    "another slot": (_within("registration", _target("mammorisk.models.mirai.Mirai")), "mammorisk.models.mirai.Mirai"),
    "joined references": (_joined, "${t}.${u}"),
    "secret in model": (_within("model.missing_views", lambda place: _SECRET), _SECRET),
    "secret in registration": (_within("registration.checkpoint", lambda place: _SECRET), _SECRET),
    "secret in a part": (_within("model.encoder.pretrained", lambda place: f"/x/{_SECRET}/y"), _SECRET),
    "code in a resolver": (
        _within("model.num_heads", lambda place: "${oc.create:${oc.decode:${oc.env:HOME}}}"),
        "oc.create",
    ),
}
TEXTS: dict[str, tuple[str, str]] = {  # text instead of a configuration, and text that the message must contain
    "alias bomb": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "an anchor, &a",
    ),
    "python tag": ("model: !!python/object/apply:os.system ['touch mark']\ndataset: {}\n", "a tag"),
    "no configuration": ("[1, 2]\n", "expected the configuration of a training"),
    "broken": ("model: {a: [\n", "cannot be read"),
    "large": ("a: " + "x" * 300_000, "letters"),
}


def _everywhere(config: Config, place: Path) -> None:
    """Let all paths of a configuration, outputs and caches included, lead to the attacker's folder."""
    wanted = str(mark(place))
    config["dataset"].update(cache=wanted, csv_file=f"{wanted}/a.csv", data_root=wanted)
    config["dataset"]["generator"].update(folder=wanted, num_workers=9)
    config["model"]["encoder"].update(pretrained="imagenet", cache=wanted)
    config["registration"].update(checkpoint=f"{wanted}/r.pth", cache=wanted)
    config.update(out_dir=wanted)
    config["trainer"].update(resume_from=f"{wanted}/s.pth")
    config["hydra"] = {"run": {"dir": wanted}}


def _own_table(config: Config, place: Path) -> None:
    """A table and images in place of a generator, as of a cohort of one's own."""
    theirs = place / "work" / "theirs.csv"
    config["dataset"].update(generator=None, csv_file=str(theirs), data_root=str(theirs.parent))


def _secrets(config: Config, place: Path) -> None:
    """Resolvers, and components, outside of what is built."""
    config.update(out_dir=_SECRET, secret=_SECRET)
    config["tracking"].update(project=_SECRET, backend="wandb", mode="online", wandb_id=_SECRET)
    config["optim"]["optimizer"]["_target_"] = "sympy.sympify"
    config["augment"] = {"_target_": "sympy.sympify", "a": _shell(place)}
    config["trainer"]["more"] = {"_target_": f"{OWN}.Net"}


def _both(config: Config, place: Path) -> None:
    _everywhere(config, place)
    _secrets(config, place)


def _needed_secrets(config: Config, place: Path) -> None:
    """Resolvers of what the commands cannot do without."""
    config.update(seed=_SECRET, id_training=_SECRET)
    config["dataset"].update(name=_SECRET, orientation=_SECRET, cancer_types={"1": _SECRET})


# Changes that lead nowhere: the file is as good as the one that was changed.
HARMLESS: dict[str, Change] = {
    "both": _both,
    "own table": _own_table,
    "secret seed": _within("seed", lambda place: _SECRET),
    "needed secrets": _needed_secrets,
}


def hostile(name: str, source: Path, target: Path, place: Path) -> Path:
    """The hostile checkpoint of this name, made from a real one."""
    if name in TEXTS:
        return altered(source, target, TEXTS[name][0])
    change = REFUSED[name][0] if name in REFUSED else HARMLESS[name]
    return altered(source, target, lambda config: change(config, place))


def told(name: str) -> str:
    """Text that the refusal of a hostile checkpoint must contain."""
    return (REFUSED.get(name) or TEXTS[name])[1]


def evil_files(folder: Path, place: Path) -> dict[Path, str]:
    """Pickles that call the shell, in every form of a torch file -> text that the message must contain."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    pickles = evil_pickles(mark(place))
    chosen = ["os.system, protocol 2", "in a wrapper, protocol 2", "bytes of storages, protocol 2", "INST"]
    for container in CONTAINERS:
        for number, name in enumerate(chosen):
            pickled, word = pickles[name]
            path = folder / f"{container}{number}.pth"
            path.write_bytes(contained(pickled, container))
            found[path] = word
    return found


def evil_payload(source: Path, target: Path, place: Path) -> Path:
    """A real checkpoint in whose optimiser state a call stands."""
    import os

    payload = torch.load(source, weights_only=True)
    payload["optimizer"]["state"]["x"] = Calls(os.system, f"touch {mark(place)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(payload, target, pickle_module=pickle)
    return target
