"""Sparse weights are made dense when a model is loaded.

Channels cannot be cut out of a list of places and values, and ONNX Runtime makes them dense as
well. There are sparse initializers and sparse values of Constant nodes, in subgraphs too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx

from spa.errors import ModelError
from spa.graph.nodes import subgraphs

# A few bytes of a file can declare a sparse tensor of any size.
MAX_DENSE_BYTES = 2**31


def densified(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model itself where nothing is sparse; else a copy with dense tensors.

    Raises:
        ModelError: a sparse tensor is damaged, or would be too large.
    """
    if not any(
        graph.sparse_initializer or any(_sparse_value(node) for node in graph.node)
        for graph in _graphs(proto.graph)
    ):
        return proto
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    for graph in _graphs(result.graph):
        for tensor in graph.sparse_initializer:
            graph.initializer.append(_dense(tensor, tensor.values.name))
        del graph.sparse_initializer[:]
        for node in graph.node:
            attribute = _sparse_value(node)
            if attribute is not None:
                dense = _dense(attribute.sparse_tensor, node.output[0])
                attribute.CopyFrom(onnx.helper.make_attribute("value", dense))
    return result


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for sub in subgraphs(attribute):
                yield from _graphs(sub)


def _sparse_value(node: onnx.NodeProto) -> onnx.AttributeProto | None:
    if node.op_type != "Constant":
        return None
    return next((a for a in node.attribute if a.HasField("sparse_tensor")), None)


def _dense(tensor: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """indices: (values,), counted through the whole tensor, or (values, rank)."""
    shape = tuple(tensor.dims)
    try:
        values = onnx.numpy_helper.to_array(tensor.values)
        indices = onnx.numpy_helper.to_array(tensor.indices).astype(np.int64)
        if min(shape, default=1) < 0 or math.prod(shape) * values.itemsize > MAX_DENSE_BYTES:
            raise ModelError(
                f'Sparse tensor "{name}" of shape {list(shape)} would take more than '
                f"{MAX_DENSE_BYTES} bytes as a dense one."
            )
        if indices.size and indices.min() < 0:
            raise ValueError("a place is negative")
        places = np.ravel_multi_index(tuple(indices.T), shape) if indices.ndim == 2 else indices
        dense = np.zeros(math.prod(shape), dtype=values.dtype)
        dense[places] = values.reshape(-1)
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise ModelError(f'Sparse tensor "{name}" is damaged: {error}.') from error
    return onnx.numpy_helper.from_array(dense.reshape(shape), name)
