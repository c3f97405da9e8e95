"""What the rule tests share: a short description of groups, and the proofs of a pruned case."""

from __future__ import annotations

import json

import numpy as np
import onnx

import spa
from spa.coupling.couple import Cut
from spa.pruning.plan import cut_of
from tests.oracles import (
    TOLERANCE,
    assert_change_stays_inside,
    assert_equals_zeroed,
    random_feeds,
    run,
)

# Their outputs cannot be compared.
RANDOM = frozenset({
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",
})  # fmt: skip


def described(proto: onnx.ModelProto | spa.Model, attention: str = "heads") -> list[str]:
    """One line per group: ``8: W.0 b.0 V.1*4``, with ``~`` in front where it is not exact.

    A member is a parameter and its axis, with the number of indices that one channel holds; a read
    with labels of its own says which node it is of (``b@3.0``).
    """
    model = proto if isinstance(proto, spa.Model) else spa.load(proto)
    lines = []
    for group in spa.find_groups(model, attention):
        members = []
        for member in group.members:
            times = member.indices.shape[1]
            where = f"@{member.axis.uses[0].node}" if member.axis.uses else ""
            members.append(
                f"{member.name}{where}.{member.axis.axis}" + (f"*{times}" if times > 1 else "")
            )
        flag = "" if group.exact else "~"
        lines.append(f"{flag}{group.channels}: {' '.join(sorted(members))}")
    return sorted(lines)


def kept(proto: onnx.ModelProto, attention: str = "heads") -> dict[str, str]:
    """Kept parameter axes with the reason: ``{"W.0": "3 of 8: it is an output of the model"}``."""
    groups = spa.find_groups(spa.load(proto), attention)
    return {
        f"{axis.tensor}.{axis.axis}": f"{axis.kept} of {axis.size}: {axis.reason}"
        for axis in groups.kept
    }


def silent(groups: spa.Groups) -> list[tuple[str, int]]:
    """Axes of weights that are in no group and not listed as kept; kernel axes left out."""
    model = groups.coupling.model
    known = {(member.name, member.axis.axis) for group in groups for member in group.members}
    known |= {(axis.tensor, axis.axis) for axis in groups.kept}
    return [
        (name, k)
        for name in model.counted_parameters
        for k, size in enumerate(model.shapes[name])
        if size > 1 and (name, k) not in known and not _is_none(model, name, k)
    ]


def _is_none(model: spa.Model, name: str, axis: int) -> bool:
    """Whether an axis has no channels: a kernel's, however its weight is made, or of scales."""
    nodes = model.graph.nodes
    reads = model.graph.uses.get(name, ())
    if all(nodes[use.node].op in ("Resize", "Upsample") for use in reads):
        return True
    pending, seen = [name], {name}
    while axis > 1 and pending:
        for use in model.graph.uses.get(pending.pop(), ()):
            if "Conv" in nodes[use.node].op and use.position:
                return True
            new = set(nodes[use.node].outputs) - seen
            seen |= new
            pending += new
    return False


def perturb(proto: onnx.ModelProto, model: spa.Model, groups: spa.Groups, plan: spa.Plan) -> int:
    """The perturbation oracle on one plan; returns the number of channels seen to change."""
    cut = cut_of(plan, groups.coupling)
    names = [name for node in model.graph.nodes for name in node.outputs if name]
    return assert_change_stays_inside(
        proto,
        plan.to_json(),
        {name: cut.of_tensor(name) for name in names},
        {name: _expected(model, cut, name) for name in names},
        skip=_after_inexact(model, cut),
    )


def prove(
    proto: onnx.ModelProto, *, ratio: float = 0.5, seeds: tuple[int, ...] = (0, 1, 2),
    plain: bool = True, equal: bool = True, attention: str = "heads", optimize: bool = True,
    tolerance: float = TOLERANCE,
) -> onnx.ModelProto:  # fmt: skip
    """Prunes at random and proves the result by SPA and by both oracles; returns the last model."""
    model = spa.load(proto)
    proto = as_the_plan_names_it(proto, model)
    groups = spa.find_groups(model, attention)
    dynamic = not proto.graph.input[0].type.tensor_type.shape.dim[0].HasField("dim_value")
    pruned = proto
    for seed in seeds:
        scores = spa.score(model, groups, "random", seed=seed)
        limits = spa.Limits(scope="local")
        plan = spa.make_plan(groups, scores, spa.Target(ratio=ratio), limits)
        assert any(group.removed for group in plan.groups)
        pruned = spa.apply_plan(model, plan, groups)
        proof = spa.verify(model, pruned, plan, groups)
        assert proof.equal == plan.exact == equal
        if equal:
            document = json.loads(json.dumps(plan.to_json()))
            batches = (1, 3) if dynamic else (model.batch_size,)
            assert_equals_zeroed(proto, pruned, document, batches=batches, optimize=optimize,
                                 tolerance=tolerance)  # fmt: skip
        # q and k both make what is contracted over head_dim: disturbed together, they show there.
        if plain and attention != "head_dim":
            perturb(proto, model, groups, plan)
    return pruned


def as_the_plan_names_it(proto: onnx.ModelProto, model: spa.Model) -> onnx.ModelProto:
    """The file, or if it has Ifs that were opened its opened form, once that gives the same."""
    if not model.forks:
        return proto
    random = RANDOM.intersection(node.op_type for node in model.proto.graph.node)
    for seed in range(0 if random else 3):
        feeds = random_feeds(proto, seed, batch=model.batch_size, free=7)
        want = run(proto, feeds, optimize=False)
        for name, have in run(model.proto, feeds, optimize=False).items():
            np.testing.assert_array_equal(have, want[name])
    return model.proto


def _expected(model: spa.Model, cut: Cut, name: str) -> list[tuple[int, np.ndarray]]:
    """Axis and indices of every removed channel of a tensor that some producer's noise must reach.

    Left out are entries that no producer makes: padding, and what is known from its reader alone.
    """
    coupling = cut.coupling
    loud = np.array([axis.is_parameter and not _is_consumed(model, axis) for axis in coupling.axes])
    found = []
    for layer in coupling.layers.get(name, []):
        axes = [k for k in range(layer.ndim) if layer.shape[k] > 1]
        if len(axes) != 1:
            continue
        labels = layer.reshape(-1)
        components = coupling.components.of[labels]
        goes = cut.removed[labels] & loud[coupling.axis_of_label[labels]]
        for component in np.unique(components[goes]):
            found.append((axes[0], np.flatnonzero(goes & (components == component))))
    return found


def _is_consumed(model: spa.Model, axis) -> bool:
    """Whether a parameter axis is what a contraction sums over."""
    for node in model.graph.nodes:
        if axis.tensor not in node.inputs:
            continue
        position = node.inputs.index(axis.tensor)
        if node.op in ("Conv", "DeformConv") and position == 1:
            return axis.axis >= 1
        if node.op == "ConvTranspose" and position == 1:
            return axis.axis == 0
        if node.op == "Gemm" and position == 1:
            return axis.axis == (1 if node.attr("transB", 0) else 0)
        if node.op in ("LSTM", "GRU", "RNN"):
            return axis.axis == 2 and position in (1, 2)
        if node.op == "com.microsoft::Attention":
            return axis.axis == 0 and position == 1
        if node.op == "MatMul":
            rank = len(model.shapes[axis.tensor])
            return axis.axis == (rank - 2 if position == 1 else rank - 1)
    return False


def _after_inexact(model: spa.Model, cut: Cut) -> set[str]:
    """Tensors from the first operator on at which a removal is not exact."""
    tainted: set[str] = set()
    nodes = {remark.node for remark in cut.coupling.inexact if cut.removed[remark.labels].any()}
    for node in model.graph.nodes:
        if node.index in nodes or tainted.intersection(node.inputs):
            tainted.update(node.outputs)
    return tainted
