"""Gradients for criteria, through the PyTorch bridge.

The loss is cross-entropy on labelled data. Without data, inputs are normal noise and the labels are
the model's own predictions; a model whose output is no row of class scores gets half the mean
square of its outputs as its loss. Batch norm uses batch statistics, as it does in training, so that
a fresh network's signals stay in range; the model itself is not changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from spa.errors import MissingExtra, SettingError
from spa.graph.model import Array, Model
from spa.graph.read import first_line
from spa.importance.registry import SEEDS, Context

if TYPE_CHECKING:
    import torch

    from spa.bridge import OnnxModule

Gradients = dict[str, npt.NDArray[np.float64]]

NOISE_BATCH = 64


def gradients(model: Model, context: Context) -> Gradients:
    """dL/dw of every weight, by name and in the ONNX layout.

    Raises:
        BridgeError: the graph has an operator that the bridge lacks.
        MissingExtra: PyTorch is not installed.
        SettingError: the data does not fit the model.
    """
    net = _open(model)
    import torch

    weights = _trainable(net)
    loss = _loss(model, net, context, temperature=1.0)
    first = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
    return _as_arrays(model, weights, first)


def hessian_gradient_products(model: Model, context: Context, temperature: float) -> Gradients:
    """H g of every weight: the gradient of g (stopped) times g; see `gradients` for errors.

    Args:
        model: the model.
        context: data and seed.
        temperature: what the class scores are divided by.
    """
    net = _open(model)
    import torch

    weights = _trainable(net)
    loss = _loss(model, net, context, temperature)
    first = torch.autograd.grad(loss, list(weights.values()), create_graph=True, allow_unused=True)
    products = [(g.detach() * g).sum() for g in first if g is not None and g.requires_grad]
    if not products:  # a loss that is linear in every weight has no curvature
        return _as_arrays(model, weights, [None] * len(weights))
    total = torch.stack(products).sum()
    second = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
    return _as_arrays(model, weights, second)


def _open(model: Model) -> OnnxModule:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtra("PyTorch", "torch", "A criterion with gradients") from error
    from spa.bridge import to_torch

    net = to_torch(model.proto)
    net.eval()
    for step in net.steps:
        if step.op == "BatchNormalization":
            step.run.train()
    return net


def _trainable(net: OnnxModule) -> dict[str, torch.nn.Parameter]:
    return {name: weight for name, weight in net.weights.items() if weight.requires_grad}


def _loss(model: Model, net: OnnxModule, context: Context, temperature: float) -> torch.Tensor:
    import torch

    inputs, labels = _batch(model, context)
    try:
        outputs = net(*(torch.from_numpy(x) for x in inputs))
    except RuntimeError as error:
        if labels is None:
            raise
        raise SettingError(
            f"The model does not run on data of shape {inputs[0].shape}: {first_line(error)}"
        ) from error
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    if first.ndim != 2 or first.shape[1] < 2:
        if labels is not None:
            raise SettingError(
                f'Labels were given, but output "{model.graph.outputs[0]}" has shape '
                f"{tuple(first.shape)}; class scores of shape (N, classes) are needed."
            )
        every = outputs if isinstance(outputs, tuple) else (outputs,)
        floating = [y for y in every if y.is_floating_point()]
        return 0.5 * sum((y.square().mean() for y in floating), torch.zeros(()))
    classes = first.shape[1]
    if labels is None:
        target = first.detach().argmax(dim=1)
    elif labels.shape[0] != first.shape[0] or not 0 <= labels.min() <= labels.max() < classes:
        raise SettingError(
            f"Labels must be {first.shape[0]} integers from 0 to {classes - 1}; got "
            f"{labels.shape[0]} from {labels.min()} to {labels.max()}."
        )
    else:
        target = torch.from_numpy(labels.astype(np.int64))
    return torch.nn.functional.cross_entropy(first / temperature, target)


def _batch(model: Model, context: Context) -> tuple[list[Array], npt.NDArray[np.int64] | None]:
    if context.data is not None:
        if len(model.graph.inputs) != 1:
            raise SettingError(
                f"Labelled data goes to models of one input; this one has "
                f"{len(model.graph.inputs)}: {', '.join(model.graph.inputs)}."
            )
        x, y = context.data
        want, (declared,) = model.example[model.graph.inputs[0]], model.declared
        # A batch size that the file fixes need not hold for the module.
        fits = x.ndim == want.ndim and declared.takes((*want.shape[:1], *x.shape[1:]))
        if not fits or x.shape[0] != len(y):
            raise SettingError(
                f"Data of shape {x.shape} with {len(y)} labels does not fit input "
                f"{declared.describe()} (the first axis is the batch, ? is free)."
            )
        return [np.array(x, dtype=want.dtype)], np.asarray(y)
    rng = np.random.default_rng(context.seed % SEEDS)
    noise = []
    for declared in model.declared:
        example = model.example[declared.name]
        shape = list(example.shape)
        if shape and declared.dims[0] is None:
            shape[0] = NOISE_BATCH
        if example.dtype.kind == "f":
            noise.append(rng.standard_normal(shape).astype(example.dtype))
        else:
            noise.append(np.resize(example, shape))
    return noise, None


def _as_arrays(
    model: Model,
    weights: dict[str, torch.nn.Parameter],
    values: Sequence[torch.Tensor | None],
) -> Gradients:
    """By name; what the bridge read through Identity nodes gets its readers' sum too."""
    result: Gradients = {}
    for (name, weight), value in zip(weights.items(), values, strict=True):
        array = np.zeros(tuple(weight.shape)) if value is None else value.detach().double().numpy()
        result[name] = array
        root = model.root(name)
        if root != name and root not in weights:
            result[root] = result.get(root, 0.0) + array
    return result
