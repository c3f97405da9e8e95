"""Checks a pruned file without SPA: zero what its plan names in the dense file, run both, compare.

python docs/check.py model.onnx small.onnx plan.json [INPUT=2x3x224x224 ...]
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

dense, small, plan = onnx.load(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
shapes = {name: size.split("x") for name, _, size in (a.partition("=") for a in sys.argv[4:])}
if "weights" in plan:
    print("The plan is of refitted weights: MODEL must be the dense-shaped file that holds them.")
if any(group["removed"] and not group["exact"] for group in plan["groups"]):
    print("Norms run over channels that went: outputs may differ by what these norms changed.")

nodes = dense.graph.node
weights = {tensor.name: tensor for tensor in dense.graph.initializer}
weights |= {n.output[0]: n.attribute[0].t for n in nodes if n.op_type == "Constant"}
copies: dict[str, list[str]] = {}
for entry in plan["parameters"]:  # one may hold for some reads of a weight alone: they get a copy
    name = entry["name"]
    if name not in weights:
        sys.exit(f"{name} is made by a node, or lies in a subgraph; `spa verify` can check it.")
    for node, position in ((use["node"], use["input"]) for use in entry.get("uses", ())):
        copy = f"{name}@{node}:{position}"
        if copy not in weights:
            assert nodes[node].input[position] == name, "nodes were counted after inlining"
            dense.graph.initializer.append(weights[name])
            weights[copy] = dense.graph.initializer[-1]
            weights[copy].name = nodes[node].input[position] = copy
            copies.setdefault(name, [name]).append(copy)
for entry in plan["parameters"]:
    some = [f"{entry['name']}@{use['node']}:{use['input']}" for use in entry.get("uses", ())]
    for name in some or copies.get(entry["name"], [entry["name"]]):
        values = onnx.numpy_helper.to_array(weights[name]).copy()
        values[(slice(None),) * entry["axis"] + (entry["removed"],)] = 0
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values, weights[name].name))

a, b = ort.InferenceSession(dense.SerializeToString()), ort.InferenceSession(small)
rng, x = np.random.default_rng(0), {}
for given in a.get_inputs():
    kind = {"float": "float32", "double": "float64"}.get(given.type[7:-1], given.type[7:-1])
    sizes = shapes.get(given.name, [n if isinstance(n, int) else 2 for n in given.shape])
    random = rng.standard_normal if "float" in kind else lambda size: rng.integers(0, 2, size)
    x[given.name] = np.asarray(random([int(n) for n in sizes])).astype(kind)
pairs = zip(a.run(None, x), b.run(None, x), strict=True)
print(max(float(np.abs(p - q * 1.0).max() / max(np.abs(p).max(), 1e-30)) for p, q in pairs))
