"""Which variable each weight of an export is, told from another export with known values."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, numpy_helper

from spa.errors import FrameworkError
from spa.frameworks.matching import Match, matches

VARIABLES = {
    "left": np.arange(1, 7, dtype=np.float32).reshape(2, 3),
    "right": np.arange(7, 13, dtype=np.float32).reshape(2, 3),
    "bias": np.float32([1.5, 2.5, 3.5]),
}


def branches(order, names, op="MatMul", moved=False):
    """Two products of x, added to one another and to a bias, with nodes in some order."""
    left, right, bias = names
    last = helper.make_node("Add", ["d" if moved else "c", bias], ["y"])
    nodes = [
        helper.make_node(op, ["x", left], ["a"]),
        helper.make_node(op, ["x", right], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        *([helper.make_node("Transpose", ["c"], ["d"], perm=[0, 1])] if moved else []),
        last,
    ]
    x, y = (helper.make_tensor_value_info(n, 1, [None, None]) for n in "xy")
    weights = [
        numpy_helper.from_array(value, name)
        for name, value in zip(names, VARIABLES.values(), strict=True)
    ]
    return helper.make_model(
        helper.make_graph([nodes[i] for i in order] + nodes[len(order) :], "g", [x], [y], weights)
    )


@pytest.mark.parametrize("moved", [False, True])
def test_nodes_may_come_in_another_order_under_other_names(moved):
    ours = branches((0, 1), ("w0", "w1", "w2"))
    theirs = branches((1, 0), ("k9", "k3", "k0"), moved=moved)
    assert matches(ours, theirs, VARIABLES) == {
        ("a", 1): Match("left", (0, 1)),
        ("b", 1): Match("right", (0, 1)),
        ("y", 1): Match("bias", (0,)),
    }


def test_another_graph_is_refused():
    ours = branches((0, 1), ("w0", "w1", "w2"))
    with pytest.raises(FrameworkError, match="gave different graphs"):
        matches(ours, branches((0, 1), ("k9", "k3", "k0"), "Mul"), VARIABLES)
