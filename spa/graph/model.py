"""The model as the rest of SPA sees it: a file, its graph, and what one run of it showed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from spa.graph import weightless
from spa.graph.deferred import Maker, array_of, dtype_of, is_deferred, maker
from spa.graph.example import Declared, free_sizes, size_name
from spa.graph.fixed_numbers import MOST_ENTRIES, fixed_numbers
from spa.graph.forks import Fork, close_forks, opened_like
from spa.graph.inner import WEIGHT_TYPES, inner_weights
from spa.graph.nodes import Graph, Node, Use
from spa.graph.observe import Run
from spa.graph.quantised import DEQUANTIZE, SCALING, Quantised, quantised_parameters
from spa.graph.read import model_sha256
from spa.graph.sizes.reasoning import Sizes
from spa.graph.spelled import spelled_parameters
from spa.showing import shown

Array = npt.NDArray[Any]
# What moves a constant about, or changes its type alone.
_MOVED = ("Cast", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
# Larger weights are read anew each time, so that there is not a second copy of them all.
MAX_CACHED_BYTES = 2**26
# Of weights that stay in their file, only those of so many entries are looked into.
MOST_DEFERRED = 2**20

# Inputs that hold no weights, though they are constants of floating type.
STATISTICS = {"BatchNormalization": (3, 4), **dict.fromkeys(SCALING, (1, 2))}
INDEX_TYPES = (onnx.TensorProto.INT32, onnx.TensorProto.INT64)


@dataclass(frozen=True)
class Model:
    """A model that has been read, checked and run once.

    Attributes:
        proto: the model as it came (functions inlined, Ifs opened); never changed.
        given_sha256: hash of the file; None where the model did not come from one as it is.
        graph: its main graph.
        example: the inputs of the run, by name.
        observed: shapes and values of that run.
        varied: the same at another batch size and at all other dynamic sizes that can change; None
            where none can.
        declared: the inputs as the file declares them.
        forks: Ifs that were opened in ``proto``, in order (`spa.graph.forks`).
        tied: tensors that are one parameter however many nodes read them, as where a torch module
            came in: what uses one PReLU twice can lose channels of it only once.
        asked: whether the user gave any of the example.
        given: the model as it came, where it was changed to be loaded; it lacks the large weights
            that ``proto`` has under the same names. None where nothing was changed, or where other
            weights were given to it since.
    """

    proto: onnx.ModelProto
    given_sha256: str | None
    graph: Graph
    example: Mapping[str, Array]
    observed: Run
    varied: Run | None
    declared: tuple[Declared, ...]
    forks: tuple[Fork, ...] = ()
    tied: frozenset[str] = frozenset()
    asked: bool = False
    given: onnx.ModelProto | None = field(default=None, repr=False, compare=False)
    _arrays: dict[str, Array] = field(default_factory=dict, repr=False, compare=False)
    _fixed: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def __repr__(self) -> str:
        shapes = [
            ", ".join(f"{name} {'x'.join(map(str, self.shapes[name]))}" for name in names)
            for names in (self.example, self.graph.outputs)
        ]
        return shown(
            f"Model({len(self.graph.nodes):,} nodes, opset {self.graph.opset}; "
            f"{shapes[0] or 'no input'} -> {shapes[1]})"
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the file, or of the file that the model would make."""
        return self.given_sha256 or model_sha256(self.closed)

    @cached_property
    def closed(self) -> onnx.ModelProto:
        """The model as a file has it: with its Ifs."""
        return close_forks(self.proto, self.forks)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Concrete shape of every tensor in the run, initializers included."""
        return self.observed.shapes

    @property
    def batch_size(self) -> int:
        """Size of the first axis of the first input (1 for a model without inputs)."""
        first = next(iter(self.example.values()), None)
        return int(first.shape[0]) if first is not None and first.ndim else 1

    @cached_property
    def parameters(self) -> Mapping[str, onnx.TensorProto | None]:
        """Tensors that the file holds: initializers, Constant outputs, filled ones (``None``).

        A floating ConstantOfShape with a shape that the file holds is a weight too: some files keep
        their weights that way, so that they stay small.
        """
        found: dict[str, onnx.TensorProto | None] = dict(self.graph.initializers)
        for node in self.graph.nodes:
            if node.op == "Constant":
                tensor = _constant_tensor(node)
                if tensor is not None:
                    found[node.outputs[0]] = tensor
            elif node.op == "ConstantOfShape" and node.inputs[0] in found:
                value = node.attr("value")
                if value is not None and onnx.numpy_helper.to_array(value).dtype.kind == "f":
                    found[node.outputs[0]] = None
        return found

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Tensors that are a parameter behind Identity nodes, with that parameter's name."""
        found: dict[str, str] = {}
        for node in self.graph.nodes:
            if node.op == "Identity":
                root = found.get(node.inputs[0], node.inputs[0])
                if root in self.parameters:
                    found[node.outputs[0]] = root
        return found

    def root(self, name: str) -> str:
        """The parameter behind a tensor, or the tensor itself."""
        return self.aliases.get(name, name)

    def stored(self, name: str) -> str:
        """The parameter behind a tensor whose numbers it is, in whatever type; else the tensor."""
        found = self.root(name)
        while found not in self.parameters:
            if found in self.dequantised:
                return self.dequantised[found]
            node = self.graph.producers.get(found)
            if node is None or node.op not in ("Cast", "CastLike", *DEQUANTIZE):
                return name
            found = self.root(node.inputs[0])
        return found

    @cached_property
    def private_reads(self) -> Mapping[str, tuple[Use, ...]]:
        """Parameters that are shared only because their values happen to be equal, with the reads.

        Exporters merge equal tensors: every fresh batch norm's scale is one tensor of ones. Vectors
        and constant-valued tensors are therefore taken as one tensor per read; other shared weights
        are tied on purpose, and so are those that every read takes a part of.
        """
        exposed = {self.root(name) for name in (*self.graph.captured, *self.graph.outputs)}
        return {
            root: tuple(uses)
            for root, uses in self._reads.items()
            if len(uses) > 1
            and root not in exposed
            and root not in self.tied
            and not all(self._takes_part(use) for use in uses)
            and self._may_be_coincidence(root)
        }

    def _takes_part(self, use: Use) -> bool:
        node = self.graph.nodes[use.node]
        return use.position == 0 and node.op in ("Gather", "Slice", "Split")

    @cached_property
    def _reads(self) -> Mapping[str, Sequence[Use]]:
        """Reads of every parameter, Identity nodes looked through."""
        nodes, aliases, parameters = self.graph.nodes, self.aliases, self.parameters
        if not aliases:  # no Identity reads a parameter
            return {name: uses for name, uses in self.graph.uses.items() if name in parameters}
        reads: dict[str, list[Use]] = {}
        for name, uses in self.graph.uses.items():
            root = aliases.get(name, name)
            if root in parameters:
                known = reads.setdefault(root, [])
                known += [use for use in uses if nodes[use.node].op != "Identity"]
        for known in reads.values():
            known.sort()
        return reads

    def _may_be_coincidence(self, name: str) -> bool:
        long_axes = sum(size > 1 for size in self.shapes[name])
        if long_axes < 2:
            return long_axes == 1
        if self.parameters[name] is None:
            return True
        flat = self.array(name).reshape(-1)
        return bool(flat.size == 0 or (flat[0] == flat[-1] and (flat == flat[0]).all()))

    @cached_property
    def quantised(self) -> Mapping[str, Quantised]:
        """Integer parameters that are read as real numbers."""
        return {**spelled_parameters(self), **quantised_parameters(self)}

    @cached_property
    def dequantised(self) -> Mapping[str, str]:
        """What plain arithmetic dequantised, and of which parameter (`spa.graph.spelled`)."""
        return {name: root for root, how in self.quantised.items() for name in how.outputs}

    @cached_property
    def scaling(self) -> frozenset[str]:
        """Parameters that hold scales or zero points of integer ones."""
        return frozenset(name for how in self.quantised.values() for name in how.scaling)

    @cached_property
    def counted_parameters(self) -> tuple[str, ...]:
        """Names of the tensors that count as parameters (see `spa.graph.cost`)."""
        return tuple(
            name
            for name, tensor in self.parameters.items()
            if self.counted_reads(name) > 0
            and np.prod(self.shapes.get(name, (0,)), dtype=np.int64) > 1
            and (tensor is None or tensor.data_type in WEIGHT_TYPES or name in self.quantised)
        )

    @cached_property
    def inner_params(self) -> int:
        """Elements of the weights inside of subgraphs."""
        return sum(math.prod(weight.tensor.dims) for weight in inner_weights(self))

    @cached_property
    def initializer_positions(self) -> Mapping[str, int]:
        """Place of every initializer in the proto's list."""
        return {tensor.name: i for i, tensor in enumerate(self.proto.graph.initializer)}

    def with_weights(self, proto: onnx.ModelProto) -> Model:
        """The same structure with other weights; what the run showed of shapes still holds.

        Args:
            proto: the model with other weights, its Ifs opened or not.
        """
        proto = opened_like(proto, self.forks)
        return dataclasses.replace(
            self,
            proto=proto,
            given_sha256=None,
            graph=Graph.from_proto(proto),
            given=None,
            _arrays={},
        )

    @cached_property
    def statistic_reads(self) -> frozenset[Use]:
        """Reads of batch norm's running mean and variance, and of quantisation's scales."""
        return frozenset(
            Use(node.index, i) for node in self.graph.nodes for i in STATISTICS.get(node.op, ())
        )

    def counted_reads(self, name: str) -> int:
        """How often a parameter counts: per read where it is shared by coincidence, else once.

        Running statistics, and quantisation's scales and zero points, do not count.
        """
        if name in self.private_reads:
            return len(set(self.private_reads[name]) - self.statistic_reads)
        uses = self._reads.get(name)
        return 0 if uses and self.statistic_reads.issuperset(uses) else 1

    def array(self, name: str) -> Array:
        """Value of a parameter, in its own shape and type; read-only where the model keeps it."""
        if name not in self._arrays:
            tensor = self.parameters[name]
            array = self._filling(name)() if tensor is None else array_of(tensor)
            if array.nbytes > MAX_CACHED_BYTES or (tensor is not None and is_deferred(tensor)):
                return array
            array.setflags(write=False)
            self._arrays[name] = array
        return self._arrays[name]

    def maker(self, name: str) -> Maker | None:
        """What gives the value of a parameter that is not held; None where it is.

        A large filled tensor is not. Makers do not hold on to the model.
        """
        tensor = self.parameters[name]
        if tensor is not None:
            return maker(tensor) if is_deferred(tensor) else None
        large = math.prod(self.shapes[name]) >= weightless.LARGE
        return self._filling(name) if large and self.data_type(name) in weightless.TYPES else None

    def _filling(self, name: str) -> Maker:
        """Makes a filled tensor."""
        fill = onnx.numpy_helper.to_array(self.graph.producers[name].attr("value")).reshape(-1)
        return partial(np.full, self.shapes[name], fill[0], fill.dtype)

    def dtype(self, name: str) -> np.dtype[Any]:
        """Type of a parameter's elements."""
        tensor = self.parameters[name]
        if tensor is not None:
            return dtype_of(tensor)
        return onnx.numpy_helper.to_array(self.graph.producers[name].attr("value")).dtype

    def data_type(self, name: str) -> int:
        """ONNX's number of that type."""
        tensor = self.parameters[name]
        if tensor is not None:
            return tensor.data_type
        return int(onnx.helper.np_dtype_to_tensor_dtype(self.dtype(name)))

    def numbers(self, name: str) -> Array:
        """Value of a parameter as real numbers, in single precision at least.

        Integers that are dequantised count as what they stand for.
        """
        array = self.array(name)
        if name in self.quantised:
            how = self.quantised[name]
            steps = array.astype(np.float32) - how.zero_point.astype(np.float32)
            return steps * how.scale.astype(np.float32)
        return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)

    def fixed_numbers(self, name: str) -> str:
        """What a constant holds that no training made (`spa.graph.fixed_numbers`); "" if not told.

        Constants that are computed are looked into as far as they are a parameter moved about.
        """
        while name not in self.parameters:
            node = self.graph.producers.get(name)
            if node is None or node.op not in _MOVED:
                return ""
            name = node.inputs[0]
        if name not in self._fixed:
            tensor = self.parameters[name]
            most = MOST_ENTRIES if tensor is None or not is_deferred(tensor) else MOST_DEFERRED
            large = math.prod(self.shapes[name]) > most
            unread = large or tensor is None or name in self.quantised
            self._fixed[name] = "" if unread else fixed_numbers(self.array(name))
        return self._fixed[name]

    def static_value(self, name: str) -> Array | None:
        """Value of a small tensor that is the same for all inputs, of any size; None if not told.

        Lists of indices in the file may have any length.
        """
        if not name:
            return None
        held = self._held(name)
        if held is not None:
            return held
        if self.sizes.changes(name):
            return None
        value = self.observed.values.get(name)
        other = value if self.varied is None else self.varied.values.get(name)
        # The other run is a check: it can only take back what reasoning found.
        same = value is not None and other is not None and np.array_equal(value, other)
        return value if same else None

    def _held(self, name: str) -> Array | None:
        """A small initializer, or a list of indices, however long."""
        tensor = self.graph.initializers.get(name)
        if tensor is None:
            return None
        return array_of(tensor) if _is_small(tensor) or tensor.data_type in INDEX_TYPES else None

    def expanded_value(self, name: str) -> Array | None:
        """Static value of what a tensor is expanded from, at the tensor's rank; None without."""
        node = self.graph.producers.get(name)
        if node is None or node.op != "Expand":
            return None
        value = self.static_value(node.inputs[0])
        if value is None:
            value = self.expanded_value(node.inputs[0])
        rank = len(self.shapes[name])
        return None if value is None else value.reshape((1,) * (rank - value.ndim) + value.shape)

    @cached_property
    def sizes(self) -> Sizes:
        """What is known of all sizes, for any inputs (`spa.graph.sizes`)."""
        return Sizes(self.proto, self.graph, self.declared, self.observed, self._held)

    @property
    def untried(self) -> tuple[str, ...]:
        """Free sizes for which the model was run at the example's value alone."""
        names = []
        for axes in free_sizes(self.declared):
            name, axis = axes[0]
            varied = None if self.varied is None else self.varied.shapes[name][axis]
            if varied in (None, self.example[name].shape[axis]):
                names.append(size_name(self.declared, axes))
        return tuple(names)

    @cached_property
    def constants(self) -> frozenset[str]:
        """Tensors computed from parameters alone."""
        found = set(self.parameters)
        for node in self.graph.nodes:
            if found.isdisjoint(node.inputs) or node.captured:
                continue
            if found.issuperset(filter(None, node.inputs)):
                found.update(node.outputs)
        return frozenset(found)

    def varies(self, name: str, axis: int) -> bool:
        """Says whether a tensor's size along an axis may differ from one input to another."""
        if self.sizes.varies(name, axis):
            return True
        if self.varied is None or name not in self.varied.shapes:
            return False
        return self.varied.shapes[name][axis] != self.observed.shapes[name][axis]

    def whole_entries(self, name: str) -> list[int | None] | None:
        """Whole numbers in a small tensor, None for those that an open size or an input decides."""
        entries = self.sizes.entries(name)
        if entries is None:
            return None
        return [entry if isinstance(entry, int) else None for entry in entries]

    def same_size(self, a: str, i: int, b: str, j: int) -> bool:
        """Says whether two tensors' axes have one size, for any inputs."""
        return self.sizes.same(self.sizes.of(a, i), self.sizes.of(b, j))


def _constant_tensor(node: Node) -> onnx.TensorProto | None:
    """The value of a Constant node as a tensor; None for strings and sparse tensors."""
    name, value = next(iter(node.attrs.items()))
    if isinstance(value, onnx.TensorProto):
        return value
    if name in ("value_float", "value_floats"):
        return _little_endian(value, "<f4", onnx.TensorProto.FLOAT)
    if name in ("value_int", "value_ints"):
        return _little_endian(value, "<i8", onnx.TensorProto.INT64)
    return None


def _little_endian(value: npt.ArrayLike, dtype: str, data_type: int) -> onnx.TensorProto:
    array = np.asarray(value, dtype=dtype)
    return onnx.TensorProto(data_type=data_type, dims=array.shape, raw_data=array.tobytes())


def _is_small(tensor: onnx.TensorProto) -> bool:
    return int(math.prod(tensor.dims)) <= 4096
