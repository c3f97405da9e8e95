"""What a smaller module is held to: runs of the pruned ONNX model that it has to repeat.

1. On its own weights, with the example.
2. On random weights (`spa.modules.drawing`), the same ones by name in the module and in the ONNX
   model: a head of zeros or a small LayerScale would hide what the rest computes. Where a draw says
   nothing (outputs that are infinite, or the same for every input), the next one is taken.
3. On those at other sizes of the inputs' dynamic axes, as far as the ONNX model runs there.

Numbers are compared along every axis of an output, against the scale of each of its slices: scores
of 0.01 beside boxes of 640 count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from spa.bridge.calls import numbered
from spa.bridge.gate import outputs_of
from spa.bridge.still import stilled
from spa.errors import BridgeError, ModelError
from spa.graph.execute import run_each
from spa.modules.drawing import draw, state

Array = npt.NDArray[Any]
Inputs = tuple[Tensor, ...]
Axis = tuple[int, int]  # input and axis

# Largest difference, relative to a slice's scale, and to the whole output's.
TOLERANCE, FLOOR = 1e-4, 1e-6
# The same for numbers in half precision, which are rounded by 5e-4 at every step.
HALF_TOLERANCE, HALF_FLOOR = 1e-2, 1e-3
# An output that differs by less between samples, relative to its scale, says nothing.
FLAT = 1e-3
GAINS = (1.0, 2**0.5, 0.5)
# Other sizes that are compared, of those that are tried.
MORE_SIZES = 2
# Samples that do for runs on random weights.
FEW = 2


@dataclass(frozen=True)
class Sample:
    """One run to repeat.

    Attributes:
        inputs: what the module is called with.
        wanted: its outputs; None for one of which nothing is known.
        training: whether it is run in training mode.
    """

    inputs: Inputs
    wanted: tuple[Array | None, ...]
    training: bool = False


@dataclass(frozen=True)
class Likeness:
    """All that a smaller module is held to.

    Attributes:
        own: the run on its own weights.
        drawn: runs on the values below.
        values: random weights by name; empty where no draw says anything.
    """

    own: Sample
    drawn: tuple[Sample, ...]
    values: Mapping[str, Tensor]


def likeness(
    net: nn.Module,
    pruned: onnx.ModelProto,
    inputs: Inputs,
    few: Inputs,
    takes: Callable[[Inputs], bool] = lambda _: True,
) -> Likeness:
    """Runs the pruned model on all that a module is to be compared on.

    Args:
        net: the module, whose parameters have been cut; their names and shapes are read.
        pruned: the pruned ONNX model.
        inputs: the example inputs.
        few: the same with few samples, for the runs on random weights, if it runs there.
        takes: whether the dense module runs on some inputs; it may refuse sizes that its export
            does not.
    """
    (own,) = runs(pruned, [inputs])
    if own is None:
        raise BridgeError("The pruned model does not run on the module's example inputs.")
    tensors = state(net)
    present = {plain_name(tensor.name) for tensor in pruned.graph.initializer}
    known = {id(tensors[name]) for name in present if name in tensors}
    for seed, gain in enumerate(GAINS):
        values = {n: v for n, v in draw(net, seed, gain).items() if id(tensors[n]) in known}
        other = with_values(pruned, values)
        found = _at_several_sizes(other, few, takes) or _at_several_sizes(other, inputs, takes)
        if found and all(_speaks(array) for array in found[0].wanted if array is not None):
            return Likeness(Sample(inputs, tuple(own)), tuple(found), values)
    return Likeness(Sample(inputs, tuple(own)), (), {})


def _at_several_sizes(
    proto: onnx.ModelProto, few: Inputs, takes: Callable[[Inputs], bool]
) -> list[Sample]:
    """Runs on some inputs, and at the first other sizes at which the model runs.

    Empty where it does not run on the inputs themselves.
    """
    sizes = list(filter(takes, [few, *_resized(proto, few)]))
    if not sizes or sizes[0] is not few:
        return []
    wanted = 1 + MORE_SIZES
    results = runs(proto, sizes[:wanted])
    if results[0] is None:
        return []
    if None in results:
        results += runs(proto, sizes[wanted:])
    found = [
        Sample(inputs, tuple(outputs))
        for inputs, outputs in zip(sizes, results, strict=False)
        if outputs is not None
    ]
    return found[:wanted]


def runs(proto: onnx.ModelProto, examples: Sequence[Inputs]) -> list[list[Array] | None]:
    """Runs an exported model on a module's inputs; None where it does not run."""
    if not examples:
        return []
    names = [value.name for value in proto.graph.input]  # one that no output needs may be gone
    feeds = [
        {
            name: x.detach().cpu().numpy()
            for name, x in zip(numbered("input", len(inputs)), inputs, strict=True)
            if name in names
        }
        for inputs in examples
    ]
    try:
        return list(run_each(stilled(proto), feeds))
    except ModelError:
        if len(feeds) == 1:
            return [None]
    return [outputs for inputs in examples for outputs in runs(proto, [inputs])]


def with_values(proto: onnx.ModelProto, values: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of a model with other values in the initializers of these names."""
    other = onnx.ModelProto()
    other.CopyFrom(proto)
    for tensor in other.graph.initializer:
        value = values.get(plain_name(tensor.name))
        if value is not None and tuple(value.shape) == tuple(tensor.dims):
            array = value.detach().cpu().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return other


def plain_name(name: str) -> str:
    """A parameter's name; surgery numbers the copies of one that several nodes read."""
    return re.sub(r"__\d+$", "", name)


def few_samples(proto: onnx.ModelProto, inputs: Inputs, count: int) -> Inputs:
    """The example with some number of samples, where its batch is free."""
    batch = next((axes for axes in _symbols(proto).values() if (0, 0) in axes), [])
    if not batch or inputs[0].shape[0] == count:
        return inputs
    return _at(inputs, dict.fromkeys(batch, count))


def _symbols(proto: onnx.ModelProto) -> dict[str, list[Axis]]:
    """Axes of the inputs by the dynamic size that they have."""
    found: dict[str, list[Axis]] = {}
    for value in proto.graph.input:
        i = int(value.name.rpartition("_")[2]) if "_" in value.name else 0  # input, or input_0 ...
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                found.setdefault(dim.dim_param or f"{i},{axis}", []).append((i, axis))
    return found


def _resized(proto: onnx.ModelProto, inputs: Inputs) -> list[Inputs]:
    """The example at other sizes: all dynamic ones grow, shrink or double, not all alike."""
    symbols = list(_symbols(proto).values())
    old = [inputs[axes[0][0]].shape[axes[0][1]] for axes in symbols]
    several = (
        [size + 1 + 2 * k for k, size in enumerate(old)],
        [1 if k == 0 else max(1, size - 1 - k) for k, size in enumerate(old)],
        [size * (2 + k) for k, size in enumerate(old)],
    )
    return [
        _at(
            inputs, {axis: size for axes, size in zip(symbols, sizes, strict=True) for axis in axes}
        )
        for sizes in several
        if sizes != old
    ]


def _at(inputs: Inputs, sizes: Mapping[Axis, int]) -> Inputs:
    """Repeats or drops entries of inputs, up to some sizes, and leaves them in their order."""
    tensors = list(inputs)
    for (i, axis), size in sizes.items():
        x = tensors[i]
        index = torch.arange(size, device=x.device) * x.shape[axis] // max(1, size)
        tensors[i] = x.index_select(axis, index)
    return tuple(tensors)


def _speaks(array: Array) -> bool:
    """Whether an output is finite and differs between its entries."""
    if array.dtype.kind != "f" or array.size < 2:
        return True
    if not np.isfinite(array).all():
        return False
    return float(array.max() - array.min()) > FLAT * float(np.abs(array).max())


def agrees(found: Sequence[Tensor], wanted: Sequence[Array | None]) -> bool:
    """Whether outputs are what is wanted, up to rounding."""
    return len(found) == len(wanted) and all(
        want is None or equals(have.detach().cpu().numpy(), want)
        for have, want in zip(found, wanted, strict=True)
    )


def equals(have: Array, want: Array) -> bool:
    """Whether an array is another one up to rounding; slice by slice along every axis."""
    if have.shape != want.shape:
        return False
    if want.dtype.kind not in "fc" or want.size == 0:
        return bool((have == want).all())
    odd = ~np.isfinite(want)
    if not np.array_equal(have[odd], want[odd], equal_nan=True):
        return False
    gap = np.abs(np.where(odd, 0, have).astype(np.float64) - np.where(odd, 0, want))
    size = np.abs(np.where(odd, 0, want))
    half = want.dtype == np.float16
    tolerance, floor = (HALF_TOLERANCE, HALF_FLOOR) if half else (TOLERANCE, FLOOR)
    limit = floor * float(size.max())
    for axis in range(want.ndim):
        others = tuple(k for k in range(want.ndim) if k != axis)
        scale = tolerance * size.max(axis=others) + limit
        if not (gap.max(axis=others) <= scale).all():  # NaN fails, too
            return False
    return True


def agrees_on_own(net: nn.Module, like: Likeness) -> bool:
    """Whether a module in eval mode repeats the run on its own weights."""
    with torch.no_grad():
        return agrees(outputs_of(net, like.own.inputs), like.own.wanted)
