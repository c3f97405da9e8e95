"""The proof: a pruned model is checked before it is handed over.

1. ``onnx.checker`` with full shape inference, and the same interface as before.
2. The file holds nothing but what the plan makes of the dense one: every weight is the plan's
   slice, every node what surgery makes of it (`spa.pruning.proof.structure`).
3. It runs on ONNX Runtime wherever the dense model does, at sizes that the analysis did not see and
   on values that reach what inputs decide, and its outputs equal those of the dense model in which
   the removed slices are zero, entry by entry, to what rounding does. So do tensors inside
   (`spa.pruning.proof.outputs`). Zeroed are only the weights and biases of operators that contract
   (Conv, Gemm, ...); statistics, scales and divisors are left alone. Around operators that are
   random, or at which a removal is not exact, all else is compared (`spa.pruning.fixing`).
4. Ifs that were opened: both branches' results are outputs in 3, and the file, which has the Ifs,
   gives what its opened form gives (`spa.pruning.forked`).
5. Where a file was changed to be loaded (functions inlined, Ifs opened), the file that came in
   gives what its loaded form gives (`spa.pruning.proof.given`).

What cannot be shown is called unproven, never equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from spa.coupling.couple import Cut
from spa.coupling.groups import Groups, find_groups
from spa.errors import ModelError, VerificationError
from spa.graph.check import check
from spa.graph.forks import opened_like
from spa.graph.model import Model
from spa.graph.nodes import Node, real_inputs
from spa.pruning.fixing import inexact_nodes, jumping_nodes, random_nodes
from spa.pruning.forked import check_closed
from spa.pruning.plan import Plan, cut_of
from spa.pruning.proof.found import Outputs
from spa.pruning.proof.given import check_given
from spa.pruning.proof.outputs import Prover
from spa.pruning.proof.rewriting import blame_rewrites
from spa.pruning.proof.structure import check_structure
from spa.showing import MOST_OF_A_CHECK, shown


@dataclass(frozen=True)
class Proof:
    """What was checked.

    Attributes:
        checks: one sentence per check; those that begin with "unproven" say what was not shown.
        equal: True when outputs were compared with the zeroed dense model and found equal; False
            where a pruned group is not exact, so that only all else could be, and where nothing
            could be shown.
        difference: largest difference found, as a share of the output's scale.
        sizes: the inputs' sizes at which both models ran and were compared.
        untried: dynamic sizes for which the dense model ran at no value but the example's.
    """

    checks: tuple[str, ...]
    equal: bool
    difference: float
    sizes: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The proof as JSON; a difference that is not known is None."""
        return {
            "equal": self.equal,
            "difference": self.difference if self.equal else None,
            "checks": list(self.checks),
            "sizes": list(self.sizes),
            "untried": list(self.untried),
        }

    def text(self) -> str:
        """The checks for a reader, one a line."""
        return "\n".join(
            check if check.startswith("unproven") else f"verified: {check}"
            for check in (shown(check, MOST_OF_A_CHECK) for check in self.checks)
        )


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
    groups = groups or find_groups(model, **plan.coupled)
    return verify_cut(model, pruned, cut_of(plan, groups.coupling), groups)


def verify_cut(model: Model, pruned: onnx.ModelProto, cut: Cut, groups: Groups) -> Proof:
    """As `verify`, for labels that go; Ifs of the pruned model may be opened."""
    checks = [_check_file(model, pruned), _check_interface(model.proto, pruned)]
    checks.append(check_structure(model, pruned, cut))
    proof = verify_outputs(model, pruned, cut, groups)
    return Proof(
        (*checks, *proof.checks), proof.equal, proof.difference, proof.sizes, proof.untried
    )


def verify_outputs(model: Model, pruned: onnx.ModelProto, cut: Cut, groups: Groups) -> Proof:
    """The part of the proof that runs models: it looks at what they compute alone.

    Raises:
        VerificationError: the pruned model computes something else.
    """
    opened = opened_like(pruned, model.forks)
    # What is exact follows from the model. A plan file that says otherwise switches nothing off.
    inexact, random = inexact_nodes(model, cut), random_nodes(model)

    def run(*, optimize: bool) -> Outputs:
        nodes = [*random, *inexact]
        return Prover(model, opened, cut, groups, nodes, optimize=optimize).run()

    how, optimize = "", True
    try:
        found = run(optimize=True)
    except ModelError:
        # The dense model's fault. It did run when it was loaded, which is without rewrites.
        found, optimize = run(optimize=False), False
        how = ", without rewriting: it rewrites the dense model to one that fails"
    except VerificationError as error:
        try:
            found, optimize = run(optimize=False), False
        except (ModelError, VerificationError):
            raise error from None
        blame_rewrites(model, cut, found.feeds, error)
        how = ", without rewriting: it rewrites the dense model to one that computes something else"
    rows = ""
    if found.rows:
        numbers = " and ".join(map(str, found.rows))
        rows = f"; in batches of {numbers}, row by row as in the smaller ones"
    checks = [f"runs on ONNX Runtime wherever the dense model does ({_sizes(found)}{rows}){how}"]
    if found.untried:
        checks.append(
            f"unproven at other sizes: the dense model ran for no other "
            f"{' or '.join(found.untried)} than the example's"
        )
    if model.forks:
        checks.append(check_closed(model, pruned, opened, found.feeds[:2], optimize=optimize))
    given = check_given(model, found.feeds[:2])
    checks += [] if given is None else [given]
    return _conclude(model, found, checks, random, inexact)


def _conclude(
    model: Model, found: Outputs, checks: list[str], random: list[Node], inexact: list[Node]
) -> Proof:
    """Says what was shown, and what was not."""
    sizes, untried = found.sizes, found.untried
    if not found.compared:
        checks.append("unproven: outputs are not compared, as NumPy lacks the type of a tensor")
        return Proof(tuple(checks), False, float("nan"), sizes, untried)
    shown = True
    if found.unseen:
        shown = False
        checks.append(
            f"unproven: {_listed(found.unseen)} {_are(found.unseen)} NaN or infinite on all inputs "
            "that were tried; give an example on which the model computes numbers (--input)"
        )
    for name, share in found.partly.items():
        checks.append(f'unproven: {1 - share:.0%} of output "{name}" is NaN or infinite')
    if found.closeness.drowned:
        names = found.closeness.drowned
        shown = shown and not set(names).intersection(model.graph.outputs)
        checks.append(
            f"unproven: rounding alone changes {_listed(names)} of the dense model by as much as "
            "the inputs do"
        )
    difference = found.closeness.difference
    text = f"(largest difference {difference:.1e} of the scale)"
    if found.inner:
        text += f", and so {'does 1 tensor' if found.inner == 1 else f'do {found.inner} tensors'}"
        text += " inside"
    if found.drawn or found.blocked:
        text += ", both with random weights"
        if not found.drawn:
            text += f" where these let nothing pass ({_listed(found.blocked)})"
    if found.flat and not found.drawn:
        text += ", with no random weights: none run"
    if found.flat:
        text += " (its own output, or that of a branch, hardly varies)"
    if not found.unseen:
        checks.append(f"equals the zeroed dense model {text}")
    jumps = jumping_nodes(model) if found.jumps else []
    for nodes, why in (
        (random, "they are random"),
        (inexact, "a removal is not exact there (see the plan)"),
        (jumps, "rounding decides what they select"),
    ):
        if nodes:
            checks.append(
                f"in that comparison both models were given the same outputs of "
                f"{_listed([str(node) for node in nodes], quoted=False)}, as {why}; what these "
                "read was compared"
            )
    equal = shown and not inexact
    return Proof(tuple(checks), equal, difference if equal else float("nan"), sizes, untried)


def _sizes(found: Outputs) -> str:
    return "; ".join(found.sizes)


def _listed(names: Sequence[str], *, quoted: bool = True) -> str:
    some = [f'"{name}"' if quoted else name for name in names[:3]]
    return ", ".join(some) + (", ..." if names[3:] else "")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


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
