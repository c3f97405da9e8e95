"""The bytes of a model's file, piece by piece, so that they are never in memory all at once.

They are those of ``SerializeToString(deterministic=True)``: the fields of every message in the
order of their numbers, each behind its tag; messages and bytes behind their length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from google.protobuf.message import Message

from spa.graph.deferred import array_of, is_deferred, size_of
from spa.graph.weightless import copy_lacking

GRAPH = onnx.ModelProto.DESCRIPTOR.fields_by_name["graph"].number
INITIALIZER = onnx.GraphProto.DESCRIPTOR.fields_by_name["initializer"].number
RAW_DATA = onnx.TensorProto.DESCRIPTOR.fields_by_name["raw_data"].number


def pieces(proto: onnx.ModelProto) -> Iterator[bytes | memoryview]:
    """The bytes of a model's file.

    Raises:
        ValueError: or one of protobuf's errors, where it cannot be one file.
    """
    deferred = {tensor.name for tensor in proto.graph.initializer if is_deferred(tensor)}
    if not deferred:
        yield proto.SerializeToString(deterministic=True)
        return
    light = copy_lacking(proto, deferred)
    before, after = _around(light, GRAPH)
    first, last = _around(light.graph, INITIALIZER)
    weights = [
        _Weight(old if old.name in deferred else None, new)
        for old, new in zip(proto.graph.initializer, light.graph.initializer, strict=True)
    ]
    size = len(first) + len(last) + sum(len(weight.head) + weight.size for weight in weights)
    yield before + tag(GRAPH, size) + first
    for weight in weights:
        yield weight.head
        yield from weight.body()
    yield last + after


def raw(tensor: onnx.TensorProto) -> bytes | memoryview:
    """A tensor's value as ``raw_data`` holds it."""
    if not is_deferred(tensor):
        return bytes(tensor.raw_data)
    array = array_of(tensor)
    flat = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return flat.reshape(-1).view(np.uint8).data


class _Weight:
    """An initializer: its tag and length, and its bytes."""

    def __init__(self, deferred: onnx.TensorProto | None, light: onnx.TensorProto) -> None:
        self._deferred = deferred
        if deferred is None:
            self._around = light.SerializeToString(deterministic=True), b""
            self.size = len(self._around[0])
        else:
            bare = onnx.TensorProto()
            bare.CopyFrom(deferred)
            bare.ClearField("data_location")
            del bare.external_data[:]
            before, after = _around(bare, RAW_DATA)
            count = size_of(deferred)
            self._around = before + tag(RAW_DATA, count), after
            self.size = sum(map(len, self._around)) + count
        self.head = tag(INITIALIZER, self.size)

    def body(self) -> Iterable[bytes | memoryview]:
        yield self._around[0]
        if self._deferred is not None:
            yield raw(self._deferred)
            yield self._around[1]


def _around(message: Message, number: int) -> tuple[bytes, bytes]:
    """A message's bytes before and after a field that is left out."""
    halves = []
    for is_part in (number.__gt__, number.__lt__):
        part = type(message)()
        part.CopyFrom(message)
        for field in message.DESCRIPTOR.fields:
            if not is_part(field.number):
                part.ClearField(field.name)
        halves.append(part.SerializeToString(deterministic=True))
    return halves[0], halves[1]


def tag(number: int, length: int) -> bytes:
    """What stands before a message or bytes: number and kind of the field, and the length."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    digits.append(value)
    return bytes(digits)
