"""What the proof does about Ifs that were opened (`spa.graph.forks`).

An example takes one branch, so the outputs say nothing of the other one. Opened models compute
both: what both branches give is compared besides the outputs. What is handed over is a file with
Ifs, though. It must give what its opened form gives, on the example and with all conditions set to
true, and to false.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from spa.errors import ModelError, VerificationError
from spa.graph.execute import Array, run_each
from spa.graph.forks import Fork
from spa.graph.model import Model
from spa.graph.nodes import RANDOM_OPS, all_nodes, set_nodes
from spa.graph.opened import Example
from spa.graph.shape_arithmetic import ShapeArithmetic
from spa.pruning.fixing import made_tensors
from spa.pruning.proof.closeness import compare, tolerance_of

# The constant that conditions are set to.
SET = "spa/condition"


def branch_results(model: Model, opened: onnx.ModelProto) -> list[tuple[str, ...]]:
    """Of every branch that was opened, the results that can be compared.

    Left out are constants, sizes of what may shrink, and what a pruned model no longer computes.

    Args:
        model: the dense model.
        opened: the pruned one, with its Ifs opened.
    """
    if not model.forks:
        return []
    there = {name for node in opened.graph.node for name in node.output}
    comparable = there.intersection(made_tensors(model)).difference(ShapeArithmetic(model).origins)
    found = []
    for fork in model.forks:
        wheres = [model.graph.producers[name] for name in fork.outputs]
        for side in (1, 2):
            names = dict.fromkeys(where.inputs[side] for where in wheres)
            found.append(tuple(name for name in names if name in comparable))
    return [names for names in found if names]


def check_closed(
    model: Model,
    closed: onnx.ModelProto,
    opened: onnx.ModelProto,
    feeds: Sequence[Example],
    *,
    optimize: bool,
) -> str:
    """Checks that a pruned file's Ifs give what their opened form gives.

    Args:
        model: the dense model.
        closed: the pruned file.
        opened: the same with its Ifs opened.
        feeds: examples.
        optimize: let ONNX Runtime rewrite the file in one of the runs, as it does for users.

    Returns:
        What was checked, as a sentence.

    Raises:
        ModelError: ONNX Runtime does not run the dense file either.
        VerificationError: they do not.
    """
    if optimize:
        _run(closed, feeds, model.closed, optimize=True)
    random = any(node.op_type in RANDOM_OPS for node in all_nodes(closed.graph.node))
    ways = []
    for condition, way in ((None, "as they are"), (True, "all true"), (False, "all false")):
        try:
            want = run_each(_with(opened, model.forks, condition), feeds, optimize=False)
        except ModelError:
            if condition is None:
                raise
            continue  # no model can take this way with these examples
        file = _with(closed, model.forks, condition)
        have = _run(file, feeds, model.closed, optimize=False)
        for a, b in zip(want, have, strict=True):
            if not random:
                what = f"the opened form of its If nodes (conditions {way})"
                compare(_named(opened, a), _named(opened, b), what, tolerance_of(model), tuple)
        ways.append(way)
    return f"both branches of its If nodes give what they should (conditions {', '.join(ways)})"


def _run(
    closed: onnx.ModelProto, feeds: Sequence[Example], dense: onnx.ModelProto, *, optimize: bool
) -> list[list[Array]]:
    try:
        return run_each(closed, feeds, optimize=optimize)
    except ModelError as error:
        run_each(dense, feeds, optimize=optimize)  # where that fails too, pruning is not to blame
        raise VerificationError(f"The pruned model does not run: {error}") from error


def _named(proto: onnx.ModelProto, values: Sequence[Array]) -> Mapping[str, Array]:
    return {value.name: a for value, a in zip(proto.graph.output, values, strict=True)}


def _with(proto: onnx.ModelProto, forks: Sequence[Fork], condition: bool | None) -> onnx.ModelProto:
    """A model whose forks, opened or not, have a condition of that value; None leaves them."""
    if condition is None:
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for node in _branching(result, forks):
        node.input[0] = SET
    value = onnx.numpy_helper.from_array(np.array(condition))
    constant = onnx.helper.make_node("Constant", [], [SET], value=value)
    set_nodes(result.graph, [constant, *result.graph.node])
    return result


def _branching(proto: onnx.ModelProto, forks: Sequence[Fork]) -> Iterator[onnx.NodeProto]:
    results = {name for fork in forks for name in fork.outputs}
    for node in all_nodes(proto.graph.node):
        if node.op_type in ("If", "Where") and not results.isdisjoint(node.output):
            yield node
