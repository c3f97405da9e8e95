"""Models with Ifs whose branches both run, and what they must be when they are pruned.

The oracle sets slices to zero inside of the Ifs of the file that came in, and runs that for both
values of the condition. It knows nothing of how SPA opens and closes an If.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

import spa
from tests.coupling.test_subgraphs import Flow, subgraph
from tests.oracles import run


def choosing(opset: int = 17) -> Flow:
    """A builder with an image and the condition "yes"."""
    return Flow(opset, condition=())


def network(
    stem: str, x: str, *sizes: int, seed: int = 0, names: Sequence[str] = ()
) -> onnx.GraphProto:
    """A branch of convolutions, with a Relu between them; (N, 3, 8, 8) to (N, last size, 8, 8).

    Args:
        stem: what its names begin with.
        x: what it reads.
        sizes: channels before and after each convolution.
        seed: of its weights.
        names: weights that lie elsewhere, in place of its own.
    """
    rng = np.random.default_rng(seed)
    nodes, weights = [], {}
    for i, (cin, cout) in enumerate(zip(sizes, sizes[1:], strict=False)):
        w = names[i] if names else f"{stem}_w{i}"
        inputs = [x, w]
        if not names:
            weights[w] = rng.standard_normal((cout, cin, 3, 3)).astype(np.float32) / 4
            weights[f"{stem}_b{i}"] = rng.standard_normal(cout).astype(np.float32)
            inputs.append(f"{stem}_b{i}")
        nodes.append(
            helper.make_node("Conv", inputs, [f"{stem}_c{i}"], name=f"{stem}_conv{i}",
                             kernel_shape=[3, 3], pads=[1] * 4)
        )  # fmt: skip
        x = f"{stem}_c{i}"
        if i < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [x], [f"{stem}_r{i}"]))
            x = f"{stem}_r{i}"
    return subgraph(nodes, [x], name=stem, weights=weights)


def ifs(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    """All Ifs, however deep."""
    return [n for graph in graphs(proto.graph) for n in graph.node if n.op_type == "If"]


def branches(fork: onnx.NodeProto) -> tuple[onnx.GraphProto, onnx.GraphProto]:
    """Then and else."""
    found = {attribute.name: attribute.g for attribute in fork.attribute}
    return found["then_branch"], found["else_branch"]


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def weights(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shapes of all floating weights, however deep; their names must be unique."""
    found = [t for graph in graphs(proto.graph) for t in graph.initializer if t.data_type == 1]
    assert len({t.name for t in found}) == len(found)
    return {t.name: tuple(t.dims) for t in found}


def zeroed(proto: onnx.ModelProto, plan: spa.Plan) -> onnx.ModelProto:
    """The same file with what goes at zero, wherever it lies."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    tensors: dict[str, list[onnx.TensorProto]] = {}
    for graph in graphs(result.graph):
        for tensor in graph.initializer:
            tensors.setdefault(tensor.name, []).append(tensor)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].HasField("t"):
                tensors.setdefault(node.output[0], []).append(node.attribute[0].t)
    for entry in json.loads(json.dumps(plan.to_json()))["parameters"]:
        assert "uses" not in entry
        (tensor,) = tensors[entry["name"]]
        value = numpy_helper.to_array(tensor).copy()
        value[(slice(None),) * entry["axis"] + (entry["removed"],)] = 0
        tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return result


def pruned_both_ways(
    proto: onnx.ModelProto, *, ratio: float = 0.5, reference: onnx.ModelProto | None = None
) -> spa.Pruned:
    """Prunes, and holds the result to the zeroed file for both values of the condition.

    Args:
        proto: the file.
        ratio: how much goes.
        reference: the file whose weights are set to zero, where names differ.
    """
    before = proto.SerializeToString(deterministic=True)
    result = spa.prune(proto, ratio=ratio, limits=spa.Limits(scope="local"))
    assert proto.SerializeToString(deterministic=True) == before
    assert result.proof.equal
    assert any("both branches" in check for check in result.proof.checks)
    same_both_ways(zeroed(reference or proto, result.plan), result.model)
    return result


def same_both_ways(want: onnx.ModelProto, have: onnx.ModelProto, tolerance: float = 1e-5) -> None:
    """Two models give the same at several batch sizes, for both values of the condition."""
    onnx.shape_inference.infer_shapes(have, check_type=True, strict_mode=True)
    rng = np.random.default_rng(7)
    for batch in (1, 3):
        feeds = {"x": rng.standard_normal((batch, 3, 8, 8)).astype(np.float32)}
        feeds.update(on=np.array(True), times=np.array(2))
        seen = []
        for yes in (True, False):
            a, b = (run(m, {**feeds, "yes": np.array(yes)}) for m in (want, have))
            assert list(a) == list(b)
            for name, value in a.items():
                scale = max(float(np.abs(value).max()), 0.1)
                np.testing.assert_allclose(b[name], value, rtol=0, atol=tolerance * scale)
            seen.append(a)
        assert any((seen[0][name] != seen[1][name]).any() for name in seen[0])
