"""Example inputs: what the model declares, what the user gives, and a guess for the rest.

A dynamic first axis is taken as the batch (2, so that a batch axis is never mistaken for an axis of
size 1). Other dynamic axes are tried at the sizes that published models use, until the model runs.
Sizes that the file does not call the same differ from each other, in the example and in the second
run, as far as the model runs so: two that agree by chance hide what depends on which.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
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

# Sizes of the batch, in the order in which they are tried; some models take it in pairs, or fours.
BATCHES = (2, 4, 8, 16, 3, 1)
# Sizes of dynamic axes that are not the batch, in the order in which they are tried.
IMAGE_SIZES = (224, 64, 32, 48, 128, 320, 299, 512)
OTHER_SIZES = (16, 32, 64, 128, 256, 1, 1024, 4096, 16384)
# With a batch that is not the first, the first so many are tried.
MOST_SIZES_BY_BATCH = 3
# By how much one side of an image is larger than the one before.
IMAGE_STEP = 32
# By how much a size that is not the batch's grows in the second run; some networks halve their
# input so often that only a multiple fits, and doubling is affordable below the second number.
OTHER_GROWTH = 32
MAX_DOUBLED = 513
# What a batch is multiplied by where one more does not run.
MULTIPLES = (2, 3, 4)
# What exporters write where a size has no name.
NO_NAMES = frozenset({"none", "null", "unk", "unknown", "dynamic"})
_KINDS = {onnx.TensorProto.STRING: "text", onnx.TensorProto.BFLOAT16: "brain floats"}
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

    def name_of(self, axis: int) -> str:
        """The name of a dynamic size: the file's, which other axes may share, or one of its own."""
        return self.symbols[axis] or f"{self.name}[{axis}]"

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a shape has the declared rank and fixed sizes."""
        return len(shape) == len(self.dims) and all(
            d is None or d == s for d, s in zip(self.dims, shape, strict=True)
        )


def declared_inputs(proto: onnx.ModelProto, graph: Graph) -> list[Declared]:
    """Reads the declared inputs; a declared size of 0 or -1 counts as dynamic.

    Raises:
        InputError: an input is not a plain tensor, or holds text.
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
        if np.dtype(dtype).kind not in "biufc":
            raise InputError(
                f'Input "{value.name}" takes {_KINDS.get(kind.tensor_type.elem_type, dtype)}, '
                "which SPA cannot make examples of; cut the model behind what turns that into "
                "numbers (onnx.utils.extract_model does), and prune that part."
            )
        dims = tuple(
            d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
            for d in kind.tensor_type.shape.dim
        )
        symbols = tuple(_symbol(d.dim_param) for d in kind.tensor_type.shape.dim)
        found.append(Declared(value.name, np.dtype(dtype), dims, symbols))
    return found


def _symbol(name: str) -> str:
    """The name of a size; "" for what stands for no name, as the "?" that some exporters write."""
    named = any(character.isalpha() for character in name) and name.lower() not in NO_NAMES
    return name if named else ""


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
        shape = shape_of(name, spec)
        if is_array(spec) and np.asarray(spec).dtype.kind not in "biufc":
            raise InputError(f'Input "{name}" takes numbers ({want.dtype}); text was given.')
        if not want.takes(shape) or any(s < 1 for s in shape):
            raise InputError(
                f'Input "{name}" takes {want.describe()} (? is free, sizes are 1 or more), but '
                f"{'x'.join(map(str, shape)) or 'a scalar'} was given."
            )


def is_array(spec: Any) -> bool:
    """Whether values were given, and not a shape: a NumPy array or number, or a torch tensor."""
    return isinstance(spec, (np.ndarray, np.generic)) or hasattr(spec, "__array__")


def shape_of(name: str, spec: Any) -> tuple[int, ...]:
    """The shape of what was given for an input: values, or a shape.

    Raises:
        InputError: it is neither.
    """
    if is_array(spec):
        return tuple(np.asarray(spec).shape)
    try:
        return tuple(operator.index(size) for size in spec)
    except TypeError as error:
        raise InputError(
            f'For input "{name}" a {type(spec).__name__} was given; give an array, or a shape such '
            "as (2, 3, 224, 224). An input without axes takes np.float32(1) or ()."
        ) from error


def candidates(
    declared: Sequence[Declared], given: Mapping[str, InputSpec], graph: Graph, seed: int = 0
) -> Iterator[dict[str, Array]]:
    """Yields example inputs, the likeliest first.

    Raises:
        InputError: an input is too large.
    """
    for sizes in _guesses(declared, given, graph):
        rng = np.random.default_rng(seed)
        feeds = {}
        for d in declared:
            spec = given.get(d.name)
            if is_array(spec):
                feeds[d.name] = np.asarray(spec).astype(d.dtype, copy=False)
                continue
            shape = tuple(spec) if spec is not None else _shape(d, sizes)
            _check_bytes(d, shape)
            feeds[d.name] = draw(rng, shape, d.dtype)
        yield feeds


def _shape(declared: Declared, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        sizes[declared.name_of(axis)] if dim is None else dim
        for axis, dim in enumerate(declared.dims)
    )


def _guesses(
    declared: Sequence[Declared], given: Mapping[str, InputSpec], graph: Graph
) -> Iterator[dict[str, int]]:
    """Yields sizes by name: all different first, then alike where the axis's number is the same."""
    fixed = _given_sizes(declared, given)
    for d in declared:
        channels = _channels_of_first_conv(d.name, graph)
        if len(d.dims) >= 3 and d.dims[1] is None and channels is not None:
            fixed.setdefault(d.name_of(1), channels)
    groups = [axes for axes in free_sizes(declared) if size_name(declared, axes) not in fixed]
    batches = [axes for axes in groups if is_batch(axes)]
    others = [axes for axes in groups if not is_batch(axes)]
    images = any(len(d.dims) >= 4 for d in declared)
    usual: Sequence[int] = (IMAGE_SIZES if images else OTHER_SIZES) if others else (1,)
    tried: list[dict[str, int]] = []
    for batch in BATCHES if batches else BATCHES[:1]:
        for size in usual if batch == BATCHES[0] else usual[:MOST_SIZES_BY_BATCH]:
            step = IMAGE_STEP if images else size
            for place in (_numbers, _axis_numbers, _zeros):
                sizes = dict(fixed)
                for axes, number in zip(batches, place(batches), strict=True):
                    sizes[size_name(declared, axes)] = batch * (number + 1)
                for axes, number in zip(others, place(others), strict=True):
                    sizes[size_name(declared, axes)] = size + step * number
                if sizes not in tried:
                    tried.append(sizes)
                    yield sizes


# How far apart sizes are: each group of axes has one of these numbers.
def _numbers(groups: Sequence[Sequence[FreeAxis]]) -> list[int]:
    """A number for each."""
    return list(range(len(groups)))


def _axis_numbers(groups: Sequence[Sequence[FreeAxis]]) -> list[int]:
    """One number for those that stand at the same place of their inputs: ids and their mask."""
    places = sorted({min(axis for _, axis in axes) for axes in groups})
    return [places.index(min(axis for _, axis in axes)) for axes in groups]


def _zeros(groups: Sequence[Sequence[FreeAxis]]) -> list[int]:
    """One number for all: square images."""
    return [0] * len(groups)


def size_name(declared: Sequence[Declared], axes: Sequence[FreeAxis]) -> str:
    """The name of a size that some axes share."""
    name, axis = axes[0]
    return next(d for d in declared if d.name == name).name_of(axis)


def _given_sizes(declared: Sequence[Declared], given: Mapping[str, InputSpec]) -> dict[str, int]:
    """Sizes by name, as the inputs that the user gave have them."""
    found: dict[str, int] = {}
    for d in declared:
        if d.name in given:
            shape = shape_of(d.name, given[d.name])
            for axis, dim in enumerate(d.dims):
                if dim is None:
                    found.setdefault(d.name_of(axis), int(shape[axis]))
    return found


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
    return np.asarray(rng.standard_normal(shape), dtype)


def free_sizes(declared: Sequence[Declared]) -> list[list[FreeAxis]]:
    """Dynamic axes that share a size because the file gives them one name, the batch first."""
    groups: dict[str, list[FreeAxis]] = {}
    for d in declared:
        for axis, dim in enumerate(d.dims):
            if dim is None:
                groups.setdefault(d.name_of(axis), []).append((d.name, axis))
    return sorted(groups.values(), key=lambda axes: min(axis for _, axis in axes))


def is_batch(axes: Sequence[FreeAxis]) -> bool:
    """Whether a size is taken for the batch: it stands first in some input."""
    return any(axis == 0 for _, axis in axes)


def growths(
    groups: Sequence[Sequence[FreeAxis]], feeds: Mapping[str, Array]
) -> Iterator[list[int]]:
    """Yields by how much each size may grow in the second run: by different amounts, if it can be.

    A batch grows by 1, or to a multiple; others by a multiple of 32, or to a multiple.
    """
    sizes = [feeds[name].shape[axis] for (name, axis), *_ in groups]
    tried: list[list[int]] = []
    for place in (_numbers, _axis_numbers, _zeros):
        batches = iter(place([axes for axes in groups if is_batch(axes)]))
        others = iter(place([axes for axes in groups if not is_batch(axes)]))
        numbers = [next(batches if is_batch(axes) else others) for axes in groups]
        for batch in (1, *MULTIPLES):
            for other in (1, *MULTIPLES[:1]):
                growth = [
                    _growth(size, number, batch if is_batch(axes) else other, is_batch(axes))
                    for size, number, axes in zip(sizes, numbers, groups, strict=True)
                ]
                if place is _numbers:
                    growth = _apart(sizes, growth)
                if growth not in tried:
                    tried.append(growth)
                    yield growth


def _growth(size: int, number: int, multiple: int, batch: bool) -> int:
    """By how much one size grows; 1 as a multiple means by an amount of its own."""
    if multiple > 1 and (batch or size < MAX_DOUBLED):
        return size * (multiple - 1)
    return (1 if batch else OTHER_GROWTH) * (number + 1)


def _apart(sizes: Sequence[int], growth: Sequence[int]) -> list[int]:
    """Grows some sizes once more, so that no two are equal in the end."""
    result: list[int] = []
    there: set[int] = set()
    for size, more in zip(sizes, growth, strict=True):
        total = more
        while size + total in there:
            total += more
        there.add(size + total)
        result.append(total)
    return result


def grown(
    feeds: Mapping[str, Array],
    growth: Sequence[tuple[Sequence[FreeAxis], int]],
    given: Collection[str] = (),
) -> dict[str, Array]:
    """Inputs like the example, with some sizes larger.

    Args:
        feeds: the example.
        growth: axes, and by how much they grow.
        given: inputs whose values are the user's, which stay such as these.
    """
    shapes = {name: list(value.shape) for name, value in feeds.items()}
    for axes, more in growth:
        for name, axis in axes:
            shapes[name][axis] += more
    drawn = redrawn(feeds, shapes)
    return {n: repeated(feeds[n], shapes[n]) if n in given else drawn[n] for n in feeds}


def repeated(value: Array, shape: Sequence[int]) -> Array:
    """An array's entries over again, or fewer of them."""
    for axis, size in enumerate(shape):
        value = np.take(value, np.arange(size) % max(1, value.shape[axis]), axis=axis)
    return value


def redrawn(
    feeds: Mapping[str, Array], shapes: Mapping[str, Sequence[int]], seed: int = 1
) -> dict[str, Array]:
    """Inputs of the same types, of other shapes."""
    rng = np.random.default_rng(seed)
    return {name: draw(rng, shapes[name], value.dtype) for name, value in feeds.items()}


def _channels_of_first_conv(name: str, graph: Graph) -> int | None:
    for use in graph.uses.get(name, ()):
        node = graph.nodes[use.node]
        if node.op == "Conv" and node.inputs[1] in graph.initializers:
            return int(graph.initializers[node.inputs[1]].dims[1]) * int(node.attr("group", 1))
    return None
