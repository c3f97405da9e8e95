"""What every random graph must pass.

1. It prunes, by a local or a global plan; SPA proves the result, and so does an oracle of its own,
   at sizes that SPA did not see (`tests.random_graphs.unseen`).
2. Where a plan is not exact, the file is checked, runs and keeps its output's shapes; and the part
   of the plan that is exact, pruned alone, equals the zeroed dense model.
3. Surgery is deterministic: the plan's JSON and the file alone give the same bytes (tried on one
   graph in five, as loading takes a third of the time).
4. The model that came in is not touched.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import numpy as np
import onnx

import spa
from spa.pruning.plan import build_plan
from tests.comparing import recorded
from tests.coupling.cases import RANDOM, as_the_plan_names_it, perturb
from tests.random_graphs.strategy import Choice, Drawn
from tests.random_graphs.unseen import compare

# A difference in the last bit now and then becomes a large one here.
JUMPING = frozenset({
    "ArgMax", "ArgMin", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil",
    "Equal", "Floor", "Greater", "GreaterOrEqual", "Hardmax", "Less", "LessOrEqual", "Mod",
    "QuantizeLinear", "Round", "Shrink", "Sign", "ThresholdedRelu", "TopK",
})  # fmt: skip


REPEATED_EVERY = 5


def serialised(proto: onnx.ModelProto) -> bytes:
    return proto.SerializeToString(deterministic=True)


def loaded(drawn: Drawn) -> spa.Model:
    return spa.load(drawn.proto, drawn.shapes)


def plan_for(model: spa.Model, groups: spa.Groups, choice: Choice) -> spa.Plan | None:
    """A plan; None where its target is out of reach, as SPA says with what is reachable.

    A removed share that is out of reach is made the one that is said to be reachable.
    """
    scores = spa.score(model, groups, choice.criterion, seed=choice.seed)
    limits = spa.Limits(scope=choice.scope, round_to=choice.round_to)
    target = spa.Target(**{choice.target: choice.value})
    try:
        return spa.make_plan(groups, scores, target, limits)
    except spa.InfeasibleTarget as error:
        nothing = 0.0 if choice.target == "ratio" else 1.0
        if not nothing <= error.reachable < error.asked:
            raise AssertionError(f"{error.reachable} of {error.asked}") from error
        if choice.target != "ratio" or error.reachable == nothing:
            return None
        return spa.make_plan(groups, scores, spa.Target(ratio=error.reachable), limits)


def exact_part(groups: spa.Groups, plan: spa.Plan) -> spa.Plan | None:
    """The same plan without its groups that are not exact; None where nothing is left."""
    removed = np.zeros(groups.coupling.components.kept.size, dtype=bool)
    for planned, group in zip(plan.groups, groups.groups, strict=True):
        if group.exact:
            removed[group.components[list(planned.removed)]] = True
    if not removed.any():
        return None
    return build_plan(
        groups, removed, criterion=plan.criterion, target=plan.target, reached=plan.reached,
        settings=plan.settings,
    )  # fmt: skip


def plans_for(drawn: Drawn, model: spa.Model, groups: spa.Groups) -> Iterator[spa.Plan]:
    for choice in drawn.plans:
        plan = plan_for(model, groups, choice)
        if plan is None:
            continue
        yield plan
        if not plan.exact:
            part = exact_part(groups, plan)
            if part is not None:
                yield part


def check_pruning(drawn: Drawn) -> dict[str, int]:
    """Fails where anything of 1 to 4 does not hold; returns what was proven."""
    before = serialised(drawn.proto)
    with recorded() as ran:
        model = loaded(drawn)
    groups = spa.find_groups(model, drawn.attention)
    assert len(groups) >= 1
    dense = as_the_plan_names_it(drawn.proto, model)
    operators = {node.op_type for node in dense.graph.node}
    seen = {"plans": 0, "equal": 0, "sizes": 0}
    for plan in plans_for(drawn, model, groups):
        pruned = spa.apply_plan(model, plan, groups)
        with recorded() as again:
            proof = spa.verify(model, pruned, plan, groups)
        ran |= again
        document = json.loads(json.dumps(plan.to_json()))
        assert proof.equal == plan.exact
        equal = plan.exact and not RANDOM.intersection(operators)
        check = functools.partial(compare, drawn, dense, pruned, document, ran, equal=equal)
        try:
            seen["sizes"] += check()
        except AssertionError:
            # A graph that jumps may differ by chance, but not on new inputs.
            if not JUMPING.intersection(operators):
                raise
            seen["sizes"] += check(seed=1)
        if drawn.plans[0].seed % REPEATED_EVERY == 0:
            fresh = spa.apply_plan(loaded(drawn), spa.Plan.from_json(document))
            assert serialised(fresh) == serialised(pruned)
        seen["plans"] += 1
        seen["equal"] += plan.exact
    assert serialised(drawn.proto) == before
    return seen


def check_perturbation(drawn: Drawn) -> dict[str, int]:
    """A change of what goes reaches exactly the predicted slices, until the first inexact one."""
    model = loaded(drawn)
    groups = spa.find_groups(model, drawn.attention)
    seen = {"plans": 0, "channels": 0}
    for plan in plans_for(drawn, model, groups):
        seen["plans"] += 1
        seen["channels"] += perturb(drawn.proto, model, groups, plan)
    return seen
