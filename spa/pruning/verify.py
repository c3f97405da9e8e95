"""The proof: a pruned model is checked before it is handed over.

1. ``onnx.checker`` with full shape inference, and the same interface as before.
2. It runs on ONNX Runtime on the example input, and at other sizes where some are dynamic.
3. Where every pruned group is exact: its outputs equal those of the dense model in which the
   removed slices are zero, to float tolerance (or to what the dense model itself rounds, where that
   is more). Zeroed are only the weights and biases of operators that contract (Conv,
   ConvTranspose, Gemm, MatMul); statistics, scales and divisors are left alone.
4. A constant output proves nothing (a head that starts at zero, dead ReLUs). Then every weight of
   the file is compared with what the same cut gives, and the file's outputs are compared again with
   random weights in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups, find_groups
from spa.coupling.zeros import contracted_parameters
from spa.errors import ModelError, VerificationError
from spa.graph.check import check
from spa.graph.example import redrawn
from spa.graph.execute import Array, run
from spa.graph.model import Model
from spa.pruning.parameters import rewrite_parameters, set_parameter, zero_slices
from spa.pruning.plan import Plan, cut_of
from spa.pruning.surgery import cut_model

# Largest difference allowed, as a share of the dense output's largest value, and the part of it
# that rounding makes in any output (a sigmoid near 0 is no more precise than this).
TOLERANCE = 1e-4
ROUNDING = 1e-6
# Deep networks round by more. Then the largest difference allowed is this many times that of the
# zeroed dense model from itself without ONNX Runtime's rewrites, up to a last limit.
NOISE_FACTOR = 10.0
MAX_TOLERANCE = 1e-3
RANDOM_OPS = (
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
)  # fmt: skip


@dataclass(frozen=True)
class Proof:
    """What was checked.

    Attributes:
        checks: one sentence per check that passed.
        equal: True when outputs were compared with the zeroed dense model and found equal; False
            when that is not possible for this plan.
        difference: largest difference found, as a share of the output's scale.
    """

    checks: tuple[str, ...]
    equal: bool
    difference: float


def verify(
    model: Model, pruned: onnx.ModelProto, plan: Plan, groups: Groups | None = None
) -> Proof:
    """Proves that a pruned model is what its plan promises.

    Args:
        model: the dense model that the plan was made for (with ``plan.weights`` set: the
            dense-shaped model that holds the changed weights).
        pruned: the pruned model.
        plan: what was removed.
        groups: the dense model's groups, where they are at hand already.

    Raises:
        VerificationError: any check fails; the message says which.
        PlanError: the plan does not fit the model.
    """
    groups = groups or find_groups(model, plan.attention)
    cut = cut_of(plan, groups.coupling)
    # What is exact follows from the model. A plan file that says otherwise switches nothing off.
    goes = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    goes[groups.coupling.components.of[cut.removed]] = True
    exact = all(group.exact for group in groups.groups if goes[group.components].any())
    return verify_cut(model, pruned, cut, exact=exact)


def verify_cut(model: Model, pruned: onnx.ModelProto, cut: Cut, *, exact: bool) -> Proof:
    """As `verify`, for labels that go."""
    checks = [_check_file(model, pruned), _check_interface(model.proto, pruned)]
    feeds = [dict(model.example)]
    if model.varied is not None:
        feeds.append(redrawn(model.example, model.varied.shapes))
    feeds = [f for i, f in enumerate(feeds) if i == 0 or _differs(f, feeds[0])]
    results = []
    for feed in feeds:
        try:
            results.append(run(pruned, feed))
        except ModelError as error:
            raise VerificationError(f"The pruned model does not run: {error}") from error
    shapes = " and ".join(_describe(feed) for feed in feeds)
    checks.append(f"runs on ONNX Runtime ({shapes})")
    random = sorted({node.op for node in model.graph.nodes if node.op in RANDOM_OPS})
    if random:
        checks.append(f"unproven: outputs are not compared, as the model draws {random[0]}")
        return Proof(tuple(checks), False, float("nan"))
    if not exact:
        checks.append("outputs are not compared: a pruned group is not exact (see the plan)")
        return Proof(tuple(checks), False, float("nan"))
    reference = zeroed(model, cut)
    worst = 0.0
    flat = True
    for feed, result in zip(feeds, results, strict=True):
        dense = run(reference, feed)
        worst = max(worst, _compare_zeroed(model, reference, feed, dense, result))
        flat = flat and all(_is_flat(output) for output in dense)
    if flat:
        _compare_weights(pruned, cut_model(model, cut))
        worst = max(worst, _compare_random(model, pruned, cut, feeds[0]))
        checks.append(
            "equals the zeroed dense model with random weights too (its own output hardly varies)"
        )
    else:
        checks.append(
            f"equals the zeroed dense model (largest difference {worst:.1e} of the scale)"
        )
    return Proof(tuple(checks), True, worst)


def zeroed(model: Model, cut: Cut) -> onnx.ModelProto:
    """The dense model with the removed slices of contracting operators' weights set to zero."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    rewrite_parameters(model, proto, cut, zero_slices, only=contracted_parameters(model))
    return proto


def randomised(model: Model, names: frozenset[str], seed: int = 0) -> Model:
    """The same structure with random values of the named parameters.

    Variances, divisors and the like stay positive.
    """
    rng = np.random.default_rng(seed)
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    contracted = contracted_parameters(model)
    for name in sorted(names):
        old = model.array(name)
        if old.dtype.kind in "iub":
            continue
        value = rng.standard_normal(old.shape) / np.sqrt(max(1, int(np.prod(old.shape[1:]))))
        if name not in contracted and (old >= 0).all():
            # It may be a variance, a divisor or under a root.
            value = np.abs(value) + 0.5
        set_parameter(model, proto, name, value.astype(old.dtype))
    return model.with_weights(proto)


def _check_file(model: Model, pruned: onnx.ModelProto) -> str:
    problem = check(pruned, full=True)
    if problem is None:
        return "passes onnx.checker with full shape inference"
    if check(model.proto, full=True) is None:
        raise VerificationError(f"onnx.checker refuses the pruned model: {problem}")
    # The file that came in fails the full check too; hold the result to the plain one.
    problem = check(pruned)
    if problem is not None:
        raise VerificationError(f"onnx.checker refuses the pruned model: {problem}")
    return "passes onnx.checker (full shape inference fails on the input file already)"


def _check_interface(dense: onnx.ModelProto, pruned: onnx.ModelProto) -> str:
    for kind in ("input", "output"):
        before, after = (
            [v for v in getattr(proto.graph, kind) if v.name not in _initializer_names(proto)]
            for proto in (dense, pruned)
        )
        if before != after:
            raise VerificationError(f"The pruned model's {kind}s are not what they were.")
    return "keeps its inputs and outputs"


def _initializer_names(proto: onnx.ModelProto) -> set[str]:
    return {tensor.name for tensor in proto.graph.initializer}


def _compare_zeroed(
    model: Model,
    reference: onnx.ModelProto,
    feed: Mapping[str, Array],
    dense: list[Array],
    pruned: list[Array],
) -> float:
    """Compares with the zeroed dense model, and by what that one rounds if it must be."""
    what = "the zeroed dense model"
    try:
        return _compare(model, dense, pruned, what)
    except VerificationError:
        plain = run(reference, feed, optimize=False)
        try:
            noise = _compare(model, dense, plain, what, MAX_TOLERANCE)
        except VerificationError:
            noise = MAX_TOLERANCE
        tolerance = min(MAX_TOLERANCE, NOISE_FACTOR * noise)
        if tolerance <= TOLERANCE:
            raise
        return _compare(model, dense, pruned, what, tolerance)


def _compare(
    model: Model,
    dense: list[Array],
    pruned: list[Array],
    what: str,
    tolerance: float | None = None,
) -> float:
    tolerance = TOLERANCE if tolerance is None else tolerance
    worst = 0.0
    for name, a, b in zip(model.graph.outputs, dense, pruned, strict=True):
        if not isinstance(a, np.ndarray) or a.dtype.kind in "OUS":
            continue
        if a.shape != b.shape:
            raise VerificationError(
                f'Output "{name}" has shape {b.shape}, but {what} gives {a.shape}.'
            )
        if a.size == 0:
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        scale = float(np.nanmax(np.abs(np.where(np.isfinite(x), x, 0.0)))) or 1.0
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(invalid="ignore"):
            gap = float(np.max(np.where(same, 0.0, np.abs(x - y)))) / scale
        if not gap <= tolerance + ROUNDING / scale:
            raise VerificationError(
                f'Output "{name}" differs from {what} by {gap:.2e} of its scale; '
                f"{tolerance:.0e} is allowed. If nobody changed a file since SPA wrote it, please "
                "report the model."
            )
        worst = max(worst, gap)
    return worst


def _compare_weights(pruned: onnx.ModelProto, expected: onnx.ModelProto) -> None:
    """Compares weights of the same name."""
    values = dict(_weights(expected))
    for name, tensor in _weights(pruned):
        if name not in values:
            continue
        have, want = (onnx.numpy_helper.to_array(t) for t in (tensor, values[name]))
        if have.shape != want.shape or have.dtype != want.dtype or not (have == want).all():
            raise VerificationError(f'Weight "{name}" is not what the plan leaves of it.')
    fills = _fills(expected)
    for name, node in _fills(pruned).items():
        want = fills.get(name, node)
        if (list(node.input), list(node.attribute)) != (list(want.input), list(want.attribute)):
            raise VerificationError(f'Filled weight "{name}" is not what the plan leaves of it.')


def _compare_random(
    model: Model, pruned: onnx.ModelProto, cut: Cut, feed: Mapping[str, Array]
) -> float:
    labelled = frozenset(axis.tensor for axis in cut.coupling.axes if axis.is_parameter)
    other = randomised(model, labelled)
    dense = run(zeroed(other, cut), feed)
    values = dict(_weights(cut_model(other, cut)))
    filled = onnx.ModelProto()
    filled.CopyFrom(pruned)
    for name, tensor in _weights(filled):
        if name in values:
            stem = tensor.name
            tensor.CopyFrom(values[name])
            tensor.name = stem
    for name, node in _fills(filled).items():
        if name in values:
            node.CopyFrom(onnx.helper.make_node("Constant", [], [name], value=values[name]))
    return _compare(model, dense, run(filled, feed), "the zeroed random model")


def _weights(proto: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers, and the tensors of Constant nodes by the name of their output."""
    for tensor in proto.graph.initializer:
        yield tensor.name, tensor
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            yield node.output[0], node.attribute[0].t


def _fills(proto: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The nodes that make filled tensors, by the name of their output."""
    return {n.output[0]: n for n in proto.graph.node if n.op_type == "ConstantOfShape"}


def _is_flat(output: Array) -> bool:
    """Whether an output hardly depends on its example, by what the comparison tolerates."""
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub" or output.size == 0:
        return True
    values = output.astype(np.float64)
    spread = np.ptp(values, axis=0) if values.ndim and values.shape[0] > 1 else np.ptp(values)
    tolerated = TOLERANCE * float(np.max(np.abs(values))) + ROUNDING
    return bool(np.max(spread) <= 10 * tolerated)


def _differs(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return any(a[name].shape != b[name].shape for name in a)


def _describe(feed: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in feed.items())
