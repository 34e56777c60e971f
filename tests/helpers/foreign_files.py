"""Files of other projects, benign and hostile: snapshots of whole modules, and pickles that call functions."""

from __future__ import annotations

import argparse
import copyreg
import importlib
import io
import operator
import os
import pickle
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mammorisk.weights.torch_files import LEGACY_MAGIC, LEGACY_PROTOCOL

CONTAINERS = ("raw", "zip", "legacy")
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class Block(nn.Module):
    """Module of another project, with attributes that a state dict leaves out."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, 3)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.register_buffer("kept", torch.arange(6.0).view(2, 3).t())
        self.register_parameter("nothing", None)
        self.args = argparse.Namespace(dropout=0.1, devices=["cuda"])
        self.mean = np.float64(3.5)
        self.table = np.arange(3)


class AllImageTransformer(nn.Module):
    """Stand-in for Mirai's class: blocks in a list, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        shared = Block()
        self.blocks = nn.Sequential(shared, Block(), shared)


@contextmanager
def onconet() -> Iterator[None]:
    """Within the block, let the classes above belong to a package ``onconet`` that cannot be imported elsewhere."""
    module, before = types.ModuleType("onconet.models.fake"), {}
    names = ("onconet", "onconet.models", module.__name__)
    for name in names:
        sys.modules[name] = module
    for made in (Block, AllImageTransformer):
        before[made] = made.__module__
        made.__module__ = module.__name__
        setattr(module, made.__name__, made)
    try:
        yield
    finally:
        for made, name in before.items():
            made.__module__ = name
        for name in names:
            del sys.modules[name]


def snapshot_bytes(module: nn.Module, container: str = "zip") -> bytes:
    """Bytes that torch.save writes for a whole module of ``onconet``."""
    file = io.BytesIO()
    with onconet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format wants to store the classes' source text
        torch.save(module, file, _use_new_zipfile_serialization=container == "zip")
    return file.getvalue()


def contained(pickled: bytes, container: str, arrays: dict[str, bytes] | None = None) -> bytes:
    """A pickle as the content of a torch file."""
    if container == "raw":
        return pickled
    if container == "legacy":
        head = [LEGACY_MAGIC, LEGACY_PROTOCOL, MACHINE]
        before = b"".join(pickle.dumps(part, protocol=2) for part in head)
        return before + pickled + pickle.dumps(list(arrays or {}), protocol=2) + b"".join((arrays or {}).values())
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, data in (arrays or {}).items():
            archive.writestr(f"archive/data/{key}", data)
    return file.getvalue()


class Calls:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function: object, *arguments: object, state: object = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce_ex__(self, protocol: int) -> tuple[object, ...]:
        return self.reduced


def touching(path: Path) -> str:
    """A shell command that leaves a file behind."""
    return f"touch {path}"


def evil_pickles(trace: Path) -> dict[str, tuple[bytes, str]]:
    """Pickles that create the file ``trace`` if they are trusted, each with the name that the message must contain."""
    command, code = touching(trace), f"open({str(trace)!r}, 'w')"
    nested = pickle.dumps(Calls(os.system, command), protocol=2)
    system = b"cposix\nsystem\nX" + len(command).to_bytes(4, "little") + command.encode() + b"\x85R"
    objects: dict[str, tuple[object, str]] = {
        "os.system": (Calls(os.system, command), "posix.system"),
        "exec": (Calls(exec, code), "exec"),
        "eval": (Calls(eval, code), "eval"),
        # Protocols before 3 have the names of Python 2: commands.Popen.
        "subprocess": (Calls(subprocess.Popen, command, -1, None, None, None, None), ".Popen"),
        "check_output": (Calls(subprocess.check_output, ["touch", str(trace)]), ".check_output"),
        "torch.load": (Calls(torch.load, str(trace)), "torch.serialization.load"),
        "pickle.loads": (Calls(pickle.loads, nested), "pickle.loads"),
        "bytes of storages": (Calls(torch.storage._load_from_bytes, nested), "torch.storage._load_from_bytes"),
        "import": (Calls(importlib.import_module, "antigravity"), "importlib.import_module"),
        "getattr": (Calls(getattr, object(), "__class__"), "getattr"),
        "attrgetter": (Calls(operator.attrgetter, "system"), "operator.attrgetter"),
        "copyreg": (Calls(copyreg._reconstructor, dict, object, None), "_reconstructor"),
        "in a list": ([1, [2, {"a": (Calls(os.system, command),)}]], "posix.system"),
        "in a wrapper": ({"model": {"weight": Calls(os.system, command)}}, "posix.system"),
        "as a state": (Calls(set, [], state={"__class__": Calls(os.system, command)}), "posix.system"),
    }
    pickles = {
        f"{name}, protocol {protocol}": (pickle.dumps(made, protocol=protocol), reported)
        for name, (made, reported) in objects.items()
        for protocol in (0, 2, 4)
    }
    head = b"\x80\x02"
    by_hand = {
        "os.system by hand": (head + b"cos\nsystem\nX\x01\x00\x00\x00a\x85R.", "os.system"),
        "INST": (b"(S'" + command.encode() + b"'\nios\nsystem\n.", "os.system"),
        "OBJ": (head + b"(cos\nsystem\nX\x01\x00\x00\x00ao.", "os.system"),
        "behind a class": (
            head + b"conconet.x\nNet\n)\x81}X\x08\x00\x00\x00__dict__" + system + b"sb.",
            "posix.system",
        ),
        "as a persistent id": (head + b"(X\x07\x00\x00\x00storage" + system + b"tQ.", "posix.system"),
        "as the class of a storage": (
            head + b"(X\x07\x00\x00\x00storagecos\nsystem\nX\x01\x00\x00\x000NK\x01tQ.",
            "os.system",
        ),
        "a dotted name": (b"\x80\x04\x8c\x08onconet.\x8c\tos.system\x93.", "onconet..os.system"),
        "through torch": (head + b"ctorch\nserialization.load\n.", "torch.serialization.load"),
        "through numpy": (head + b"cnumpy\nload\n.", "numpy.load"),
        "through torch.hub": (head + b"ctorch.hub\nload\n.", "torch.hub.load"),
        "extension": (head + b"\x82\x01.", "EXT1"),
        "new object with keywords": (b"\x80\x04conconet.x\nNet\n)}\x92.", "NEWOBJ_EX"),
        "buffers": (b"\x80\x05\x97.", "NEXT_BUFFER"),
    }
    return pickles | by_hand
