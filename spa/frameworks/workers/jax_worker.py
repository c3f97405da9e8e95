"""JAX's side: Flax (nnx) networks, as ``NAME.npz`` with ``NAME.json`` beside it.

The first holds the arrays of the network's state by their paths, the second says what builds the
network. Flax has pictures as (N, H, W, C). What comes from outside is (N, C, H, W), and is turned
here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flax_plugins
import flax_pools
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import optax
from common import (
    Orders,
    Refusal,
    absolute,
    all_rates,
    builder,
    channels_last,
    epochs,
    examples,
    fitting,
    is_plain,
    main,
    new_values,
    send_outputs,
    send_variables,
    stored_builder,
    taken,
    tell,
    without,
    woken,
)  # fmt: skip
from flax import nnx
from flax_convolutions import quicken
from flax_linen import as_nnx
from jax2onnx import to_onnx

OPSET = 23
flax_pools.mend()
flax_plugins.thin()
# Variables that are kept in files.
WEIGHTS = (nnx.Param, nnx.BatchStat)
FORWARD = nnx.jit(lambda model, *inputs: model(*inputs))
# Parts of a path that say what a vector of a norm is, and whether it must be positive.
NORM_VECTORS = {"scale": True, "var": True, "bias": False, "mean": False}


def build(orders: Orders) -> None:
    """Makes a network with random weights."""
    _hurry()
    spec = orders.spec
    channels, *sizes = spec["shape"]
    about = {
        "builder": absolute(spec["builder"]),
        "arguments": spec["arguments"],
        "input_shape": [*sizes, channels],
    }
    model = _filled(about, spec["weights"]) if spec["weights"] else _made(about, spec["seed"])
    _save(model, about, spec["model"])


def train(orders: Orders) -> None:
    """A jitted step of optax, on batches as they are handed over."""
    spec = orders.spec
    model, about = _load(spec["model"])
    model.train()
    quicken(model)
    smoothing = spec["label_smoothing"]
    rates = jnp.asarray(all_rates(spec["feed"]), jnp.float32)
    optimizer = nnx.Optimizer(model, _descent(spec, lambda step: rates[step]), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any, x: Any, y: Any) -> Any:
        def loss_of(model: Any) -> Any:
            logits = model(x)
            hot = optax.smooth_labels(jax.nn.one_hot(y, logits.shape[-1]), smoothing)
            return optax.softmax_cross_entropy(logits, hot).mean(), logits

        (loss, logits), gradients = nnx.value_and_grad(loss_of, has_aux=True)(model)
        optimizer.update(model, gradients)
        return loss, logits.argmax(1)

    for number, (batches, epoch_rates) in enumerate(epochs(spec["feed"])):
        total, right, seen = 0.0, 0, 0
        for x, y in batches:
            loss, found = step(model, optimizer, channels_last(x), y)
            total += float(loss) * len(y)
            right += int((np.asarray(found) == y).sum())
            seen += len(y)
        tell(epoch=number + 1, loss=total / seen, accuracy=right / seen, lr=epoch_rates[-1])
    _save(model, about, spec["out"])


def predict(orders: Orders) -> None:
    """Outputs for inputs x (N, C, H, W)."""
    model, _ = _load(orders.spec["model"])
    model.eval()
    x = orders.array("x")
    parts = [FORWARD(model, channels_last(x[i : i + 256])) for i in range(0, len(x), 256)]
    orders.send("y", np.concatenate([np.asarray(part) for part in parts]))


def export(orders: Orders) -> dict[str, Any]:
    """Writes the model as ONNX, with its own outputs on the examples for the gate.

    Where norms are as they were made, another file with random ones is written for the gate too.
    """
    _hurry()
    spec = orders.spec
    model, about = _load(spec["model"])
    model.eval()
    given = examples(orders, _shapes_of(spec, about))
    leaves = _leaves(model)
    norms = {
        path: leaf
        for path, leaf in leaves.items()
        if path.rpartition("/")[2] in NORM_VECTORS and leaf.ndim == 1
    }
    plain = any(is_plain(np.asarray(leaf)) for leaf in norms.values())
    if plain:
        rng = np.random.default_rng(0)
        fresh = {p: woken(np.asarray(leaf), rng, NORM_VECTORS[p.rpartition("/")[2]])
                 for p, leaf in norms.items()}  # fmt: skip
        _fill(model, {**leaves, **fresh})
        _export(model, orders, given, "probe")
        _fill(model, leaves)
    _export(model, orders, given, "model")
    return {"probed": plain}


def mark(orders: Orders) -> dict[str, Any]:
    """Exports the model with random values in all variables, and sends these."""
    _hurry()
    model, about = _load(orders.spec["model"])
    model.eval()
    given = examples(orders, _shapes_of(orders.spec, about))
    rng = np.random.default_rng(1)
    marked = {
        path: np.abs(rng.standard_normal(leaf.shape)).astype(leaf.dtype) + 0.1
        for path, leaf in _leaves(model).items()
    }
    _fill(model, marked)
    _export(model, orders, given, "marked")
    return send_variables(orders, marked)


def shrink(orders: Orders) -> None:
    """Cuts variables, and tells layers their new sizes, which are kept beside the file."""
    _hurry()
    spec = orders.spec
    model, about = _load(spec["model"])
    leaves = _leaves(model)
    for path, removed in spec["removed"].items():
        leaves[path] = jnp.asarray(without(np.asarray(leaves[path]), removed))
    leaves.update((path, jnp.asarray(value)) for path, value in new_values(orders).items())
    fields = dict(about.get("fields", {}))
    for path, part in nnx.iter_modules(model):
        key = "/".join(map(str, path))
        kernel = leaves.get(f"{key}/kernel" if key else "kernel")
        vector = leaves.get(f"{key}/scale" if key else "scale")
        new = _sizes(part, kernel, vector, spec["groups"].get(f"{key}/kernel"))
        if new:
            fields[key] = new
    about = {**about, "fields": fields}
    _resize(model, fields)
    _fill(model, leaves)
    model.eval()
    given = examples(orders, _shapes_of(spec, about))
    _send_outputs(model, orders, given, "model")
    _save(model, about, spec["out"])


def _hurry() -> None:
    """What is run once or twice is compiled as it stands: to make it fast takes far longer."""
    jax.config.update("jax_disable_most_optimizations", True)


def _sizes(part: Any, kernel: Any, vector: Any, groups: int | None) -> dict[str, int]:
    """Fields of a Flax layer that say sizes, from the shapes of its variables."""
    if isinstance(part, nnx.Conv) and kernel is not None:  # (k..., I/g, O)
        count = part.feature_group_count if groups is None else groups
        inputs, outputs = kernel.shape[-2] * count, kernel.shape[-1]
        return {"in_features": inputs, "out_features": outputs, "feature_group_count": count}
    if isinstance(part, nnx.Linear) and kernel is not None:
        return {"in_features": kernel.shape[0], "out_features": kernel.shape[1]}
    if isinstance(part, (nnx.BatchNorm, nnx.LayerNorm, nnx.RMSNorm)) and vector is not None:
        return {"num_features": vector.shape[0]}
    return {}


def _resize(model: Any, fields: dict[str, Any]) -> None:
    for path, part in nnx.iter_modules(model):
        for name, value in fields.get("/".join(map(str, path)), {}).items():
            setattr(part, name, value)


def _export(model: Any, orders: Orders, given: Any, stem: str) -> None:
    """Shapes within that the exporter leaves stale are dropped; weights come into the one file."""
    first = orders.spec["channels_first"]
    turned = _send_outputs(model, orders, given, stem)
    inputs = [("batch", *array.shape[1:]) for array in turned[0]]
    pictures = [i for i, array in enumerate(turned[0]) if first and array.ndim == 4]
    # A folder of its own: it refuses to write data where some lie already.
    folder = Path(orders.spec["onnx"]) / f"{stem}-written"
    folder.mkdir()
    path = folder / "model.onnx"
    to_onnx(model, inputs=inputs, opset=OPSET, inputs_as_nchw=pictures or None,
            return_mode="file", output_path=str(path))  # fmt: skip
    written = onnx.load(path)
    del written.graph.value_info[:]
    onnx.save(written, Path(orders.spec["onnx"]) / f"{stem}.onnx")


def _send_outputs(model: Any, orders: Orders, given: Any, stem: str) -> list[Any]:
    """Sends what a model makes of the examples; returns these as the model takes them."""
    first = orders.spec["channels_first"]
    turned = [[channels_last(a) if first else a for a in example] for example in given]
    for i, example in enumerate(turned):
        outputs = jax.tree.leaves(FORWARD(model, *example))
        send_outputs(orders, stem, i, [np.asarray(array) for array in outputs])
    return turned


def _shapes_of(spec: dict[str, Any], about: dict[str, Any]) -> Any:
    """Shapes of examples, without the batch: those given, or what the network was built for."""
    if spec["shapes"] is not None:
        return spec["shapes"]
    if not about:
        raise Refusal("a Flax module does not say what it takes; give its input's shape")
    *sizes, channels = about["input_shape"]
    return [(channels, *sizes) if spec["channels_first"] else (*sizes, channels)]


def _descent(spec: dict[str, Any], rate: Any) -> Any:
    clip = [] if spec["clip"] is None else [optax.clip_by_global_norm(spec["clip"])]
    if spec["optimizer"] == "adamw":
        return optax.chain(*clip, optax.adamw(rate, weight_decay=spec["weight_decay"]))
    decay = optax.add_decayed_weights(spec["weight_decay"])
    return optax.chain(*clip, decay, optax.sgd(rate, momentum=spec["momentum"]))


def _made(about: dict[str, Any], seed: int) -> Any:
    function = stored_builder(about["builder"], "The model")
    arguments = taken(function, about["arguments"], input_shape=tuple(about["input_shape"]))
    model = function(rngs=nnx.Rngs(seed), **arguments)
    return _checked(model, about["builder"])


def _filled(about: dict[str, Any], path: str | Path) -> Any:
    """A network with the arrays of a file. Random ones are not drawn first: that takes long."""
    try:
        model = nnx.eval_shape(lambda: _made(about, 0))
        if nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Any(*WEIGHTS, nnx.RngState)))):
            model = _made(about, 0)  # it holds more, whose values are in no file
    except jax.errors.JAXTypeError:  # its builder looks at values
        model = _made(about, 0)
    shapes = {key: leaf.shape for key, leaf in _leaves(model).items()}
    if about.get("fields"):  # it was made smaller than its builder makes it
        _resize(model, about["fields"])
        with np.load(path, allow_pickle=False) as arrays:
            shapes.update((key, arrays[key].shape) for key in shapes.keys() & set(arrays.files))
    _fill(model, fitting(path, shapes))
    streams = nnx.to_flat_state(nnx.state(model, nnx.RngState))
    fresh = [
        (path, leaf.replace(jax.random.fold_in(jax.random.key(0), i)))
        if isinstance(leaf, nnx.RngKey)
        else (path, leaf.replace(jnp.zeros((), jnp.uint32)))
        for i, (path, leaf) in enumerate(streams)
    ]
    nnx.update(model, nnx.from_flat_state(fresh))
    return model


def _checked(model: Any, source: str) -> Any:
    if not isinstance(model, nnx.Module):
        raise Refusal(
            f"{source} made a {type(model).__name__}, neither a flax.nnx.Module nor a module of "
            "flax.linen with its variables"
        )
    return model


def _leaves(model: Any) -> dict[str, Any]:
    """Arrays of a network's state by their paths; random streams left out."""
    state = nnx.state(model, nnx.Any(*WEIGHTS))
    flat = nnx.to_flat_state(state)
    return {"/".join(map(str, path)): leaf.get_value() for path, leaf in flat}


def _fill(model: Any, leaves: dict[str, Any]) -> None:
    """Puts arrays into a network's state, in place."""
    state = nnx.state(model, nnx.Any(*WEIGHTS))
    flat = [
        (path, leaf.replace(jnp.asarray(leaves["/".join(map(str, path))])))
        for path, leaf in nnx.to_flat_state(state)
    ]
    nnx.update(model, nnx.from_flat_state(flat))


def _save(model: Any, about: dict[str, Any], path: str | Path) -> None:
    leaves: dict[str, Any] = {key: np.asarray(value) for key, value in _leaves(model).items()}
    np.savez(path, **leaves)
    Path(path).with_suffix(".json").write_text(json.dumps(about, indent=1))


def _load(path: str | Path) -> Any:
    if ":" in Path(path).name and not Path(path).exists():
        return _checked(as_nnx(builder(str(path))(), str(path)), str(path)), {}
    about = Path(path).with_suffix(".json")
    if not about.is_file():
        raise Refusal(f"no {about.name} lies beside {path}; it says what builds the network")
    known = json.loads(about.read_text())
    return _filled(known, path), known


if __name__ == "__main__":
    main(build, train, export, predict, mark, shrink)
