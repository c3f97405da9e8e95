"""The checker's wrapper: stale or missing annotations are no fault, wrong shapes are."""

import onnx

from spa.graph.check import check
from tests.graphs import Builder, classifier


def test_an_output_without_a_declared_shape_is_not_taken_for_a_scalar():
    g = Builder()
    x = g.node("Flatten", [g.conv(g.input(3, 4, 4), 3, 4)])
    proto = g.model(g.gemm(x, 64, 5))
    assert not proto.graph.output[0].type.tensor_type.HasField("shape")
    assert check(proto) is None
    assert check(proto, full=True) is None


def test_a_wrong_declared_output_fails_the_full_check_alone():
    proto = classifier()
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 7
    assert check(proto) is None
    assert "7" in check(proto, full=True)


def test_stale_value_info_is_no_fault():
    proto = classifier()
    name = proto.graph.node[0].output[0]
    stale = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 99, 2, 2])
    proto.graph.value_info.append(stale)
    before = proto.SerializeToString()
    assert check(proto, full=True) is None
    assert proto.SerializeToString() == before


def test_a_deprecated_operator_that_runtimes_know_is_no_fault():
    """ONNX deprecated GroupNormalization of opset 18 from its first day on."""
    g = Builder(18)
    vectors = [g.normal(3, stem="v"), g.normal(3, stem="v")]
    x = g.node("GroupNormalization", [g.conv(g.input(3, 4, 4), 3, 6), *vectors], num_groups=3)
    proto = g.model(x)
    assert check(proto, full=True) is None
    # What else is wrong is still seen.
    proto.graph.node[0].input[0] = "nothing"
    assert "nothing" in check(proto)
