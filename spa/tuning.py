"""Fine-tuning of a pruned model, whatever framework it came from.

1. The ONNX file becomes a torch module (`spa.bridge`), and is trained as a classifier on labelled
   data: AdamW, cross-entropy, learning rates along half a cosine.
2. The weights go back into the file by name, and the file is checked: it runs on ONNX Runtime at
   two batch sizes, its outputs are finite, and they are the trained module's.

A model that ends in a Softmax is trained on the logarithm of what it gives. The proof and the plan
are of the pruned model as it was before; no proof says what training should give.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from spa.errors import MissingExtra, SettingError, VerificationError
from spa.graph.example import declared_inputs
from spa.graph.execute import run_each
from spa.graph.forks import close_forks
from spa.graph.load import load_file
from spa.graph.model import Array, Model
from spa.graph.nodes import Graph
from spa.graph.read import first_line
from spa.observe.data import SEEDS
from spa.progress import Progress
from spa.pruning.result import Pruned
from spa.training.feed import Batch, Feed
from spa.training.how import Training

if TYPE_CHECKING:
    import torch

    from spa.bridge import OnnxModule

# Samples that ONNX Runtime takes at once.
RUN_BATCH = 256
# Largest difference between the tuned file and the trained module, as a share of the scale.
TOLERANCE = 1e-3
WEIGHT_DECAY, CLIP = 1e-4, 1.0


@dataclass(frozen=True)
class Tuning:
    """How long and how fast a model is fine-tuned.

    Attributes:
        epochs: how often all of the data is seen.
        lr: the first learning rate; it falls along half a cosine.
        batch: samples in a step; a batch size that the file fixes goes before.

    Raises:
        SettingError: a number has no meaning.
    """

    epochs: int = 10
    lr: float = 1e-3
    batch: int = 32

    def __post_init__(self) -> None:
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise SettingError(
                    f"The {name} of fine-tuning must be 1 or more; {getattr(self, name)} was given."
                )
        if not 0 < self.lr < math.inf:
            raise SettingError(
                f"The learning rate of fine-tuning must be above 0 and finite; {self.lr:g} was "
                "given."
            )


@dataclass(frozen=True)
class Tuned:
    """A pruned model after fine-tuning.

    Attributes:
        pruned: as it went in, with the tuned model; its plan notes what happened, its proof is of
            the model before, and it has no torch module.
        rows: one dict an epoch: epoch, loss, accuracy (of the batches as they were trained), lr.
        before: share of the training data that the pruned model labels right.
        after: the same of the tuned one.
        checks: what was checked of the tuned file, as sentences.
        seconds: wall-clock time.
    """

    pruned: Pruned
    rows: tuple[dict[str, Any], ...]
    before: float
    after: float
    checks: tuple[str, ...]
    seconds: float


def finetune(
    pruned: Pruned, x: Array, y: Array, tuning: Tuning | None = None, *, seed: int = 0
) -> Tuned:
    """Trains a pruned classifier in PyTorch; the weights come back in its ONNX model.

    Both branches of an If that was opened run on every batch. Gradients reach the one that a batch
    takes; weight decay and running statistics move both.

    Args:
        pruned: what `spa.prune` made.
        x: inputs (N, ...), as the ONNX model takes them.
        y: labels (N,), whole numbers from 0.
        tuning: how long and how fast.
        seed: of the order of the samples.

    Raises:
        SettingError: the data does not fit the model, or the loss is no longer finite.
        BridgeError: the model has an operator that the bridge to PyTorch lacks.
        MissingExtra: PyTorch is not installed.
        VerificationError: the tuned model does not run, or not as it was trained.

    Example:
        >>> result = spa.prune("model.onnx", rf=2.0)
        >>> tuned = spa.finetune(result, x, y, spa.Tuning(epochs=20))
        >>> spa.save(tuned.pruned.model, "smaller.onnx")
    """
    tuning = tuning or Tuning()
    started = time.perf_counter()
    model = load_file(pruned.model, _example(pruned.model, np.shape(x)))
    check_data(model, x, y)
    x = np.ascontiguousarray(x, dtype=model.declared[0].dtype)
    y = np.asarray(y).astype(np.int64)
    from spa.bridge import to_onnx, to_torch

    net = to_torch(model.proto)
    rows = _trained(net, model, x, y, tuning, seed % SEEDS)
    tuned = close_forks(to_onnx(net, model.proto), model.forks)
    before = _accuracy(pruned.model, model, x, y)
    checks = _checked(tuned, net, model, x)
    note = (
        f"Fine-tuned for {tuning.epochs} epochs after that: the plan, and the proof, are of the "
        "pruned model before."
    )
    plan = dataclasses.replace(pruned.plan, notes=(*pruned.plan.notes, note))
    return Tuned(
        pruned=dataclasses.replace(pruned, model=tuned, plan=plan, module=None),
        rows=tuple(rows),
        before=before,
        after=_accuracy(tuned, model, x, y),
        checks=checks,
        seconds=time.perf_counter() - started,
    )


def check_data(model: Model, x: Array, y: Array) -> None:
    """Finds out whether a model can be fine-tuned on some data.

    Args:
        model: the pruned model, or the dense one, which has the same inputs and outputs.
        x: inputs (N, ...).
        y: labels (N,).

    Raises:
        SettingError: it cannot; the message says why.
        MissingExtra: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "torch", "Fine-tuning")
    if len(model.graph.inputs) != 1:
        raise SettingError(
            "Fine-tuning takes labelled data for models of one input; this one has "
            f"{len(model.graph.inputs)}: {', '.join(model.graph.inputs)}."
        )
    x, y, (declared,) = np.asarray(x), np.asarray(y), model.declared
    fixed = declared.dims[0] if declared.dims else None
    if x.shape[0:1] != y.shape or not declared.takes((fixed or 1, *x.shape[1:])):
        raise SettingError(
            f"Data to fine-tune on, x of {x.shape} with {y.size} labels, does not fit input "
            f"{declared.describe()} (the first axis is the batch, ? is free)."
        )
    if len(x) < max(fixed or 1, 2):
        raise SettingError(
            f"Fine-tuning needs {max(fixed or 1, 2)} samples or more, but was given {len(x)}."
        )
    name = model.graph.outputs[0]
    shape = tuple(model.shapes[name])
    if len(shape) != 2 or shape[1] < 2:
        raise SettingError(
            f'Fine-tuning needs class scores of shape (N, classes), but the first output, "{name}",'
            f" has shape {shape}."
        )
    if not 0 <= y.min() <= y.max() < shape[1]:
        raise SettingError(
            f'Labels must be from 0 to {shape[1] - 1}, as output "{name}" has {shape[1]} classes; '
            f"they are from {y.min()} to {y.max()}."
        )


def _example(proto: onnx.ModelProto, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]] | None:
    """The shape of an example like the data; None where the model takes several inputs."""
    declared = declared_inputs(proto, Graph.from_proto(proto))
    if len(declared) != 1 or not declared[0].dims or not shape:
        return None
    return {declared[0].name: (declared[0].dims[0] or 2, *shape[1:])}


def _trained(
    net: OnnxModule, model: Model, x: Array, y: Array, tuning: Tuning, seed: int
) -> list[dict[str, Any]]:
    """Trains a module in place; returns the loop's rows."""
    from spa.training.loop import fit

    size = model.declared[0].dims[0] or min(tuning.batch, len(x))
    # Batch norms cannot learn from one sample, and a fixed batch is filled or not there.
    left = len(x) % size if model.declared[0].dims[0] is None else 0
    steps = len(x) // size + (left > 1)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng([seed, number]).permutation(len(x))
        for step in range(steps):
            rows = order[step * size : (step + 1) * size]
            yield x[rows], y[rows]

    def rate(epoch: int, step: int) -> float:
        done = (epoch + step / steps) / tuning.epochs
        return tuning.lr * 0.5 * (1 + math.cos(math.pi * done))

    rows: list[dict[str, Any]] = []
    with Progress("Fine-tuning (steps)", tuning.epochs * steps) as progress:

        def on_step(epoch: int, step: int) -> None:
            loss = f", loss {rows[-1]['loss']:.4g}" if rows else ""
            progress.advance(note=f"epoch {epoch + 1} of {tuning.epochs}{loss}")

        feed = Feed(epoch, rate, tuning.epochs, steps, size)
        how = Training("adamw", weight_decay=WEIGHT_DECAY, clip=CLIP)
        try:
            fit(_scored(net, model), feed, how, report=rows.append, on_step=on_step)
        except RuntimeError as error:
            raise SettingError(
                f"The model does not train on batches of {(size, *x.shape[1:])}: "
                f"{first_line(error)}"
            ) from error
    net.eval()
    return rows


def _scored(net: OnnxModule, model: Model) -> torch.nn.Module:
    """A module whose cross-entropy is that of the model's classes."""
    import torch

    last = model.graph.producers.get(model.graph.outputs[0])
    if last is None or last.op != "Softmax":
        return net

    from spa.training.objective import everything

    class Logarithm(torch.nn.Module):
        """Log of the probabilities, which log-softmax leaves as they are."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """x: (N, ...) -> (N, classes)."""
            return everything(self.net(x))[0].clamp_min(torch.finfo(torch.float32).tiny).log()

    return Logarithm()


def _accuracy(proto: onnx.ModelProto, model: Model, x: Array, y: Array) -> float:
    """Share of the data that a file labels right, on ONNX Runtime."""
    size = model.declared[0].dims[0] or RUN_BATCH
    # The last batch goes round to the beginning where the file fixes its size.
    parts = [np.arange(i, i + size) % len(x) for i in range(0, len(x), size)]
    if model.declared[0].dims[0] is None:
        parts[-1] = np.arange(len(parts) * size - size, len(x))
    found = run_each(proto, [{model.declared[0].name: x[rows]} for rows in parts])
    guessed = np.concatenate([outputs[0].argmax(1) for outputs in found])[: len(x)]
    return float((guessed == y).mean())


def _checked(proto: onnx.ModelProto, net: OnnxModule, model: Model, x: Array) -> tuple[str, ...]:
    """Runs the tuned file.

    Raises:
        VerificationError: its outputs are not finite, or not those of the trained module.
    """
    import torch

    from spa.training.objective import everything

    (declared,) = model.declared
    sizes = [2, 3] if declared.dims[0] is None else [declared.dims[0]]
    examples = [np.resize(x, (size, *x.shape[1:])) for size in sizes]
    found = run_each(proto, [{declared.name: example} for example in examples])
    worst = 0.0
    for example, outputs in zip(examples, found, strict=True):
        for name, value in zip(model.graph.outputs, outputs, strict=True):
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise VerificationError(
                    f'Output "{name}" of the fine-tuned model is not finite on the data; a smaller '
                    "learning rate may help."
                )
        with torch.no_grad():
            want = everything(net(torch.from_numpy(example)))[0].numpy()
        worst = max(worst, float(np.abs(outputs[0] - want).max() / (np.abs(want).max() or 1)))
    if not worst <= TOLERANCE:
        raise VerificationError(
            f"The fine-tuned model's outputs differ from the trained module's by {worst:.1e} of "
            f"their scale, where {TOLERANCE:g} is allowed; please report it."
        )
    shapes = " and ".join("x".join(map(str, example.shape)) for example in examples)
    return (
        f"fine-tuned: runs on ONNX Runtime ({declared.name} {shapes}), all outputs are finite",
        f"fine-tuned: equals the trained module (largest difference {worst:.1e} of the scale)",
    )
