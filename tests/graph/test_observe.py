"""What a run shows of every tensor, and that it does not hold them all for that."""

import subprocess
import sys

import numpy as np
import onnx
import onnx.parser
import pytest

from spa.graph import observe
from spa.graph.observe import MAX_KEPT_VALUE, Observer
from tests.graphs import classifier

TYPES = """
    <ir_version: {ir}, opset_import: ["": {opset}]>
    g (float[N,3] x, int64[N,{many}] i) => (float[N,3] y)
    <float[3] w = {{1.0, 2.0, 3.0}}> {{
        s = Shape (x)
        h = Cast <to = 10> (x)
        t = ReduceSum <keepdims = 0> (x)
        b = Cast <to = 9> (x)
        e = Gather (x, s2)
        s2 = Cast <to = 6> (s3)
        s3 = Constant <value = int64[0] {{}}> ()
        j = Neg (i)
        k = Add (i, i)
        d = Cast <to = 11> (x)
        c = Cast <to = 8> (x)
        y = Mul (x, w)
    }}"""


def _model(ir, opset):
    text = TYPES.format(ir=ir, opset=opset, many=MAX_KEPT_VALUE // 2)
    proto = onnx.parser.parse_model(text)
    nodes = list(proto.graph.node)
    nodes[4], nodes[6] = nodes[6], nodes[4]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def _feeds(rows):
    x = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    return {"x": x, "i": np.arange(rows * MAX_KEPT_VALUE // 2).reshape(rows, -1)}


@pytest.mark.parametrize(("ir", "opset"), [(8, 17), (8, 9), (3, 9), (10, 21)])
@pytest.mark.parametrize("rows", [2, 3])
def test_all_that_a_run_shows(ir, opset, rows, monkeypatch):
    """Types, empty tensors, strings and scalars are seen as they are where all are outputs."""
    proto = _model(ir, opset)
    if ir < 4:
        proto.graph.input.append(onnx.helper.make_tensor_value_info("w", 1, [3]))
    before = proto.SerializeToString()
    observer = Observer(proto)
    assert observer.peeks
    seen = observer.run(_feeds(rows))
    assert proto.SerializeToString() == before
    monkeypatch.setattr(observe, "handles_lists", lambda proto: True)
    plain = Observer(proto)
    assert not plain.peeks
    whole = plain.run(_feeds(rows))
    assert (seen.shapes, seen.dtypes) == (whole.shapes, whole.dtypes)
    assert seen.values.keys() == whole.values.keys()
    assert ("j" in seen.values) == (rows == 2)
    for name, value in whole.values.items():
        np.testing.assert_array_equal(seen.values[name], value)
        assert seen.values[name].dtype == value.dtype


def test_lists_have_no_shape():
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N,3] x) => (float[N,3] y) {
            l = SequenceConstruct (x, x)
            one = Constant <value_int = 1> ()
            y = SequenceAt (l, one)
        }""")
    observer = Observer(proto)
    assert not observer.peeks
    shapes = observer.run({"x": np.ones((2, 3), np.float32)}).shapes
    assert shapes == {"x": (2, 3), "one": (), "y": (2, 3)}


def test_names_of_the_model_may_be_any(monkeypatch):
    proto = classifier()
    names = [name for node in proto.graph.node for name in node.output]
    proto.graph.node[-2].output[0] = f"spa/head/{names[0]}"
    proto.graph.node[-1].input[0] = f"spa/head/{names[0]}"
    observer = Observer(proto)
    assert not observer.peeks
    assert f"spa/head/{names[0]}" in observer.run({"x": _images(proto)}).shapes


def _images(proto):
    sizes = [dim.dim_value or 2 for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    return np.ones(sizes, np.float32)


CHILD = """
import resource
import numpy as np
import onnx
from spa.graph.observe import Observer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

nodes = [onnx.helper.make_node("Relu", [f"x{i}"], [f"x{i + 1}"]) for i in range(50)]
x, y = (onnx.helper.make_tensor_value_info(n, 1, ["N", 2**20]) for n in ("x0", "x50"))
opsets = [onnx.helper.make_opsetid("", 17)]
graph = onnx.helper.make_graph(nodes, "g", [x], [y])
observer = Observer(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8))
before = peak()
run = observer.run({"x0": np.ones((4, 2**20), np.float32)})
assert run.shapes["x50"] == (4, 2**20)
print(peak() - before)
"""


def test_tensors_are_not_held_all_at_once():
    """Fifty of 16 MiB."""
    result = subprocess.run(
        [sys.executable, "-c", CHILD], capture_output=True, text=True, check=True
    )
    assert int(result.stdout) < 200
