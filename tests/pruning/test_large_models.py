"""Models over 2 GB, which protobuf cannot hold as one file, through the command and the library.

Minutes each, and 11 GiB of memory for the one that is held, so they run in ``make test-all`` alone.
What has to do with the size only is tested on small models in tests/graph/test_weightless.py,
tests/pruning/test_deferred_weights.py and tests/cli/test_outputs.py.
"""

import json
import resource

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import spa
from spa.cli.main import main

pytestmark = pytest.mark.long

GIB = 2**30
WIDTH, HIDDEN = 4096, 65536
SHAPES = {"w0": (WIDTH, HIDDEN), "w1": (HIDDEN, WIDTH), "w2": (WIDTH, WIDTH), "b0": (HIDDEN,)}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three matrices in two external files, 2.2 GB, written without ever holding them."""
    folder = tmp_path_factory.mktemp("large")
    block = np.random.default_rng(0).standard_normal(2**22 + 7).astype(np.float32) / 64
    weights = []
    for name, shape in SHAPES.items():
        file = "first.bin" if name == "w0" else "others.bin"
        count = int(np.prod(shape))
        with (folder / file).open("ab") as stream:
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            entries = {"location": file, "offset": stream.tell(), "length": 4 * count}
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            tensor.data_location = TensorProto.EXTERNAL
            weights.append(tensor)
            for start in range(0, count, block.size):
                block[: count - start].tofile(stream)
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["h0"]),
        helper.make_node("Add", ["h0", "b0"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["h2"]),
        helper.make_node("MatMul", ["h2", "w1"], ["h3"]),
        helper.make_node("MatMul", ["h3", "w2"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", WIDTH]) for n in ("x", "y"))
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    (folder / "large.onnx").write_bytes(proto.SerializeToString())
    return folder / "large.onnx"


@pytest.fixture(scope="module", autouse=True)
def _memory():
    """The test process stays below what CI has by far."""
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"\npeak memory {peak / GIB:.1f} GiB")
    assert peak < 14 * GIB


def _expected(path, plan, x):
    """The zeroed model's output by NumPy alone, from the input's files."""
    arrays = {}
    for tensor in onnx.load(path, load_external_data=False).graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        arrays[tensor.name] = np.memmap(
            path.parent / entries["location"], np.float32, "r", int(entries["offset"]),
            tuple(tensor.dims),
        )  # fmt: skip
    gone = {(entry["name"], entry["axis"]): entry["removed"] for entry in plan["parameters"]}
    hidden = np.maximum(x @ arrays["w0"] + arrays["b0"], 0)
    hidden[:, gone["w0", 1]] = 0
    assert gone["w0", 1] == gone["b0", 0] == gone["w1", 0]
    y = hidden @ arrays["w1"]
    y[:, gone.get(("w1", 1), [])] = 0
    assert gone.get(("w1", 1)) == gone.get(("w2", 0))
    return y @ arrays["w2"]


def _run(path, x):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": x})
    return y


@pytest.mark.parametrize(
    ("target", "files"),
    [(("--ratio", "0.01"), {"o.onnx", "o.onnx.data", "plan.json"}),
     (("--rf", "2"), {"o.onnx", "plan.json"})],
)  # fmt: skip
def test_over_two_gigabytes(large, tmp_path, capfd, target, files):
    """What stays over 2 GB has its weights beside it again; what does not is one file."""
    out, plan = tmp_path / "o.onnx", tmp_path / "plan.json"
    code = main(["prune", str(large), "-o", str(out), "--plan", str(plan), "--json", *target])
    assert code == 0, capfd.readouterr().err
    document = json.loads(capfd.readouterr().out)
    assert document["proof"]["equal"] is True
    assert {path.name for path in tmp_path.iterdir()} == files
    assert sum(path.stat().st_size for path in tmp_path.glob("o.*")) == pytest.approx(
        4 * document["params"]["pruned"], rel=1e-3
    )
    x = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)
    want, have = _expected(large, json.loads(plan.read_text()), x), _run(out, x)
    np.testing.assert_allclose(have, want, atol=1e-4 * np.abs(want).max())


def test_a_large_model_in_memory(large):
    """Without a file there is a hash all the same, and two steps give weights to two models."""
    proto = onnx.load(large)
    model = spa.load(proto)
    assert len(model.sha256) == 64
    result = spa.prune(model, rf=1.05, steps=2, verify=False)
    assert result.reached.rf == pytest.approx(1.05, rel=0.01)
    assert result.plan.model == model.sha256
