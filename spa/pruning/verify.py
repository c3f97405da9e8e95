"""The proof: a pruned model is checked before it is handed over.

1. ``onnx.checker`` with full shape inference, and the same interface as before.
2. It runs on ONNX Runtime on the example input, and at other sizes where some are dynamic.
3. Its outputs equal those of the dense model in which the removed slices are zero, to float
   tolerance (or to what the dense model itself rounds, where that is more). Zeroed are only the
   weights and biases of operators that contract (Conv, Gemm, ...); statistics, scales and divisors
   are left alone. Around operators that are random, or at which a removal is not exact, all else is
   compared (`spa.pruning.fixing`).
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
from spa.pruning.compare import NOISE_FACTOR, compare, is_flat, limits
from spa.pruning.fixing import Fixing, Runs, fixing, inexact_nodes, jumping_nodes, random_nodes
from spa.pruning.locate import describe, first_difference, first_failing
from spa.pruning.parameters import rewrite_parameters, set_parameter, zero_slices
from spa.pruning.plan import Plan, cut_of
from spa.pruning.surgery import cut_model


@dataclass(frozen=True)
class Proof:
    """What was checked.

    Attributes:
        checks: one sentence per check that passed.
        equal: True when outputs were compared with the zeroed dense model and found equal; False
            where a pruned group is not exact, so that only all else could be.
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
    return verify_cut(model, pruned, cut_of(plan, groups.coupling), groups)


def verify_cut(model: Model, pruned: onnx.ModelProto, cut: Cut, groups: Groups) -> Proof:
    """As `verify`, for labels that go."""
    checks = [_check_file(model, pruned), _check_interface(model.proto, pruned)]
    feeds = [dict(model.example)]
    if model.varied is not None:
        feeds.append(redrawn(model.example, model.varied.shapes))
    feeds = [f for i, f in enumerate(feeds) if i == 0 or _differs(f, feeds[0])]
    # What is exact follows from the model. A plan file that says otherwise switches nothing off.
    inexact, random = inexact_nodes(model, cut), random_nodes(model)
    first = fixing(model, [*random, *inexact])
    reference = zeroed(model, cut)
    comparison = _Comparison(model, cut, groups, reference, pruned, "the zeroed dense model")
    worst, jumps, flat = 0.0, False, True
    for feed in feeds:
        if first is None or first.nodes:
            comparison.run(feed)
        if first is not None:
            found = comparison.of(feed, first)
            worst, jumps = max(worst, found.difference), jumps or found.jumps
            flat = flat and found.flat
    shapes = " and ".join(_describe(feed) for feed in feeds)
    checks.append(f"runs on ONNX Runtime ({shapes})")
    if first is None:
        checks.append("unproven: outputs are not compared, as NumPy lacks the type of a tensor")
        return Proof(tuple(checks), False, float("nan"))
    if flat:
        _compare_weights(pruned, cut_model(model, cut))
        found = _compare_random(model, pruned, cut, groups, feeds[0], first)
        worst, jumps = max(worst, found.difference), jumps or found.jumps
        how = "with random weights too (its own output hardly varies)"
    else:
        how = f"(largest difference {worst:.1e} of the scale)"
    checks.append(f"equals the zeroed dense model {how}")
    for nodes, why in (
        (random, "they are random"),
        (inexact, "a removal is not exact there (see the plan)"),
        (jumping_nodes(model) if jumps else [], "rounding decides what they select"),
    ):
        if nodes:
            some = ", ".join(str(node) for node in nodes[:3]) + (", ..." if nodes[3:] else "")
            checks.append(
                f"in that comparison both models were given the same outputs of {some}, as {why}; "
                "what these read was compared"
            )
    return Proof(tuple(checks), not inexact, float("nan") if inexact else worst)


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


@dataclass(frozen=True)
class _Found:
    """What a comparison found: largest difference, were jumps fixed, was all flat."""

    difference: float
    jumps: bool
    flat: bool


@dataclass(frozen=True)
class _Comparison:
    """Compares a pruned model with a zeroed dense one."""

    model: Model
    cut: Cut
    groups: Groups
    dense: onnx.ModelProto
    pruned: onnx.ModelProto
    what: str

    def run(self, feed: Mapping[str, Array]) -> None:
        """Runs the pruned model as it is."""
        try:
            run(self.pruned, feed)
        except ModelError as error:
            node = first_failing(self.model, self.pruned, feed)
            where = describe(node, self.cut, self.groups)
            raise VerificationError(f"The pruned model does not run: {error}{where}") from error

    def of(self, feed: Mapping[str, Array], fixed: Fixing) -> _Found:
        """Compares on one example; where operators jump, again with their outputs fixed."""
        try:
            return self._once(feed, fixed, jumps=False)
        except ModelError:
            self.run(feed)
            raise
        except VerificationError as error:
            jumping = [n for n in jumping_nodes(self.model) if n not in fixed.nodes]
            more = fixing(self.model, [*fixed.nodes, *jumping]) if jumping else None
            try:
                if more is not None:
                    return self._once(feed, more, jumps=True)
            except VerificationError:
                pass
            tolerance, _ = limits(self.model)
            node = first_difference(self.model, self.cut, self.dense, self.pruned, feed, tolerance)
            where = describe(node, self.cut, self.groups)
            raise VerificationError(
                f"{error}{where} If nobody changed a file since SPA wrote it, please report the "
                "model."
            ) from error

    def _once(self, feed: Mapping[str, Array], fixed: Fixing, *, jumps: bool) -> _Found:
        runs = Runs(self.dense, self.cut, feed, fixed)
        want, have = runs.of_dense(self.dense), runs.of_pruned(self.pruned)
        flat = is_flat(want.values())
        tolerance, most = limits(self.model)
        try:
            return _Found(compare(want, have, self.what, tolerance), jumps, flat)
        except VerificationError:
            # By what the dense model itself rounds, if it must be.
            plain = runs.of_dense(self.dense, optimize=False)
            try:
                noise = compare(want, plain, self.what, most)
            except VerificationError:
                noise = most
            allowed = min(most, NOISE_FACTOR * noise)
            if allowed <= tolerance:
                raise
            return _Found(compare(want, have, self.what, allowed), jumps, flat)


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
    model: Model,
    pruned: onnx.ModelProto,
    cut: Cut,
    groups: Groups,
    feed: Mapping[str, Array],
    fixed: Fixing,
) -> _Found:
    labelled = frozenset(axis.tensor for axis in cut.coupling.axes if axis.is_parameter)
    other = randomised(model, labelled)
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
    what = "the zeroed random model"
    return _Comparison(model, cut, groups, zeroed(other, cut), filled, what).of(feed, fixed)


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


def _differs(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return any(a[name].shape != b[name].shape for name in a)


def _describe(feed: Mapping[str, Array]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, value.shape))}" for name, value in feed.items())
