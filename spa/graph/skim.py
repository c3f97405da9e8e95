"""A model's file without its large weights, and where in it these lie.

A file of a gigabyte, parsed, is a gigabyte of memory that is then needed several times over. So the
fields of the file are walked without reading the large ones: messages and bytes stand behind their
tag and length, and nothing else of protobuf's format needs to be known.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spa.graph.pieces import GRAPH, INITIALIZER, RAW_DATA, tag

# Bytes of a weight that is left out.
LARGE_BYTES = 1 << 18
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Skimmed:
    """A file's bytes but for large weights.

    Attributes:
        data: a model that lacks them.
        places: by number of the initializer, where its bytes begin and how many there are.
    """

    data: bytes
    places: dict[int, tuple[int, int]]


@dataclass(frozen=True)
class _Field:
    number: int
    start: int
    body: int
    end: int


def skim(path: Path) -> Skimmed | None:
    """Walks a file; None where it is not what it should be, which parsing it will tell better.

    Raises:
        OSError: it cannot be read.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        try:
            return _skimmed(view)
        except (IndexError, ValueError):
            return None


def _skimmed(view: mmap.mmap) -> Skimmed:
    model: list[bytes] = []
    graph: list[bytes] = []
    places: dict[int, tuple[int, int]] = {}
    count = 0
    for field in _fields(view, 0, len(view)):
        if field.number != GRAPH:
            model.append(view[field.start : field.end])
            continue
        for part in _fields(view, field.body, field.end):
            if part.number != INITIALIZER:
                graph.append(view[part.start : part.end])
                continue
            tensor = []
            for entry in _fields(view, part.body, part.end):
                if entry.number == RAW_DATA and entry.end - entry.body >= LARGE_BYTES:
                    places[count] = (entry.body, entry.end - entry.body)
                else:
                    tensor.append(view[entry.start : entry.end])
            graph += [tag(INITIALIZER, sum(map(len, tensor))), *tensor]
            count += 1
    return Skimmed(b"".join([*model, tag(GRAPH, sum(map(len, graph))), *graph]), places)


def _fields(view: mmap.mmap, start: int, end: int) -> Iterator[_Field]:
    """The fields of a message.

    Raises:
        IndexError: it ends too early.
        ValueError: it has a field of a kind that ONNX has not.
    """
    place = start
    while place < end:
        key, body = _varint(view, place)
        kind = key & 7
        if kind == _LENGTH:
            size, body = _varint(view, body)
            after = body + size
        elif kind == _VARINT:
            _, after = _varint(view, body)
        elif kind in (_FIXED64, _FIXED32):
            after = body + (8 if kind == _FIXED64 else 4)
        else:
            raise ValueError(f"no field is of kind {kind}")
        if after > end:
            raise IndexError("a field ends behind its message")
        # What is looked into or left out are messages and bytes.
        yield _Field(key >> 3 if kind == _LENGTH else 0, place, body, after)
        place = after


def _varint(view: mmap.mmap, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = view[place]
        number |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")
