"""Copies without weights, and sizes and hashes that need no serialised file."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from spa.graph import read
from spa.graph.weightless import LARGE, byte_size, copy_lacking, without_weights
from tests.graphs import Builder, classifier


@pytest.fixture(scope="module")
def wide():
    """One weight that is large enough to be left out, and several that are not."""
    g = Builder()
    x = g.node("Relu", [g.gemm(g.input(300), 300, 400)])
    return g.model(g.gemm(x, 400, 5), dims=[["N", 5]])


def test_only_large_weights_are_left_out(wide):
    light, large = without_weights(wide)
    assert [tensor.name for tensor in large] == ["w0"]
    assert [tensor.name for tensor in light.graph.initializer] == ["b0", "w1", "b1"]
    light.graph.initializer.insert(0, large[0])
    assert light == wide


def test_sizes(wide):
    """All but a few bytes of framing."""
    for proto in (wide, classifier()):
        assert byte_size(proto) == pytest.approx(len(proto.SerializeToString()), abs=64)


def test_a_copy_that_lacks_values(wide):
    before = wide.SerializeToString(deterministic=True)
    copy = copy_lacking(wide, {"w1", "b0"})
    assert [t.name for t in copy.graph.initializer] == [t.name for t in wide.graph.initializer]
    for old, new in zip(wide.graph.initializer, copy.graph.initializer, strict=True):
        if old.name in ("w1", "b0"):
            assert new == onnx.TensorProto(name=old.name)
            new.CopyFrom(old)
    assert copy == wide
    assert wide.SerializeToString(deterministic=True) == before


def test_a_hash_of_what_is_too_large_for_one_file(wide, monkeypatch):
    """It depends on every weight and on the graph, and on nothing else."""
    plain = read.model_sha256(wide)
    monkeypatch.setattr(read, "MAX_PROTO_BYTES", 1000)
    changed, renamed = onnx.ModelProto(), onnx.ModelProto()
    for copy in (changed, renamed):
        copy.CopyFrom(wide)
    value = numpy_helper.to_array(wide.graph.initializer[0]).copy()
    value[-1, -1] += 1
    changed.graph.initializer[0].CopyFrom(numpy_helper.from_array(value, "w0"))
    renamed.graph.node[0].name = "another"
    hashes = [read.model_sha256(p) for p in (wide, changed, renamed)]
    assert len({plain, *hashes}) == 4
    assert read.model_sha256(wide) == hashes[0]
    assert spa.load(wide).sha256 == hashes[0]


def test_large_weights_are_not_held_twice(monkeypatch):
    model = spa.load(classifier())
    assert model.array("w0") is model.array("w0")
    monkeypatch.setattr("spa.graph.model.MAX_CACHED_BYTES", 100)
    other = spa.load(classifier())
    assert other.array("w0") is not other.array("w0")
    assert not other.array("w0").flags.writeable
    np.testing.assert_array_equal(other.array("w0"), model.array("w0"))


def test_a_large_weight_that_nothing_reads_does_no_harm():
    """HaloNet's proof ran its first nodes alone, and the runtime missed the weights of the rest."""
    g = Builder()
    x = g.node("Relu", [g.conv(g.input(3, 8, 8), 3, 8)])
    proto = g.model(g.conv(x, 8, 4))
    unread = np.zeros((LARGE,), np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(unread, "unread"))
    assert spa.prune(proto, ratio=0.5).proof.equal
