"""Safe reader of pickles: a stack machine that calls nothing that the file names.

Python's unpickler imports and calls what a file names, and can at best refuse some of it. Here a name is looked up in a
list, and its call becomes an inert record. A tensor is a claim on a part of a storage, checked against the storage's
size. No class that the file names is ever imported.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from mammorisk.weights.pickle_names import BUILDERS, STORAGES, admitted
from mammorisk.weights.pickle_records import Inert, Name, Storage, UnsafePickle, is_count, kind_of, printable

PICKLE_MOST = 16 << 20  # bytes of one pickle; a ResNet-18 snapshot has 50 to 110 kB
STEPS_MOST = 1_000_000  # instructions, each of which makes one small object at most; that snapshot has 20 000


@dataclass
class Pickle:
    """Content of a pickle: dicts, lists, tuples, scalars, and inert records."""

    content: object
    storages: dict[str, Storage] = field(default_factory=dict)  # by key, each whole
    left_out: int = 0  # entries of dicts whose keys were not read


def read_pickle(file: BinaryIO, numbered: bool = False) -> Pickle:
    """Read one pickle at the file's position, and leave the position behind it.

    Args:
        file: open.
        numbered: keep entries of dicts whose keys are whole numbers, too, as an optimiser's state has them.

    Raises:
        UnsafePickle: it has a global or an instruction that is not admitted, is too large, cut off or damaged.
    """
    machine = _Machine(numbered)
    try:
        for opcode, argument, _ in pickletools.genops(_Bounded(file, PICKLE_MOST)):  # type: ignore[arg-type]
            machine.step(opcode.name, argument)
    except UnsafePickle:
        raise
    except (ValueError, IndexError, OverflowError, struct.error, MemoryError) as error:
        raise UnsafePickle(f"is no checkpoint, or is cut off or damaged ({printable(str(error))})") from error
    if len(machine.stack) != 1:
        raise UnsafePickle("is damaged (its pickle ends with a loose part)")
    return Pickle(machine.stack[0], machine.storages, machine.left_out)


class _Machine:
    """Stack, memo and storages of a pickle being read."""

    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered
        self.left_out = 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, Storage] = {}
        self.steps = 0

    def step(self, opcode: str, argument: object) -> None:
        """Execute one instruction."""
        self.spend(1)
        if opcode in _PUSHED:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode]())
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in _IGNORED:
            raise UnsafePickle(f"uses the pickle instruction {opcode}, which no checkpoint of torch's has")

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > STEPS_MOST:
            raise UnsafePickle(f"has a pickle of more than {STEPS_MOST:,} instructions; a network needs far fewer")

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise UnsafePickle("is damaged (its pickle takes from an empty stack)")
        return self.stack.pop()

    def top(self) -> object:
        self.stack.append(self.pop())
        return self.stack[-1]

    def pop_mark(self) -> list[object]:
        """Remove and return the items above the last mark."""
        if not self.marks:
            raise UnsafePickle("is damaged (its pickle lacks a mark)")
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def pop_tuple(self, length: int) -> tuple[object, ...]:
        return tuple([self.pop() for _ in range(length)][::-1])

    def remember(self, place: object = None) -> None:
        self.memo[int(place) if isinstance(place, int) else len(self.memo)] = self.top()

    def recall(self, place: object) -> None:
        if place not in self.memo:
            raise UnsafePickle("is damaged (its pickle recalls what it never stored)")
        self.stack.append(self.memo[place])

    def name(self, module: object, name: object) -> None:
        self.stack.append(admitted(module, name))

    def instance(self, argument: object) -> None:
        self.name(*str(argument).partition(" ")[::2])  # a name that is refused is reported first
        raise UnsafePickle("uses the pickle instruction INST, which no checkpoint of torch's has")

    def stack_name(self) -> None:
        module, name = self.pop_tuple(2)
        self.name(module, name)

    def call(self) -> None:
        """Make a record of the call that REDUCE or NEWOBJ would make."""
        function, arguments = self.pop_tuple(2)
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise UnsafePickle(f"calls {kind_of(function)}, which is no class")
        build = BUILDERS.get(function.name)
        self.stack.append(Inert(function.name) if build is None else build(arguments, self.spend))

    def build(self) -> None:
        """Keep the state in the record, never as attributes; that of a dict (OrderedDict) is left out."""
        target, state = self.pop_tuple(2)
        if isinstance(target, Inert):
            target.state = state
        elif not isinstance(target, dict):
            raise UnsafePickle(f"gives a state to {kind_of(target)}, which has none")
        self.stack.append(target)

    def set_items(self, items: list[object]) -> None:
        target = self.top()
        if len(items) % 2 or not isinstance(target, dict | Inert):
            raise UnsafePickle(f"is damaged (it sets items of {kind_of(target)})")
        if isinstance(target, dict):
            # Only strings name a tensor or a module; hashing other keys from a file is not worth the risk.
            kept = [(k, v) for k, v in zip(items[::2], items[1::2], strict=True) if self.is_key(k)]
            target.update(kept)
            self.left_out += len(items) // 2 - len(kept)

    def is_key(self, key: object) -> bool:
        return isinstance(key, str) or (self._numbered and is_count(key))

    def append(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list | Inert):
            raise UnsafePickle(f"is damaged (it appends to {kind_of(target)})")
        if isinstance(target, list):
            target.extend(items)

    def dictionary(self) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self.set_items(items)

    def persistent(self) -> None:
        """Push a storage, or in old files a class with its source text (which stays text)."""
        given = self.pop()
        if not isinstance(given, tuple) or not given:
            raise UnsafePickle("is damaged (a persistent id is no tuple)")
        if given[0] == "module" and len(given) > 1 and isinstance(given[1], Name):
            self.stack.append(given[1])
        elif given[0] == "storage" and len(given) in (5, 6):
            self.stack.append(self.storage(given[1:5], given[5] if len(given) == 6 else None))
        else:
            raise UnsafePickle("is damaged (a persistent id is neither a storage nor a class)")

    def storage(self, claim: tuple[object, ...], view: object) -> Storage:
        kind, key, _, numel = claim  # the third is the device it was on
        short = kind.name.rpartition(".")[2] if isinstance(kind, Name) else ""
        if short not in STORAGES or not isinstance(key, str) or not is_count(numel):
            raise UnsafePickle("is damaged (a storage without a type, a key or a size)")
        whole = Storage(key, STORAGES[short], numel, 0, numel)
        known = self.storages.setdefault(key, whole)
        if (known.dtype, known.total) != (whole.dtype, whole.total):
            raise UnsafePickle(f"is damaged (storage {printable(key)} has two types or sizes)")
        return known if view is None else _part(known, view)


def _part(whole: Storage, view: object) -> Storage:
    """A part of a storage, (key, first element, number of elements), as the oldest files have them."""
    _, start, numel = view if isinstance(view, tuple) and len(view) == 3 else (None,) * 3
    if not is_count(start) or not is_count(numel) or start + numel > whole.total:
        raise UnsafePickle(f"is damaged (a view of storage {printable(whole.key)} goes beyond its end)")
    return Storage(whole.key, whole.dtype, whole.total, start, numel)


_NUMBERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT")
_TEXTS = ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_PUSHED = frozenset([*_NUMBERS, *_TEXTS, "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"])
_CONSTANTS: dict[str, Callable[[], object]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
}
_IGNORED = ("PROTO", "FRAME", "STOP")
_ACTIONS: dict[str, Callable[[_Machine, object], object]] = {
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.pop_mark(),
    "DUP": lambda m, _: m.stack.append(m.top()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_mark())),
    "TUPLE1": lambda m, _: m.stack.append(m.pop_tuple(1)),
    "TUPLE2": lambda m, _: m.stack.append(m.pop_tuple(2)),
    "TUPLE3": lambda m, _: m.stack.append(m.pop_tuple(3)),
    "LIST": lambda m, _: m.stack.append(m.pop_mark()),
    "FROZENSET": lambda m, _: m.stack.append(m.pop_mark()),
    "DICT": lambda m, _: m.dictionary(),
    "APPEND": lambda m, _: m.append([m.pop()]),
    "APPENDS": lambda m, _: m.append(m.pop_mark()),
    "ADDITEMS": lambda m, _: m.append(m.pop_mark()),
    "SETITEM": lambda m, _: m.set_items(list(m.pop_tuple(2))),
    "SETITEMS": lambda m, _: m.set_items(m.pop_mark()),
    "GLOBAL": lambda m, argument: m.name(*str(argument).partition(" ")[::2]),
    "INST": lambda m, argument: m.instance(argument),
    "STACK_GLOBAL": lambda m, _: m.stack_name(),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.persistent(),
    **{opcode: lambda m, place: m.remember(place) for opcode in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE")},
    **{opcode: lambda m, place: m.recall(place) for opcode in ("BINGET", "LONG_BINGET", "GET")},
}


class _Bounded:
    """A file that returns at most a number of bytes, for a reader that trusts the lengths it reads."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._left = file, most

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise UnsafePickle(f"has a pickle of more than {PICKLE_MOST >> 20} MiB; a network's has a few kB")
        return self._counted(self._file.read(count))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left))

    def tell(self) -> int:
        return self._file.tell()

    def _counted(self, data: bytes) -> bytes:
        self._left -= len(data)
        return data
