"""A large file's weights stay in it; what is read is the same model."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import spa
from spa.errors import ModelError
from spa.graph import read, skim
from spa.graph.deferred import held, is_deferred
from tests.graphs import Builder


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A model with two large weights, in a file that counts as large."""
    g = Builder()
    x = g.gemm(g.input(64), 64, 2048)
    x = g.gemm(g.node("Relu", [x]), 2048, 96)
    proto = g.model(g.gemm(g.node("Relu", [x]), 96, 4))
    proto.doc_string = "of mine"
    path = tmp_path / "model.onnx"
    onnx.save(proto, path)
    monkeypatch.setattr(read, "MAX_HELD_BYTES", 1 << 16)
    monkeypatch.setattr(skim, "LARGE_BYTES", 1 << 12)
    return path


def test_large_weights_are_not_held_and_all_else_is(file):
    proto, digest = read.read_model(file)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert sum(map(is_deferred, proto.graph.initializer)) == 2
    assert held(proto) == onnx.load(file)


def test_it_is_pruned_as_one_that_is_held(file, monkeypatch):
    found = spa.prune(file, ratio=0.5)
    monkeypatch.setattr(read, "MAX_HELD_BYTES", 1 << 30)
    wanted = spa.prune(file, ratio=0.5)
    assert found.plan == wanted.plan
    have, want = held(found.model).graph.initializer, wanted.model.graph.initializer
    for a, b in zip(have, want, strict=True):
        np.testing.assert_array_equal(numpy_helper.to_array(a), numpy_helper.to_array(b))


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.9999])
def test_a_truncated_one_is_refused_like_any_other(file, share):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=r"truncated|holds no graph"):
        read.read_model(file)


def test_bytes_that_do_not_fit_the_shape(file):
    proto = onnx.load(file)
    proto.graph.initializer[0].dims[0] += 1
    onnx.save(proto, file)
    with pytest.raises(ModelError, match="bytes, but has"):
        read.read_model(file)


def test_weights_of_types_that_are_not_handed_over_are_held(file):
    proto = onnx.load(file)
    tensor = proto.graph.initializer[0]
    tensor.data_type = onnx.TensorProto.BFLOAT16
    tensor.raw_data = tensor.raw_data[: len(tensor.raw_data) // 2]
    onnx.save(proto, file)
    assert held(read.read_model(file)[0]) == proto


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_end_in_a_message_or_the_same_model(file, seed):
    data = bytearray(file.read_bytes())
    rng = np.random.default_rng(seed)
    # Where fields begin, not within the weights' values.
    for place in rng.integers(0, 200, 3):
        data[place] = rng.integers(256)
    file.write_bytes(data)
    try:
        found = held(read.read_model(file)[0])
    except ModelError:
        return
    assert found == read.parse_model(bytes(data), "it")


def test_a_file_that_changed_meanwhile_is_noticed(file):
    proto, _ = read.read_model(file)
    file.write_bytes(file.read_bytes())
    with pytest.raises(ModelError, match="was changed while SPA was at work"):
        held(proto)
