"""A large model all of whose sizes are fixed is run on all of its examples at once."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

import spa
from spa.graph import execute, read, stages, weightless
from spa.pruning.proof import outputs


def chain(widths=(64, 128, 128, 32)) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for i, (n, m) in enumerate(zip(widths, widths[1:], strict=False)):
        value = rng.standard_normal((n, m)).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(value, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"h{i}"]))
        nodes.append(helper.make_node("Relu", [f"h{i}"], [f"x{i + 1}"]))
    info = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3, width])
        for name, width in (("x0", widths[0]), (f"x{len(widths) - 1}", widths[-1]))
    ]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_all_examples_go_through_a_large_model_together(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "MAX_HELD_BYTES", 0)  # so that no weight is held
    monkeypatch.setattr(weightless, "LARGE", 256)
    monkeypatch.setattr(stages, "STAGE_BYTES", 10_000)
    gone: list[int] = []
    run = execute.run_in_stages

    def counted(proto, inputs, *args, **more):
        gone.append(len(inputs))
        return run(proto, inputs, *args, **more)

    onnx.save(chain(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    model = spa.load(tmp_path / "m.onnx")
    groups = spa.find_groups(model)
    plan = spa.make_plan(groups, spa.score(model, groups, "l1"), spa.Target(ratio=0.5))
    pruned = spa.apply_plan(model, plan, groups)
    monkeypatch.setattr(execute, "run_in_stages", counted)
    proof = spa.verify(model, pruned, plan, groups)
    assert proof.equal
    assert outputs.FIXED_RUNS in gone  # the dense model, in stages, for all of its runs
    assert gone.count(1) <= 1  # and once more to look inside
