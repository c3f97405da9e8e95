"""TensorFlow's side: Keras networks as ``NAME.keras``; saved models (folders) are exported too.

``NAME.json`` beside the first, where it is there, says what built it: layers of one's own come from
that code.
Keras has pictures as (N, H, W, C). What comes from outside is (N, C, H, W), and is turned here.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from common import (
    Orders,
    Refusal,
    absolute,
    builder,
    channels_last,
    epochs,
    examples,
    fitting,
    is_allowed,
    is_plain,
    main,
    new_values,
    send_outputs,
    send_variables,
    smooth,
    stored_builder,
    taken,
    tell,
    woken,
)  # fmt: skip
from keras_fusing import keep_nodes, norms_as_nodes
from keras_norms import exported, mark_all, put, restore, told_apart
from keras_recurrent import unrolled
from keras_shrinking import shrunk
from saved_model_deeds import deeds_of
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

OPSET = 15
# On CPUs where TensorFlow does without oneDNN it joins a convolution with its bias to an operator
# that knows no groups, and then refuses to run it.
tf.config.optimizer.set_experimental_options({"remapping": False})


def build(orders: Orders) -> None:
    """Makes a network; Keras gives it random weights."""
    spec = orders.spec
    keras.utils.set_random_seed(spec["seed"])
    channels, *sizes = spec["shape"]
    function = builder(spec["builder"])
    model = function(**taken(function, spec["arguments"], input_shape=(*sizes, channels)))
    if not isinstance(model, keras.Model):
        raise Refusal(f"{spec['builder']} made a {type(model).__name__}, not a keras.Model")
    if spec["weights"]:
        arrays = fitting(spec["weights"], {v.path: v.shape for v in model.weights})
        for variable in model.weights:
            variable.assign(arrays[variable.path])
    _save(model, {"builder": absolute(spec["builder"])}, spec["model"])


def train(orders: Orders) -> None:
    """Keras's own ``fit``, on batches as they are handed over."""
    spec = orders.spec
    model, about = _load(spec["model"])
    decay = {"weight_decay": spec["weight_decay"], "global_clipnorm": spec["clip"]}
    if spec["optimizer"] == "adamw":
        optimizer = keras.optimizers.AdamW(**decay)
    else:
        # Coupled weight decay, as sgd has it elsewhere; Keras's own shrinks weights apart from it.
        _regularize(model, decay.pop("weight_decay"))
        optimizer = keras.optimizers.SGD(momentum=spec["momentum"], **decay)
    classes = model.output_shape[-1]
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        # The loss that is reported leaves weight decay out.
        metrics=["accuracy", keras.metrics.CategoricalCrossentropy("entropy", from_logits=True)],
    )
    for number, (batches, rates) in enumerate(epochs(spec["feed"])):
        rows = ((channels_last(x), smooth(y, classes, spec["label_smoothing"])) for x, y in batches)
        history = model.fit(
            rows, steps_per_epoch=len(rates), callbacks=[_Rates(rates)], verbose=0, shuffle=False
        ).history
        loss, accuracy = history["entropy"][0], history["accuracy"][0]
        tell(epoch=number + 1, loss=loss, accuracy=accuracy, lr=rates[-1])
    _save(model, about, spec["out"])


def predict(orders: Orders) -> None:
    """Outputs for inputs x (N, C, H, W)."""
    model, _ = _load(orders.spec["model"])
    orders.send("y", model.predict(channels_last(orders.array("x")), verbose=0))


def export(orders: Orders) -> dict[str, Any]:
    """Writes the model as ONNX, with its own outputs on the examples for the gate.

    Where norms are as they were made, another file with random ones is written for the gate too.
    """
    spec = orders.spec
    path = Path(spec["model"])
    if path.is_dir():
        function = _served(path, spec["trust"])
        _export(orders, function, "model", examples(orders, _shapes_of(spec, function)))
        return {"probed": False}
    model, _ = _load(path)
    function = _function(model)
    given = examples(orders, _shapes_of(spec, function))
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, _NORMS)]
    vectors = [(v, "variance" in v.name or "gamma" in v.name) for n in norms for v in n.variables]
    vectors = [(v, positive) for v, positive in vectors if len(v.shape) == 1]
    plain = any(is_plain(np.asarray(v)) for v, _ in vectors)
    if plain:
        kept = [np.asarray(v) for v, _ in vectors]
        rng = np.random.default_rng(0)
        for v, positive in vectors:
            v.assign(woken(np.asarray(v), rng, positive))
        _export(orders, _function(model), "probe", given)
        for (v, _), value in zip(vectors, kept, strict=True):
            v.assign(value)
    old = told_apart(model)
    _export(orders, _function(model), "model", given)
    restore(model, old)
    return {"probed": plain}


def mark(orders: Orders) -> dict[str, Any]:
    """Exports the model with random values in all variables, and sends what it may show of them."""
    model, _ = _load(orders.spec["model"])
    function = _function(model)
    given = examples(orders, _shapes_of(orders.spec, function))
    mark_all(model)
    _export(orders, _function(model), "marked", given)
    return send_variables(orders, exported(model))


def shrink(orders: Orders) -> None:
    """Makes the model anew with smaller layers."""
    spec = orders.spec
    model, about = _load(spec["model"])
    given = examples(orders, _shapes_of(spec, _function(model)))
    first = spec["channels_first"]
    turned = [[channels_last(a) if first else a for a in example] for example in given]
    smaller = shrunk(model, spec["removed"], spec["groups"], turned[0])
    put(smaller, model, new_values(orders), set(spec["scaled"]))
    _save(smaller, about, spec["out"])
    # What lies in the file is what is judged.
    smaller, _ = _load(spec["out"])
    for i, example in enumerate(turned):
        outputs = smaller(example if len(example) > 1 else example[0], training=False)
        send_outputs(orders, "model", i, [np.asarray(t) for t in tf.nest.flatten(outputs)])


_NORMS = (keras.layers.BatchNormalization, keras.layers.LayerNormalization,
          keras.layers.GroupNormalization)  # fmt: skip


def _save(model: Any, about: dict[str, Any], path: str | Path) -> None:
    model.save(str(path))
    if about:
        Path(path).with_suffix(".json").write_text(json.dumps(about, indent=1))


def _load(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """A .keras file, and what built it where that is known; code in the file itself is not run."""
    if Path(path).is_dir():
        raise Refusal(
            f"{path} is a saved model: a graph without the layers that could be made smaller. It "
            "is exported and pruned as ONNX; write OUT.onnx"
        )
    if not str(path).endswith(".keras"):
        raise Refusal(f"{path} is no .keras file and no folder with a saved model")
    beside = Path(path).with_suffix(".json")
    about = json.loads(beside.read_text()) if beside.is_file() else {}
    if about and is_allowed(about["builder"]):
        builder(about["builder"])  # it registers its layers
    try:
        return keras.models.load_model(str(path), safe_mode=True), about
    except TypeError:
        if about:
            stored_builder(about["builder"], path)  # says what is missing
        raise


def _served(path: Path, trust: bool) -> Any:
    """What a saved model serves; one that does more than compute is run where that was asked for.

    What optimizers of older Kerases kept beside each weight is left out: newer ones cannot load it.
    """
    stored = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    deeds = [] if trust else deeds_of(stored.meta_graphs[0])
    if deeds:
        raise Refusal(
            f"the graph of {path} would do more than compute ({', '.join(deeds)}): it may read and "
            "write files or run code. It was not run; --trust lets it, if you trust who made it"
        )
    for node in stored.meta_graphs[0].object_graph_def.nodes:
        del node.slot_variables[:]
    with tempfile.TemporaryDirectory() as folder:
        for part in path.resolve().iterdir():
            (Path(folder) / part.name).symlink_to(part)
        (Path(folder) / "saved_model.pb").unlink()
        (Path(folder) / "saved_model.pb").write_bytes(stored.SerializeToString())
        loaded = tf.saved_model.load(folder)
    if "serving_default" not in loaded.signatures:
        known = ", ".join(sorted(loaded.signatures)) or "none"
        raise Refusal(
            f'{path} has no signature "serving_default", which is exported (has: {known})'
        )
    function = loaded.signatures["serving_default"]
    function.keeps = loaded  # its variables, which it only refers to
    return function


def _function(model: Any) -> Any:
    """What a model computes when it is not trained, with a free batch."""
    specs = [
        tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype, name=f"input_{i}")
        for i, tensor in enumerate(model.inputs)
    ]
    if len(specs) == 1:
        specs[0] = tf.TensorSpec(specs[0].shape, specs[0].dtype, name="input")

    @tf.function(input_signature=specs)
    def forward(*inputs: Any) -> Any:
        return model(list(inputs) if len(inputs) > 1 else inputs[0], training=False)

    # Keras compiles grouped convolutions as functions of their own, which the exporter cannot look
    # into; so they are traced as if they were none.
    tf.config.run_functions_eagerly(True)
    try:
        with norms_as_nodes(), unrolled(model):
            return forward.get_concrete_function()
    finally:
        tf.config.run_functions_eagerly(False)


def _shapes_of(spec: dict[str, Any], function: Any) -> Any:
    """Shapes of examples, without the batch: those given, or those that the model has."""
    if spec["shapes"] is not None:
        return spec["shapes"]
    shapes = [tuple(t.shape)[1:] for t in _inputs(function)]
    if any(size is None for shape in shapes for size in shape):
        raise Refusal(f"sizes of the model's inputs are free {shapes}; give them")
    if spec["channels_first"]:
        shapes = [(s[-1], *s[:-1]) if len(s) == 3 else s for s in shapes]
    return shapes


def _inputs(function: Any) -> list[Any]:
    """What a function takes, without what it captured (variables, constants), which comes after."""
    return function.inputs[: len(function.inputs) - len(function.captured_inputs)]


def _export(orders: Orders, function: Any, stem: str, given: Any) -> None:
    """Constants that the function captured, and its variables, become weights of the file.

    tf2onnx alone makes inputs of the former, and lacks Erfc, which an exact GELU is.
    """
    first = orders.spec["channels_first"]
    for i, example in enumerate(given):
        arrays = [tf.constant(channels_last(a) if first else a) for a in example]
        by_name = sorted(function.structured_input_signature[1])  # as saved models take them
        named = dict(zip(by_name, arrays, strict=True)) if by_name else {}
        outputs = function(**named) if named else function(*arrays)
        send_outputs(orders, stem, i, [np.asarray(t) for t in tf.nest.flatten(outputs)])
    frozen = convert_variables_to_constants_v2(function)
    inputs = [tensor.name for tensor in _inputs(frozen)]
    outputs = [tensor.name for tensor in frozen.outputs]
    pictures = [t.name for t in _inputs(frozen) if first and len(t.shape) == 4]
    names = {name: name.partition(":")[0] for name in inputs}
    names |= {name: "output" if len(outputs) == 1 else f"output_{i}"
              for i, name in enumerate(outputs)}  # fmt: skip
    graph = frozen.graph.as_graph_def()
    keep_nodes()
    model, _ = tf2onnx.convert.from_graph_def(
        graph, input_names=inputs, output_names=outputs, opset=OPSET, tensors_to_rename=names,
        inputs_as_nchw=pictures, custom_op_handlers={"Erfc": (_erfc, [])},
    )  # fmt: skip
    onnx.save(model, Path(orders.spec["onnx"]) / f"{stem}.onnx")


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """Erfc(x) as 1 - Erf(x)."""
    node.type = "Erf"
    node.domain = ""
    number = tf2onnx.utils.map_onnx_to_numpy_type(ctx.get_dtype(node.output[0]))
    one = ctx.make_const(tf2onnx.utils.make_name("one"), np.array(1, number))
    after = ctx.insert_new_node_on_output("Sub", node.output[0], name=f"{name}/one_minus")
    ctx.replace_inputs(after, [one.output[0], node.output[0]])


class _Rates(keras.callbacks.Callback):
    """Sets the learning rate of every batch."""

    def __init__(self, rates: Any) -> None:
        super().__init__()
        self._rates = rates

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = self._rates[batch]


def _regularize(model: Any, decay: float) -> None:
    """Weight decay of sgd: each weight pulls at its own gradient."""
    for variable in model.trainable_variables if decay else ():
        variable.regularizer = keras.regularizers.L2(decay / 2)


if __name__ == "__main__":
    main(build, train, export, predict, mark, shrink)
