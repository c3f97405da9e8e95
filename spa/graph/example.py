"""Example inputs: what the model declares, what the user gives, and a guess for the rest.

A dynamic first axis is taken as the batch (2, so that a batch axis is never mistaken for an axis of
size 1). Other dynamic axes are tried at the sizes that published models use, until the model runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.errors import InputError, ModelError
from spa.graph.nodes import Graph

Array = npt.NDArray[Any]
InputSpec = Sequence[int] | Array
# Input name and axis.
FreeAxis = tuple[str, int]

BATCH = 2
# Sizes of dynamic axes that are not the batch, in the order in which they are tried.
IMAGE_SIZES = (224, 64, 32, 48, 128, 320, 299, 512)
OTHER_SIZES = (16, 32, 64, 128, 256, 1)
# By how much a size that is not the batch's grows in the second run; some networks halve their
# input so often that only a multiple fits, and doubling is affordable below the second number.
OTHER_GROWTH = 32
MAX_DOUBLED = 513
# No example of a published model comes near this.
MAX_INPUT_BYTES = 2**31


@dataclass(frozen=True)
class Declared:
    """A graph input as the file declares it; ``None`` marks a dynamic axis.

    ``symbols`` are the names of its axes' sizes, ``""`` where one is fixed or has no name.
    """

    name: str
    dtype: np.dtype[Any]
    dims: tuple[int | None, ...]
    symbols: tuple[str, ...] = ()

    def describe(self) -> str:
        """For messages: ``name=?x3x?x?``."""
        return f"{self.name}={'x'.join('?' if d is None else str(d) for d in self.dims)}"

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a shape has the declared rank and fixed sizes."""
        return len(shape) == len(self.dims) and all(
            d is None or d == s for d, s in zip(self.dims, shape, strict=True)
        )


def declared_inputs(proto: onnx.ModelProto, graph: Graph) -> list[Declared]:
    """Reads the declared inputs; a declared size of 0 or -1 counts as dynamic.

    Raises:
        InputError: an input is not a plain tensor.
        ModelError: an input's element type is unknown.
    """
    found = []
    for value in proto.graph.input:
        if value.name not in graph.inputs:
            continue
        kind = value.type
        if not kind.HasField("tensor_type"):
            raise InputError(
                f'Input "{value.name}" is not a plain tensor (a sequence, map or optional); '
                "SPA runs models whose inputs are tensors."
            )
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type)
        except KeyError as error:
            raise ModelError(
                f'Input "{value.name}" has element type {kind.tensor_type.elem_type}, which is '
                "none of ONNX's; the file is damaged."
            ) from error
        dims = tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.tensor_type.shape.dim
        )
        symbols = tuple(d.dim_param for d in kind.tensor_type.shape.dim)
        found.append(Declared(value.name, np.dtype(dtype), dims, symbols))
    return found


def check_given(declared: Sequence[Declared], given: Mapping[str, InputSpec]) -> None:
    """Checks names, ranks and fixed sizes of what the user gave.

    Raises:
        InputError: naming the input, what it takes and what was given.
    """
    by_name = {d.name: d for d in declared}
    for name, spec in given.items():
        if name not in by_name:
            raise InputError(
                f'The model has no input "{name}"; its inputs are '
                + ", ".join(d.describe() for d in declared)
                + "."
            )
        want = by_name[name]
        shape = spec.shape if isinstance(spec, np.ndarray) else tuple(spec)
        if not want.takes(shape) or any(s < 1 for s in shape):
            raise InputError(
                f'Input "{name}" takes {want.describe()} (? is free, sizes are 1 or more), but '
                f"{'x'.join(map(str, shape)) or 'a scalar'} was given."
            )


def candidates(
    declared: Sequence[Declared], given: Mapping[str, InputSpec], graph: Graph, seed: int = 0
) -> Iterator[dict[str, Array]]:
    """Yields example inputs, the likeliest first.

    Raises:
        InputError: an input is too large.
    """
    free = any(d.name not in given and any(dim is None for dim in d.dims[1:]) for d in declared)
    images = any(len(d.dims) >= 4 for d in declared)
    for size in (IMAGE_SIZES if images else OTHER_SIZES) if free else (1,):
        rng = np.random.default_rng(seed)
        feeds = {}
        for d in declared:
            spec = given.get(d.name)
            if isinstance(spec, np.ndarray):
                feeds[d.name] = spec.astype(d.dtype, copy=False)
                continue
            shape = tuple(spec) if spec is not None else _guess(d, size, graph)
            _check_bytes(d, shape)
            feeds[d.name] = draw(rng, shape, d.dtype)
        yield feeds


def _check_bytes(declared: Declared, shape: Sequence[int]) -> None:
    size = math.prod(shape) * declared.dtype.itemsize
    if size > MAX_INPUT_BYTES:
        raise InputError(
            f'Input "{declared.name}" of {"x".join(map(str, shape))} would take {size} bytes; an '
            f"example may have {MAX_INPUT_BYTES}. The model declares {declared.describe()}."
        )


def draw(rng: np.random.Generator, shape: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Random values of any type: normal floats, integers of 0 and 1, booleans all true."""
    if dtype.kind == "b":
        return np.ones(shape, dtype)
    if dtype.kind in "iu":
        return np.asarray(rng.integers(0, 2, shape), dtype)
    if dtype.kind in "OUS":
        return np.full(shape, "a", dtype=object)
    return np.asarray(rng.standard_normal(shape), dtype)


def free_sizes(declared: Sequence[Declared]) -> list[list[FreeAxis]]:
    """Dynamic axes that share a size, the batch first.

    Axes are one where the file gives them one name; without names, where their position is the
    same (ids and their mask have one length).
    """
    groups: dict[str | int, list[FreeAxis]] = {}
    for d in declared:
        for axis, dim in enumerate(d.dims):
            if dim is None:
                groups.setdefault(d.symbols[axis] or axis, []).append((d.name, axis))
    return sorted(groups.values(), key=lambda axes: min(axis for _, axis in axes))


def growths(axes: Sequence[FreeAxis], feeds: Mapping[str, Array]) -> tuple[int, ...]:
    """By how much a size may grow in the second run: a batch by 1, others by 32 or twofold."""
    if any(axis == 0 for _, axis in axes):
        return (1, 1)
    name, axis = axes[0]
    size = feeds[name].shape[axis]
    return (OTHER_GROWTH, size if size < MAX_DOUBLED else OTHER_GROWTH)


def grown(
    feeds: Mapping[str, Array], growth: Sequence[tuple[Sequence[FreeAxis], int]]
) -> dict[str, Array]:
    """Inputs like the example, with some sizes larger."""
    shapes = {name: list(value.shape) for name, value in feeds.items()}
    for axes, more in growth:
        for name, axis in axes:
            shapes[name][axis] += more
    return redrawn(feeds, shapes)


def redrawn(
    feeds: Mapping[str, Array], shapes: Mapping[str, Sequence[int]], seed: int = 1
) -> dict[str, Array]:
    """Inputs of the same types, of other shapes."""
    rng = np.random.default_rng(seed)
    return {name: draw(rng, shapes[name], value.dtype) for name, value in feeds.items()}


def _guess(declared: Declared, size: int, graph: Graph) -> tuple[int, ...]:
    shape = [
        dim if dim is not None else BATCH if axis == 0 else size
        for axis, dim in enumerate(declared.dims)
    ]
    if len(shape) >= 3 and declared.dims[1] is None:
        shape[1] = _channels_of_first_conv(declared.name, graph) or shape[1]
    return tuple(shape)


def _channels_of_first_conv(name: str, graph: Graph) -> int | None:
    for use in graph.uses.get(name, ()):
        node = graph.nodes[use.node]
        if node.op == "Conv" and node.inputs[1] in graph.initializers:
            return int(graph.initializers[node.inputs[1]].dims[1]) * int(node.attr("group", 1))
    return None
