"""The proof: a pruned model is checked before it is handed over.

1. ``onnx.checker`` with full shape inference, and the same interface as before.
2. It runs on ONNX Runtime on the example input, at other sizes where some are dynamic, and on other
   values where some sizes follow from values.
3. Its outputs equal those of the dense model in which the removed slices are zero, to float
   tolerance (or to what the dense model itself rounds, where that is more). Zeroed are only the
   weights and biases of operators that contract (Conv, Gemm, ...); statistics, scales and divisors
   are left alone. Around operators that are random, or at which a removal is not exact, all else is
   compared (`spa.pruning.fixing`).
4. A constant output proves nothing (a head that starts at zero, dead ReLUs). Then every weight of
   the file is compared with what the same cut gives, and 3 is done with random weights in both.
5. Ifs that were opened: both branches' results are outputs in 3 and 4, and the file, which has the
   Ifs, gives what its opened form gives (`spa.pruning.forked`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups, find_groups
from spa.errors import ModelError, RunError, VerificationError
from spa.graph.check import check
from spa.graph.example import redrawn
from spa.graph.execute import Array, run
from spa.graph.forks import opened_like
from spa.graph.model import Model
from spa.graph.nodes import real_inputs
from spa.pruning.compare import is_flat
from spa.pruning.comparison import Comparison, Found, zeroed
from spa.pruning.fixing import Runs, fixing, inexact_nodes, jumping_nodes, random_nodes
from spa.pruning.forked import branch_results, check_closed
from spa.pruning.plan import Plan, cut_of
from spa.pruning.proof.structure import check_structure
from spa.pruning.redraw import compare_weights, with_random_weights
from spa.pruning.surgery import cut_model

# How often random weights are drawn until the dense model runs with them.
DRAWS = 4


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
    """As `verify`, for labels that go; Ifs of the pruned model may be opened."""
    try:
        return _verify(model, pruned, cut, groups, optimize=True)
    except ModelError:
        # The dense model's fault. It did run when it was loaded, which is without rewrites.
        return _verify(model, pruned, cut, groups, optimize=False)


def _verify(
    model: Model, pruned: onnx.ModelProto, cut: Cut, groups: Groups, *, optimize: bool
) -> Proof:
    checks = [_check_file(model, pruned), _check_interface(model.proto, pruned)]
    checks.append(check_structure(model, pruned, cut))
    file, pruned = pruned, opened_like(pruned, model.forks)
    branches = branch_results(model, pruned)
    also = tuple(dict.fromkeys(name for names in branches for name in names))
    feeds = [dict(model.example)]
    if model.varied is not None:
        feeds.append(redrawn(model.example, model.varied.shapes))
    feeds = [f for i, f in enumerate(feeds) if i == 0 or _differs(f, feeds[0])]
    # What is exact follows from the model. A plan file that says otherwise switches nothing off.
    inexact, random = inexact_nodes(model, cut), random_nodes(model)
    first = fixing(model, [*random, *inexact], also)
    reference = zeroed(model, cut)
    feeds += _other_values(model, reference, optimize=optimize)
    what = "the zeroed dense model"
    comparison = Comparison(model, cut, groups, reference, pruned, what, optimize, also)
    outputs = comparison.run(feeds)
    found: list[Found] = []
    flat, drawn = False, False
    if first is not None:
        # With nothing fixed and no branches, the outputs are all that is compared; where they are
        # flat in the pruned model, the dense one need not say so too.
        plain = not first.nodes and not branches
        flat = plain and all(is_flat(tensors.values()) for tensors in outputs)
        runs = None if flat else comparison.on(feeds, first)
        flat = flat or (runs is not None and _is_flat(runs, branches))
        if flat:
            compare_weights(pruned, cut_model(model, cut))
            for seed in range(DRAWS):
                other, filled = with_random_weights(model, pruned, cut, seed)
                what, reference = "the zeroed random model", zeroed(other, cut)
                another = Comparison(model, cut, groups, reference, filled, what, optimize, also)
                # Regions that a model computes may be turned inside out, which few operators bear.
                with suppress(RunError):
                    comparison, runs, drawn = another, another.on(feeds, first), True
                    break
        runs = runs or comparison.on(feeds, first)
        found = comparison.of(runs, outputs if plain and not drawn else None)
    worst = max((each.difference for each in found), default=0.0)
    shapes = " and ".join(dict.fromkeys(_describe(feed) for feed in feeds))
    how = "" if optimize else ", without rewriting: it rewrites the dense model to one that fails"
    checks.append(f"runs on ONNX Runtime ({shapes}){how}")
    if model.forks:
        checks.append(check_closed(model, file, pruned, feeds, optimize=optimize))
    if first is None:
        checks.append("unproven: outputs are not compared, as NumPy lacks the type of a tensor")
        return Proof(tuple(checks), False, float("nan"))
    how = f"(largest difference {worst:.1e} of the scale)"
    if flat:
        checks.append("has the weights that the plan leaves")
        how += ", both with random weights" if drawn else ", with no random weights: none run"
        how += f" (its own output{', or that of a branch,' if branches else ''} hardly varies)"
    checks.append(f"equals the zeroed dense model {how}")
    jumps = jumping_nodes(model) if any(each.jumps for each in found) else []
    for nodes, why in (
        (random, "they are random"),
        (inexact, "a removal is not exact there (see the plan)"),
        (jumps, "rounding decides what they select"),
    ):
        if nodes:
            some = ", ".join(str(node) for node in nodes[:3]) + (", ..." if nodes[3:] else "")
            checks.append(
                f"in that comparison both models were given the same outputs of {some}, as {why}; "
                "what these read was compared"
            )
    return Proof(tuple(checks), not inexact, float("nan") if inexact else worst)


def _is_flat(runs: Runs, branches: Sequence[Sequence[str]]) -> bool:
    """Whether the outputs prove nothing, or what some branch gives does not."""
    reference = runs.reference
    inside = {name for names in branches for name in names}
    apart = [set(reference[0]) - inside]
    for names in branches:
        numbers = {n for n in names if n in reference[0] and reference[0][n].dtype.kind == "f"}
        apart += [numbers] if numbers else []
    return any(
        all(is_flat(tensors[name] for name in names) for tensors in reference) for names in apart
    )


def _other_values(
    model: Model, dense: onnx.ModelProto, *, optimize: bool
) -> list[dict[str, Array]]:
    """The example with other numbers in it, where some sizes within follow from numbers.

    A size that was written down would show. Integers stay (they may be a sampling rate), and so
    does all if the dense model takes no others.
    """
    if not model.value_sizes.axes:
        return []
    drawn = redrawn(model.example, {k: v.shape for k, v in model.example.items()}, seed=2)
    other = {k: drawn[k] if v.dtype.kind == "f" else v for k, v in model.example.items()}
    try:
        run(dense, other, optimize=optimize)
    except RunError:
        return []
    return [other]


def _check_file(model: Model, pruned: onnx.ModelProto) -> str:
    problem = check(pruned, full=True)
    if problem is None:
        return "passes onnx.checker with full shape inference"
    if check(model.closed, full=True) is None:
        raise VerificationError(f"onnx.checker refuses the pruned model: {problem}")
    # The file that came in fails the full check too; hold the result to the plain one.
    problem = check(pruned)
    if problem is not None:
        raise VerificationError(f"onnx.checker refuses the pruned model: {problem}")
    return "passes onnx.checker (full shape inference fails on the input file already)"


def _check_interface(dense: onnx.ModelProto, pruned: onnx.ModelProto) -> str:
    for kind, before, after in (
        ("input", real_inputs(dense.graph), real_inputs(pruned.graph)),
        ("output", list(dense.graph.output), list(pruned.graph.output)),
    ):
        if before != after:
            raise VerificationError(f"The pruned model's {kind}s are not what they were.")
    return "keeps its inputs and outputs"


def _differs(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return any(a[name].shape != b[name].shape for name in a)


def _describe(feed: Mapping[str, Array]) -> str:
    return ", ".join(
        f"{name} {'x'.join(map(str, value.shape)) or 'of one number'}"
        for name, value in feed.items()
    )
