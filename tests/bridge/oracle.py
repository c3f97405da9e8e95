"""ONNX Runtime as the judge of the bridge, and small models to judge it on."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from spa.bridge import OnnxModule, to_torch


def run_onnx(proto: onnx.ModelProto, inputs: dict) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {name: np.asarray(value) for name, value in inputs.items()})


def run_torch(net: OnnxModule, inputs: dict) -> list[np.ndarray]:
    with torch.no_grad():
        outputs = net(*(torch.from_numpy(np.asarray(inputs[name])) for name in net.input_names))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output.detach().numpy() for output in outputs]


def difference(found, expected) -> float:
    """Largest difference relative to the scale of what is expected; shapes and types must agree."""
    assert len(found) == len(expected)
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        if theirs.dtype == bool or theirs.size == 0:
            assert np.array_equal(ours, theirs)
            continue
        a, b = ours.astype(np.float64), theirs.astype(np.float64)
        assert np.array_equal(a[~np.isfinite(b)], b[~np.isfinite(b)], equal_nan=True)
        a, b = a[np.isfinite(b)], b[np.isfinite(b)]
        if b.size:
            worst = max(worst, float(np.abs(a - b).max()) / max(np.abs(b).max(), 1e-12))
    return worst


def compare(proto: onnx.ModelProto, inputs: dict) -> float:
    return difference(run_torch(to_torch(proto), inputs), run_onnx(proto, inputs))


def one_op(op, opset, inputs, constants=None, outputs=1, **attrs):
    """A model of one node; ``inputs`` are arrays fed at run time, ``constants`` initializers.

    Node inputs are the keys of both in the order i0, i1, ...; a missing number is left out.
    """
    constants = constants or {}
    count = 1 + max(int(name[1:]) for name in [*inputs, *constants])
    names = [f"i{k}" if f"i{k}" in inputs or f"i{k}" in constants else "" for k in range(count)]
    results = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(op, names, results, name="node", **attrs)
    graph = helper.make_graph(
        [node],
        op,
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for name, array in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in results],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in constants.items()],
    )
    for value in graph.output:
        value.ClearField("type")
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def text_model(text: str) -> onnx.ModelProto:
    proto = onnx.parser.parse_model(text)
    onnx.checker.check_model(proto)
    return proto


def randomise(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Give norms statistics and affine terms that a mistake would show on."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, torch.nn.modules.batchnorm._BatchNorm):
                part.running_mean.normal_(0, 0.1, generator=generator)
                part.running_var.uniform_(0.5, 1.5, generator=generator)
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.1, generator=generator)
    return module


def f32(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)
