"""Torch files that hold other objects beside tensors, read as data: nothing in them is called, built or imported.

Training scripts store their arguments with the weights, as objects of argparse, YAML or configuration libraries.
A pickle of such objects is a program. This module does not run it: it follows the program on paper, with a stack
of plain values, where a class is its name and whatever would be made of it is `UNKNOWN`. Only lists, dicts, texts,
numbers and the tensors that torch writes take shape.

The layout of the file is torch's since version 1.6: a zip archive of one pickle, ``data.pkl``, and one record a
storage, ``data/0``, ``data/1``, …
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zellige.core.errors import DataError

DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
"""Types of storages by the name that torch gives them in files."""


class Unknown:
    """An object that this module does not know, and what would be made of it."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


@dataclass(frozen=True)
class Name:
    """A class or function that a file refers to; it is never looked up."""

    module: str
    name: str


@dataclass(frozen=True)
class Storage:
    """A record of the archive: its key, and the type of the numbers in it."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that has not been read: a view of a storage, in numbers from its start."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_pickled(path: Path, choose: Callable[[Any], dict[str, Any]]) -> dict[str, Tensor]:
    """Tensors of a torch archive, whatever objects lie beside them; only those chosen are read.

    Args:
        path: a zip archive that torch has written.
        choose: picks from the content, where a tensor is a `StoredTensor`, those that are wanted, by name.

    Raises:
        DataError: the archive is no such file, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            folder = next(name for name in names if name.endswith("/data.pkl")).removesuffix("data.pkl")
            if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
                raise DataError(f"{path} was written on a machine with another order of bytes")
            wanted = choose(interpret(archive.read(f"{folder}data.pkl")))
            records: dict[Storage, Tensor] = {}
            return {key: _tensor(value, archive, folder, records) for key, value in wanted.items()}
    except NONSENSE as error:
        raise DataError(f"{path} is damaged: its content makes no sense ({type(error).__name__})") from None


NONSENSE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError),
    *(StopIteration, EOFError, OSError, zipfile.BadZipFile),
)
"""What a program, a record or a size that torch would not write can lead to."""


def interpret(program: bytes) -> Any:
    """What a pickle describes, in plain values, `Name`, `StoredTensor` and `UNKNOWN`.

    Raises `ValueError`, `IndexError`, `KeyError` or `TypeError` for a program that is not well-formed.
    """
    stack: list[Any] = []
    marks: list[list[Any]] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(program):
        name = opcode.name
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            stack.append(argument)
        elif name == "MARK":
            marks.append(stack)
            stack = []
        elif name in ("GLOBAL", "INST"):
            found = Name(*str(argument).split(" ", 1))
            if name == "INST":
                _, stack = stack, marks.pop()
                stack.append(UNKNOWN)
            else:
                stack.append(found)
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Name(str(module), str(attribute)))
        elif name in ("REDUCE", "NEWOBJ", "BINPERSID"):
            arguments = stack.pop()
            stack.append(_storage(arguments) if name == "BINPERSID" else _made(stack.pop(), arguments))
        elif name == "NEWOBJ_EX":
            del stack[-3:]
            stack.append(UNKNOWN)
        elif name == "BUILD":
            stack.pop()  # the state of an object, of which there are none
        elif name in ("APPEND", "SETITEM"):
            items = [stack.pop() for _ in range(1 if name == "APPEND" else 2)][::-1]
            _fill(stack[-1], items)
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            items, stack = stack, marks.pop()
            _fill(stack[-1], items)
        elif name in ("TUPLE", "LIST", "DICT", "FROZENSET", "OBJ"):
            items, stack = stack, marks.pop()
            stack.append(_collected(name, items))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[int(str(argument))])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else int(str(argument))] = stack[-1]
        elif name == "DUP":
            stack.append(stack[-1])
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            stack = marks.pop()
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"torch does not write {name}")
    raise ValueError("the program does not end")


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_LITERALS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_REBUILT = ("_rebuild_tensor_v2", "_rebuild_tensor")


def _made(function: Any, arguments: Any) -> Any:
    """What calling `function` would give, for the few functions that weights are made with."""
    if not isinstance(function, Name):
        return UNKNOWN
    if (function.module, function.name) == ("collections", "OrderedDict"):
        pairs = arguments[0] if arguments else ()
        return dict(pairs) if isinstance(pairs, (list, tuple)) else {}
    if function.module == "torch._utils" and function.name in _REBUILT:
        storage, offset, size, stride = arguments[:4]
        whole = isinstance(storage, Storage) and all(_counts(part) for part in ((offset,), size, stride))
        return StoredTensor(storage, offset, tuple(size), tuple(stride)) if whole else UNKNOWN
    if function == Name("torch._utils", "_rebuild_parameter"):
        return arguments[0]
    return UNKNOWN


def _counts(numbers: Any) -> bool:
    return isinstance(numbers, (tuple, list)) and all(type(n) is int and n >= 0 for n in numbers)


def _storage(identity: Any) -> Any:
    """``("storage", type, key, device, numbers)``, as torch refers to a record."""
    if not isinstance(identity, tuple) or len(identity) < 3 or identity[0] != "storage":
        return UNKNOWN
    kind, key = identity[1:3]
    known = isinstance(kind, Name) and kind.module == "torch" and kind.name in DTYPES and isinstance(key, str)
    return Storage(key, DTYPES[kind.name]) if known else UNKNOWN


def _fill(target: Any, items: list[Any]) -> None:
    """Adds items to a list, or keys and values in turn to a dict; other targets are unknown and stay so."""
    if type(target) is list:
        target.extend(items)
    elif type(target) is dict:
        target.update(_pairs(items))


def _pairs(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Keys and values that follow one another; keys that are no texts or numbers are left out."""
    keys, values = items[::2], items[1::2]
    return ((key, value) for key, value in zip(keys, values, strict=True) if isinstance(key, (str, int, float, bytes)))


def _collected(name: str, items: list[Any]) -> Any:
    if name == "DICT":
        return dict(_pairs(items))
    return {"TUPLE": tuple, "LIST": list}[name](items) if name in ("TUPLE", "LIST") else UNKNOWN


def _tensor(stored: StoredTensor, archive: zipfile.ZipFile, folder: str, records: dict[Storage, Tensor]) -> Tensor:
    """The numbers of a stored tensor; `ValueError` if it reaches beyond its storage."""
    if stored.storage not in records:
        raw = bytearray(archive.read(f"{folder}data/{stored.storage.key}"))
        empty = torch.empty(0, dtype=stored.storage.dtype)
        records[stored.storage] = torch.frombuffer(raw, dtype=stored.storage.dtype) if raw else empty
    numbers = records[stored.storage]
    if len(stored.size) != len(stored.stride):
        raise ValueError("size and stride differ in length")
    last = stored.offset + sum((n - 1) * step for n, step in zip(stored.size, stored.stride, strict=True))
    if math.prod(stored.size) and last >= len(numbers):
        raise ValueError("a tensor reaches beyond its storage")
    return numbers.as_strided(stored.size, stored.stride, stored.offset)
