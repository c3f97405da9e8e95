"""Which tensors inside of a model are compared, and which weights would hide them.

What reaches an output only faintly, or not at all, is not seen there: a branch of small weights, a
gate that starts at zero, the other side of a Where, queries and keys before a softmax that is
nearly even. So wherever computed tensors meet, each is compared by a measure of its own.

Weights that are all zero, or nearly (a head, a LayerScale of 1e-6, the gates of adaLN-zero) let
nothing pass, so that what reads them is fed with zeros. They alone get random values in both models
for this comparison. All other weights stay what they are: deep attention with random weights
amplifies rounding beyond all bounds.
"""

from __future__ import annotations

import numpy as np
import onnx

from spa.coupling.operators import operator
from spa.coupling.zeros import contracted_parameters
from spa.graph.deferred import is_deferred
from spa.graph.model import Array, Model
from spa.graph.shape_arithmetic import ShapeArithmetic
from spa.pruning.fixing import made_tensors

# Weights no larger than this let hardly anything pass.
FAINT = 1e-3
# A quick look at a weight takes this many of its entries.
FIRST = 256


def inner_tensors(model: Model, pruned: onnx.ModelProto) -> tuple[str, ...]:
    """Tensors that meet another computed one, and are no sizes; of those that both models have."""
    there = {name for node in pruned.graph.node for name in node.output}
    made = there.intersection(made_tensors(model)).difference(ShapeArithmetic(model).origins)
    made = {name for name in made if model.observed.dtypes[name].kind == "f"}
    found: dict[str, None] = {}
    for node in model.graph.nodes:
        computed = [name for name in dict.fromkeys(node.inputs) if name in made]
        if len(computed) > 1:
            found.update(dict.fromkeys(computed))
    return tuple(found)


def blocking_weights(model: Model) -> frozenset[str]:
    """Parameters that let hardly anything pass: matrices of zeros, and faint scales."""
    matrices = {n for n in contracted_parameters(model) if sum(s > 1 for s in model.shapes[n]) > 1}
    scales: set[str] = set()
    for node in model.graph.nodes:
        if node.op == "Mul":
            scales.update(model.root(name) for name in node.inputs)
        elif (affine := operator(node.op).affine) and node.has_input(affine[0]):
            scales.add(model.root(node.inputs[affine[0]]))
    scales.intersection_update(model.parameters)
    return frozenset(name for name in matrices | scales if _is_faint(model, name))


def _is_faint(model: Model, name: str) -> bool:
    tensor = model.parameters[name]
    if name in model.quantised or model.dtype(name).kind != "f":
        return False
    if tensor is None or is_deferred(tensor):
        return False  # filled ones are looked at where outputs turn out flat; so are huge ones
    value: Array = model.array(name).reshape(-1)
    return all(
        part.size > 0 and bool(np.max(np.abs(part)) <= FAINT) for part in (value[:FIRST], value)
    )
