"""MXNet's side: Gluon networks, as a symbol file and a file of parameters.

A model is the path of ``NAME-symbol.json``; ``NAME-0000.params`` lies beside it. Inputs are
(N, C, H, W), as MXNet has them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import onnx
from common import (
    Orders,
    Refusal,
    builder,
    epochs,
    examples,
    fitting,
    is_plain,
    main,
    new_values,
    send_outputs,
    send_variables,
    taken,
    tell,
    without,
    woken,
)  # fmt: skip
from mxnet import autograd, gluon

OPSET = 13
# Its exporter writes operators as they are in this opset, but checks and names them as of the
# newest that its onnx knows, where some take their axes as inputs.
onnx.checker.DEFAULT_CONTEXT.opset_imports = {"": OPSET}
# Vectors of norms by the end of their names, and whether they must be positive.
NORM_VECTORS = {"gamma": True, "running_var": True, "moving_var": True, "beta": False,
                "running_mean": False, "moving_mean": False}  # fmt: skip


def build(orders: Orders) -> None:
    """Makes a network and gives it random weights."""
    spec = orders.spec
    mx.random.seed(spec["seed"])
    np.random.seed(spec["seed"])  # Gluon's initialisers draw from both
    function = builder(spec["builder"])
    net = function(**taken(function, spec["arguments"], input_shape=tuple(spec["shape"])))
    if not isinstance(net, gluon.HybridBlock):
        raise Refusal(f"{spec['builder']} made a {type(net).__name__}, not a gluon.HybridBlock")
    net.initialize(mx.init.Xavier(rnd_type="gaussian", factor_type="in", magnitude=2))
    net.hybridize()
    net(mx.nd.zeros((1, *spec["shape"])))  # shapes follow from the first input
    if spec["weights"]:
        parameters = net._collect_params_with_prefix()  # by the names of `save_parameters`
        arrays = fitting(spec["weights"], {name: p.shape for name, p in parameters.items()})
        for name, parameter in parameters.items():
            parameter.set_data(mx.nd.array(arrays[name]))
    _save(net, spec["model"])


def train(orders: Orders) -> None:
    """Gluon's own loop: a Trainer, autograd, softmax cross-entropy."""
    spec = orders.spec
    net = _load(spec["model"])
    loss_of = gluon.loss.SoftmaxCrossEntropyLoss(sparse_label=True)
    if spec["optimizer"] != "sgd":
        raise Refusal(f"MXNet 1.9 has no {spec['optimizer']}; train with sgd")
    options = {"wd": spec["weight_decay"], "momentum": spec["momentum"]}
    trainer = gluon.Trainer(net.collect_params(), "sgd", options)
    for number, (batches, rates) in enumerate(epochs(spec["feed"])):
        total, right, seen = 0.0, 0, 0
        for (x, y), rate in zip(batches, rates, strict=True):
            trainer.set_learning_rate(rate)
            inputs, labels = mx.nd.array(x), mx.nd.array(y)
            with autograd.record():
                logits = net(inputs)
                loss = _smoothed(loss_of, logits, labels, spec["label_smoothing"])
            loss.backward()
            if spec["clip"] is not None:
                grads = [p.grad() for p in net.collect_params().values() if p.grad_req != "null"]
                gluon.utils.clip_global_norm(grads, spec["clip"] * len(y))
            trainer.step(len(y))
            total += float(loss.sum().asscalar())
            right += int((logits.argmax(axis=1) == labels).sum().asscalar())
            seen += len(y)
        tell(epoch=number + 1, loss=total / seen, accuracy=right / seen, lr=rate)
    _save(net, spec["out"])


def predict(orders: Orders) -> None:
    """Outputs for inputs x (N, C, H, W)."""
    orders.send("y", _load(orders.spec["model"])(mx.nd.array(orders.array("x"))).asnumpy())


def export(orders: Orders) -> dict[str, Any]:
    """Writes the model as ONNX, with its own outputs on the examples for the gate.

    Where norms are as they were made, another file with random ones is written for the gate too.
    """
    spec = orders.spec
    if spec["shapes"] is None:
        raise Refusal("a symbol file does not say its input's shape; give it")
    net = _load(spec["model"])
    given = examples(orders, spec["shapes"])
    norms = {n: (p, kind) for n, p in net.collect_params().items() if (kind := _kind(n))}
    plain = any(is_plain(p.data().asnumpy()) for p, _ in norms.values())
    if plain:
        kept = {name: p.data().copy() for name, (p, _) in norms.items()}
        rng = np.random.default_rng(0)
        for p, kind in norms.values():
            p.set_data(mx.nd.array(woken(p.data().asnumpy(), rng, NORM_VECTORS[kind])))
        _export(net, orders, given, "probe")
        for name, (p, _) in norms.items():
            p.set_data(kept[name])
    _export(net, orders, given, "model")
    return {"probed": plain}


def mark(orders: Orders) -> dict[str, Any]:
    """Sends the parameters; their names survive the export."""
    parameters = _load(orders.spec["model"]).collect_params()
    arrays = {name: p.data().asnumpy() for name, p in parameters.items()}
    return {**send_variables(orders, arrays), "named": True}


def shrink(orders: Orders) -> None:
    """Cuts parameters, and writes a symbol whose operators have the new sizes."""
    spec = orders.spec
    prefix, out = (spec[key][: -len("-symbol.json")] for key in ("model", "out"))
    parameters = mx.nd.load(_parameters_of(Path(spec["model"])))
    shapes, values = {}, new_values(orders)
    for key in parameters:
        name = key.partition(":")[2]
        if name in spec["removed"]:
            parameters[key] = mx.nd.array(without(parameters[key].asnumpy(), spec["removed"][name]))
        if name in values:
            parameters[key] = mx.nd.array(values[name])
        shapes[name] = parameters[key].shape
    symbol = json.loads(Path(f"{prefix}-symbol.json").read_text())
    for node in symbol["nodes"]:
        _resize(node, [symbol["nodes"][i]["name"] for i, *_ in node["inputs"]], shapes, spec)
    Path(f"{out}-symbol.json").write_text(json.dumps(symbol, indent=2))
    mx.nd.save(f"{out}-0000.params", parameters)
    net = _load(f"{out}-symbol.json")
    for i, (example,) in enumerate(examples(orders, spec["shapes"])):
        send_outputs(orders, "model", i, [net(mx.nd.array(example)).asnumpy()])


def _resize(
    node: dict[str, Any], inputs: list[str], shapes: dict[str, Any], spec: dict[str, Any]
) -> None:
    """Sizes that a symbol's operator has as attributes, from the shapes of its parameters."""
    attributes = node.get("attrs", {})
    if node["op"] == "null" and "__shape__" in attributes and node["name"] in shapes:
        attributes["__shape__"] = str(tuple(shapes[node["name"]]))
    if node["op"] == "BatchNorm" and inputs[1] in spec["values"]:
        attributes["fix_gamma"] = "False"  # the file says what it scales by, be it one
    weight = shapes.get(inputs[1]) if len(inputs) > 1 else None
    if weight is None:
        return
    if node["op"] in ("Convolution", "Deconvolution"):
        groups = spec["groups"].get(inputs[1], int(attributes.get("num_group", 1)))
        attributes["num_group"] = str(groups)
        outputs = weight[0] if node["op"] == "Convolution" else weight[1] * groups
        attributes["num_filter"] = str(outputs)
    if node["op"] == "FullyConnected":
        attributes["num_hidden"] = str(weight[0])


def _export(net: Any, orders: Orders, given: Any, stem: str) -> None:
    for i, (example,) in enumerate(given):
        send_outputs(orders, stem, i, [net(mx.nd.array(example)).asnumpy()])
    prefix = Path(orders.spec["onnx"]) / stem
    net.export(str(prefix), 0)
    symbol, parameters = mx.sym.load(f"{prefix}-symbol.json"), mx.nd.load(f"{prefix}-0000.params")
    _force_fixed_gammas(symbol, parameters)
    mx.nd.save(f"{prefix}-0000.params", parameters)
    shape = given[0][0].shape
    mx.onnx.export_model(
        f"{prefix}-symbol.json", f"{prefix}-0000.params", [shape], np.float32, f"{prefix}.onnx",
        dynamic=True, dynamic_input_shapes=[("batch", *shape[1:])],
    )  # fmt: skip
    model = onnx.load(f"{prefix}.onnx")
    model.opset_import[0].version = OPSET
    onnx.save(model, f"{prefix}.onnx")


def _force_fixed_gammas(symbol: Any, parameters: Any) -> None:
    """MXNet computes with a scale of one where ``fix_gamma`` says so; its exporter forgets that."""
    nodes = json.loads(symbol.tojson())["nodes"]
    for node in nodes:
        fixed = node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")
        if node["op"] == "BatchNorm" and fixed:
            gamma = nodes[node["inputs"][1][0]]["name"]
            parameters[f"arg:{gamma}"][:] = 1


def _kind(name: str) -> str | None:
    for kind in NORM_VECTORS:
        if name.endswith(kind):
            return kind
    return None


def _smoothed(loss_of: Any, logits: Any, labels: Any, smoothing: float) -> Any:
    loss = loss_of(logits, labels)
    if smoothing:
        even = -mx.nd.log_softmax(logits).mean(axis=1)
        loss = (1 - smoothing) * loss + smoothing * even
    return loss


def _load(path: str | Path) -> Any:
    path = Path(path)
    if not path.name.endswith("-symbol.json"):
        raise Refusal(f"{path} is no NAME-symbol.json")
    net = gluon.nn.SymbolBlock.imports(str(path), ["data"], _parameters_of(path))
    net.hybridize()
    return net


def _parameters_of(path: Path) -> str:
    """The latest file of parameters beside a symbol file."""
    found = sorted(path.parent.glob(path.name.replace("-symbol.json", "-*.params")))
    if not found:
        raise Refusal(f"no {path.name.replace('-symbol.json', '-0000.params')} lies beside {path}")
    return str(found[-1])


def _save(net: Any, path: str | Path) -> None:
    """Writes the symbol and the parameters."""
    net.export(str(path)[: -len("-symbol.json")], 0)


if __name__ == "__main__":
    main(build, train, export, predict, mark, shrink)
