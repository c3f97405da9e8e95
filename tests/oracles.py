"""Oracles that share nothing with the code they judge.

`assert_equals_zeroed` reads the plan's JSON and uses NumPy, onnx and ONNX Runtime alone.
`assert_change_stays_inside` ignores every rule: it perturbs what is removed and looks where the
change goes. `plant` hides a narrow network inside a wide one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from spa.graph.runnable import deadly_rewrites, refuse_empty

# Inputs that hold weights and biases, where they are constant.
CONTRACTIONS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": range(9),
    "Gather": (0,),
    "GatherND": (0,),
    "GRU": (1, 2, 3, 5),
    "Gemm": (0, 1, 2),
    "LSTM": (1, 2, 3, 5, 6),
    "MatMul": (0, 1),
    "RNN": (1, 2, 3, 5),
    "com.microsoft::Attention": (1, 2),
    "com.microsoft::FusedMatMul": (0, 1),
    "com.microsoft::MultiHeadAttention": (3,),
}
# What looks rows of a table up.
LOOKUPS = {"Gather", "GatherND"}
# Axis of the weight that a contraction consumes; MatMul's depends on the side.
TOLERANCE = 1e-5
# What the pinned ONNX Runtime loads.
NEWEST_IR, NEWEST_OPSET = 13, 26


def _kind(node: onnx.NodeProto) -> str:
    """Operator type, with its domain where that is not the standard one."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


# --- running ------------------------------------------------------------------------------------


def session(proto: onnx.ModelProto, *, optimize: bool = True) -> ort.InferenceSession:
    """A session of one thread."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(
        _runnable(proto).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=deadly_rewrites(proto),
    )


def run(proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], *, optimize: bool = True):
    """Outputs of a model by name."""
    runner = session(proto, optimize=optimize)
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(None, dict(feeds)), strict=True))


def _runnable(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy at versions that ONNX Runtime takes; no operator in the tests changed since.

    It crashes on trailing outputs that are left out by an empty name, so those are dropped, and on
    empty sequences, so an error is made of these.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    result.ir_version = min(proto.ir_version, NEWEST_IR)
    for entry in result.opset_import:
        if not entry.domain:
            entry.version = min(entry.version, NEWEST_OPSET)
    for node in result.graph.node:
        while node.output and not node.output[-1]:
            node.output.pop()
    refuse_empty(result.graph)
    return result


def random_feeds(
    proto: onnx.ModelProto, seed: int, *, batch: int, free: int = 16
) -> dict[str, np.ndarray]:
    """Normal inputs; dynamic first axes take ``batch``, other dynamic ones ``free``."""
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in proto.graph.initializer}
    feeds = {}
    for value in proto.graph.input:
        if value.name in weights:
            continue
        kind = value.type.tensor_type
        shape = [
            d.dim_value if d.dim_value > 0 else (batch if axis == 0 else free)
            for axis, d in enumerate(kind.shape.dim)
        ]
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        drawn = np.asarray(rng.standard_normal(shape))
        feeds[value.name] = np.asarray(drawn if np.dtype(dtype).kind == "f" else drawn > 0, dtype)
    return feeds


# --- (a) the zeroed dense model -----------------------------------------------------------------


def parameters(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Every tensor that the file holds: initializers, Constants, filled tensors."""
    found = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant":
            value = helper.get_attribute_value(node.attribute[0])
            if isinstance(value, onnx.TensorProto):
                found[node.output[0]] = numpy_helper.to_array(value)
            elif node.attribute[0].name in ("value_float", "value_floats"):
                found[node.output[0]] = np.asarray(value, dtype=np.float32)
        elif node.op_type == "ConstantOfShape" and node.input[0] in found:
            fill = numpy_helper.to_array(node.attribute[0].t) if node.attribute else np.zeros(1)
            found[node.output[0]] = np.full(found[node.input[0]].tolist(), fill.reshape(-1)[0])
    return found


def constant_tensors(proto: onnx.ModelProto) -> set[str]:
    """Tensors computed from parameters alone."""
    found = set(parameters(proto))
    for node in proto.graph.node:
        captures = any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute)
        if node.input and not captures and all(name in found for name in node.input if name):
            found.update(node.output)
    return found


def zeroed_dense(proto: onnx.ModelProto, plan: Mapping[str, Any]) -> onnx.ModelProto:
    """The input file with the plan's slices of contracting operators' weights and biases at zero.

    Every read of a contraction gets a copy of its own, so that a tensor that something else reads
    too (a batch norm's variance that happens to equal a bias) is left alone there.
    """
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    values = parameters(proto)
    producers = {name: i for i, node in enumerate(proto.graph.node) for name in node.output}
    constants = constant_tensors(proto)
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in plan["parameters"]:
        assert values[entry["name"]].shape[entry["axis"]] == entry["size"]
        entries.setdefault(entry["name"], []).append(entry)
    nodes: list[onnx.NodeProto] = []
    copied: set[str] = set()

    def strip(name: str) -> str:
        while name not in values and proto.graph.node[producers[name]].op_type == "Identity":
            name = proto.graph.node[producers[name]].input[0]
        return name

    def zeroed(index: int, position: int, name: str, zero: np.ndarray | None = None) -> str:
        """Name of a zeroed copy of what node ``index`` reads; the nodes on the way are copied."""
        root = strip(name)
        if root in values:
            value = values[root].copy()
            for entry in entries.get(root, ()):
                uses = {(use["node"], use["input"]) for use in entry.get("uses", ())}
                if not uses or (index, position) in uses:
                    place = (slice(None),) * entry["axis"] + (entry["removed"],)
                    value[place] = 0 if zero is None else np.broadcast_to(zero, value.shape)[place]
            copy = f"{root}@{index}.{position}"
            result.graph.initializer.append(numpy_helper.from_array(value, copy))
            return copy
        made_by = proto.graph.node[producers[root]]
        if f"{root}@{index}.{position}" in copied:
            return f"{root}@{index}.{position}"
        copied.add(f"{root}@{index}.{position}")
        copy = onnx.NodeProto()
        copy.CopyFrom(made_by)
        for k, source in enumerate(made_by.input):
            if made_by.op_type in ("QuantizeLinear", "DequantizeLinear"):  # scales stay
                if k == 0:
                    point = _zero_point(made_by, values, strip) if strip(source) in values else None
                    copy.input[0] = zeroed(producers[root], 0, source, point)
            elif source and np.asarray(values.get(strip(source), 0.0)).dtype.kind not in "iub":
                copy.input[k] = zeroed(producers[root], k, source)
        for k, output in enumerate(made_by.output):
            copy.output[k] = f"{output}@{index}.{position}"
        copy.name = f"{made_by.name}@{index}.{position}"
        nodes.append(copy)
        return f"{root}@{index}.{position}"

    made = {
        name
        for node in proto.graph.node
        if _kind(node) in CONTRACTIONS and node.op_type not in LOOKUPS
        for name in node.output
    }
    for index, node in enumerate(result.graph.node):
        # MatMul has no bias of its own: exporters write an Add behind it.
        is_bias = node.op_type == "Add" and made.intersection(node.input)
        if _kind(node) in CONTRACTIONS or is_bias:
            for position, name in enumerate(proto.graph.node[index].input):
                positions = range(2) if is_bias else CONTRACTIONS[_kind(node)]
                if name in constants and name and position in positions:
                    node.input[position] = zeroed(index, position, name)
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    names = [t.name for t in result.graph.initializer]
    seen: set[str] = set()
    for tensor in [t for t, n in zip(result.graph.initializer, names, strict=True) if "@" in n]:
        if tensor.name in seen:
            result.graph.initializer.remove(tensor)
        seen.add(tensor.name)
    del result.graph.node[:]
    result.graph.node.extend(copies)
    return result


def _zero_point(
    node: onnx.NodeProto, values: Mapping[str, np.ndarray], strip: Callable[[str], str]
) -> np.ndarray | None:
    """The integer that stands for zero, for every entry of what a DequantizeLinear reads."""
    if node.op_type == "QuantizeLinear" or len(node.input) < 3 or not node.input[2]:
        return None
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    point, shape = values[strip(node.input[2])], values[strip(node.input[0])].shape
    axis = attrs.get("axis", 1) % max(1, len(shape))
    if attrs.get("block_size", 0):
        return np.stack(
            [np.take(point, i // attrs["block_size"], axis) for i in range(shape[axis])], axis
        )
    if point.size == 1:
        return np.broadcast_to(point.reshape(()), shape)
    return point.reshape([-1 if k == axis else 1 for k in range(len(shape))])


def assert_equals_zeroed(
    dense: onnx.ModelProto,
    pruned: onnx.ModelProto,
    plan: Mapping[str, Any],
    *,
    batches: Sequence[int] = (1, 3),
    seeds: Sequence[int] = (0, 1),
    tolerance: float = TOLERANCE,
    free: int = 16,
    optimize: bool = True,
) -> float:
    """Fails unless the pruned model computes what the zeroed dense one computes."""
    reference = zeroed_dense(dense, plan)
    worst = 0.0
    for seed in seeds:
        for batch in batches:
            feeds = random_feeds(dense, seed, batch=batch, free=free)
            expected, got = (run(m, feeds, optimize=optimize) for m in (reference, pruned))
            assert list(expected) == list(got)
            for name, want in expected.items():
                have = got[name]
                assert have.shape == want.shape, f"{name}: {have.shape} instead of {want.shape}"
                assert have.dtype == want.dtype
                if not want.size:
                    continue
                assert np.isfinite(want).all(), f"{name}: the zeroed dense model is not finite"
                scale = max(float(np.abs(want).max()), 0.1)
                gap = float(np.abs(want.astype(np.float64) - have).max()) / scale
                assert gap <= tolerance, f"{name}: differs by {gap:.2e} of its scale"
                worst = max(worst, gap)
    return worst


# --- (b) perturbation ---------------------------------------------------------------------------


def _contracted_axis(node: onnx.NodeProto, position: int, rank: int) -> int | None:
    """The axis of a direct weight that a contraction sums over; None for a bias."""
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type in LOOKUPS:
        return None
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return 2 if position in (1, 2) else None
    if _kind(node) == "com.microsoft::Attention":
        return 0 if position == 1 else None
    if _kind(node) == "com.microsoft::FusedMatMul":
        flipped = attrs.get("transB" if position == 1 else "transA", 0)
        return rank - (1 if bool(flipped) == (position == 1) else 2)
    if position == 2 or _kind(node) == "com.microsoft::MultiHeadAttention":
        return None
    if node.op_type == "MatMul" and rank == 1:
        return 0
    if node.op_type in ("Conv", "DeformConv"):
        return 1 if position == 1 else None
    if node.op_type == "ConvTranspose":
        # With several groups, whole groups may go: their input rows of W go with their outputs.
        return 0 if position == 1 else None
    if node.op_type == "Gemm":
        if position == 1:
            return 1 if attrs.get("transB", 0) else 0
        return 0 if attrs.get("transA", 0) else 1
    return rank - 2 if position == 1 else rank - 1


def unshared(
    proto: onnx.ModelProto, plan: Mapping[str, Any]
) -> tuple[onnx.ModelProto, list[dict[str, Any]]]:
    """The same model and plan, with a tensor of its own for every read that loses others."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    values = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    by_use = {e["name"] for e in plan["parameters"] if e.get("uses")}
    entries = [dict(e) for e in plan["parameters"] if not e.get("uses")]
    for index, node in enumerate(proto.graph.node):
        for position, name in enumerate(node.input):
            if name not in by_use:
                continue
            copy = f"{name}@{index}.{position}"
            result.graph.node[index].input[position] = copy
            result.graph.initializer.append(numpy_helper.from_array(values[name], copy))
            for entry in plan["parameters"]:
                uses = [(use["node"], use["input"]) for use in entry.get("uses", ())]
                if entry["name"] == name and (index, position) in uses:
                    entries.append({**entry, "name": copy})
    return result, entries


# What has a weight of its own to change by.
WEIGHING = CONTRACTIONS.keys() - LOOKUPS
# A change may leave these as they are.
DECIDING = (
    "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil",
    "Equal", "Floor", "Greater", "GreaterOrEqual",
    "Hardmax", "IsInf", "IsNaN",
    "Less", "LessOrEqual", "Round", "Sign", "TopK", "Where",
)  # fmt: skip
LIVELY = {
    "Clip": "LeakyRelu", "Erf": "Softsign", "HardSigmoid": "Sigmoid", "Relu": "LeakyRelu",
    "Shrink": "LeakyRelu", "Tanh": "Softsign", "ThresholdedRelu": "LeakyRelu",
}  # fmt: skip


def perturbed(
    proto: onnx.ModelProto, plan: Mapping[str, Any], seed: int
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Two dense models: consumers zeroed; and the same with the removed producers disturbed.

    Only for models whose removed parameters are initializers read directly.
    """
    rng = np.random.default_rng(seed)
    proto, entries = unshared(proto, plan)
    for node in proto.graph.node:
        # Operators that go flat hide a change; others of the same structure do not.
        if node.op_type in LIVELY:
            node.op_type, arguments = LIVELY[node.op_type], list(node.input[:1])
            del node.attribute[:], node.input[:]
            node.input.extend(arguments)
    variances = {n.input[4] for n in proto.graph.node if n.op_type == "BatchNormalization"}
    values = {t.name: numpy_helper.to_array(t).copy() for t in proto.graph.initializer}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in proto.graph.node:
        for position, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, position))
    base = {name: value.copy() for name, value in values.items()}
    if seed:
        # What a dead channel hides under one draw of the weights shows under another.
        for value in base.values():
            if value.dtype.kind == "f" and value.ndim >= 2:
                value[...] = rng.standard_normal(value.shape) * (value.std() or 1.0)
    entries = [e for e in entries if e["name"] in values]
    consumed: list[tuple[str, int, list[int]]] = []
    for entry in entries:
        name, axis = entry["name"], entry["axis"]
        if values[name].dtype.kind != "f":
            continue
        for node, position in readers[name]:
            contracted = _contracted_axis(node, position, values[name].ndim)
            # A kernel's axis goes only where its window takes in the whole of x's.
            covers = node.op_type == "Conv" and position == 1 and axis > 1
            if _kind(node) in CONTRACTIONS and (axis == contracted or covers):
                consumed.append((name, axis, entry["removed"]))
    noisy = {name: value.copy() for name, value in base.items()}
    for entry in entries:
        name, axis, gone = entry["name"], entry["axis"], entry["removed"]
        if (name, axis, gone) in consumed or values[name].dtype.kind != "f":
            continue
        place = (slice(None),) * axis + (gone,)
        noise = 10 * rng.standard_normal(noisy[name][place].shape)
        if name in variances or seed % 3 == 1:
            noise = np.abs(noise)
        elif seed % 3 == 2:  # a ReLU that stays shut for one sign opens for the other
            noise = -np.abs(noise)
        noisy[name][place] += noise.astype(noisy[name].dtype)
    for table in (base, noisy):
        for name, axis, gone in consumed:
            table[name][(slice(None),) * axis + (gone,)] = 0
    return _with_values(proto, base), _with_values(proto, noisy)


def _with_values(proto: onnx.ModelProto, values: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for tensor in result.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return result


def opened(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Every intermediate tensor as an output."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.output[:]
    del result.graph.value_info[:]
    result.graph.output.extend(
        onnx.ValueInfoProto(name=name) for node in proto.graph.node for name in node.output if name
    )
    return result


def changes(
    proto: onnx.ModelProto, plan: Mapping[str, Any], *, trials: int = 6, batch: int = 2
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By tensor, which entries changed in any of several trials.

    Three masks: by more than rounding; at all; and which entries were not always zero.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for trial in range(trials):
        feeds = random_feeds(proto, trial, batch=batch)
        models = perturbed(proto, plan, trial)
        still, moved = (run(opened(model), feeds, optimize=False) for model in models)
        for name, before in still.items():
            after = moved[name]
            if before.dtype.kind not in "fiub":
                continue
            scale = float(np.abs(before).max()) if before.size else 1.0
            with np.errstate(invalid="ignore"):
                differs = ~(np.abs(before.astype(np.float64) - after) <= 1e-6 * max(scale, 1e-3))
            changed, touched, alive = found.get(name, (False, False, False))
            found[name] = (
                changed | differs, touched | (before != after), alive | (np.abs(before) > 1e-9)
            )  # fmt: skip
    return found


def assert_change_stays_inside(
    proto: onnx.ModelProto,
    plan: Mapping[str, Any],
    masks: Mapping[str, Sequence[np.ndarray | None]],
    reached: Mapping[str, Sequence[tuple[int, np.ndarray]]],
    *,
    skip: Iterable[str] = (),
) -> int:
    """Fails unless the change reaches exactly the slices that are predicted as removed.

    Args:
        proto: the dense model.
        plan: the plan's JSON.
        masks: by tensor, by axis, which indices stay (None: all); the prediction.
        reached: by tensor, axis and indices of every removed channel that must be seen to change.
        skip: tensors after the first operator that is not exact.

    Returns:
        Number of removed channels in which the change was seen.
    """
    skip = set(skip)
    # A comparison need not come out otherwise, so what it decides may hide a change.
    truths: set[str] = set()
    for node in proto.graph.node:
        if node.op_type in DECIDING or (
            _kind(node) not in WEIGHING and truths.intersection(node.input)
        ):
            truths.update(node.output)
    seen = 0
    for name, (changed, touched, alive) in changes(proto, plan).items():
        if name in skip:
            continue
        inside = np.zeros(changed.shape, dtype=bool)
        for axis, mask in enumerate(masks.get(name) or ()):
            if mask is not None:
                inside |= np.expand_dims(~mask, [k for k in range(changed.ndim) if k != axis])
        leaked = changed & ~inside
        assert not leaked.any(), (
            f"{name}: the change reaches {np.argwhere(leaked)[:3].tolist()}, which should stay"
        )
        for axis, indices in () if name in truths else reached.get(name, ()):
            if not alive.take(indices, axis=axis).any():
                continue  # it is made from zeros alone, which no weight of its own changes
            # What has saturated changes in its last bits alone.
            assert touched.take(indices, axis=axis).any(), (
                f"{name}: indices {indices.tolist()} of axis {axis} go, but nothing reaches them"
            )
            seen += 1
    return seen


# --- (c) planting -------------------------------------------------------------------------------

# What an axis of a parameter holds: an int (a fixed size), or runs of (symbol, inner, outer):
# the symbol's channels, each `inner` times in a row (a flatten), the whole `outer` times (groups).
AxisSpec = int | Sequence[tuple[str, int, int]]


def _places(spec: AxisSpec, wide: Mapping[str, int], chosen: Mapping[str, np.ndarray]):
    """Size of an axis in the wide network, and where the narrow one's indices lie in it."""
    if isinstance(spec, int):
        return spec, np.arange(spec)
    start, places = 0, []
    for symbol, inner, outer in spec:
        for _ in range(outer):
            here = chosen[symbol]
            places.append(start + (here[:, None] * inner + np.arange(inner)).reshape(-1))
            start += wide[symbol] * inner
    return start, np.concatenate(places)


def plant(
    narrow: onnx.ModelProto,
    specs: Mapping[str, Sequence[AxisSpec]],
    widths: Mapping[str, int],
    *,
    factor: int = 2,
    seed: int = 0,
    scale: float = 1e-3,
) -> onnx.ModelProto:
    """Widens a network with channels of tiny weights at random positions.

    Args:
        narrow: the network.
        specs: by initializer, what every axis of it holds.
        widths: narrow width of every symbol.
        factor: how many times wider.
        seed: of positions and tiny weights.
        scale: size of the tiny weights.

    Returns:
        The wide network; pruning ``1 - 1/factor`` of every group must give the narrow one back.
    """
    rng = np.random.default_rng(seed)
    wide = {symbol: factor * width for symbol, width in widths.items()}
    chosen = {s: np.sort(rng.permutation(wide[s])[:width]) for s, width in widths.items()}
    result = onnx.ModelProto()
    result.CopyFrom(narrow)
    for tensor in result.graph.initializer:
        if tensor.name not in specs:
            continue
        value = numpy_helper.to_array(tensor)
        axes = [_places(spec, wide, chosen) for spec in specs[tensor.name]]
        array = scale * (0.5 + rng.random([size for size, _ in axes]))
        array = array.astype(value.dtype)
        array[np.ix_(*(places for _, places in axes))] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    del result.graph.value_info[:]
    return result


def float_inputs(*shapes: tuple[str, Sequence[int | str]]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes]
