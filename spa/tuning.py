"""Fine-tuning of a pruned model, whatever framework it came from.

1. The ONNX file becomes a torch module (`spa.bridge`), and is trained as a classifier on labelled
   data: AdamW, cross-entropy, learning rates along half a cosine; or as a `Tuning` says, from the
   dense model's answers too.
2. The weights go back into the file by name, and the file is checked: it runs on ONNX Runtime at
   two batch sizes, its outputs are finite, and they are the trained module's.

A model that ends in a Softmax is trained on the logarithm of what it gives. The proof and the plan
are of the pruned model as it was before; no proof says what training should give.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from spa.errors import SettingError, VerificationError
from spa.graph.execute import run_each
from spa.graph.forks import close_forks
from spa.graph.load import File, load_file
from spa.graph.model import Array, Model
from spa.graph.read import first_line, read_model
from spa.observe.data import SEEDS
from spa.progress import Progress
from spa.pruning.result import Pruned
from spa.training.feed import Batch, Feed
from spa.training.how import Tuning
from spa.training.labelled import check_data, example_for

if TYPE_CHECKING:
    import torch

    from spa.bridge import OnnxModule
    from spa.training.teacher import Teacher

# Samples that ONNX Runtime takes at once.
RUN_BATCH = 256
# Largest difference between the tuned file and the trained module, as a share of the scale.
TOLERANCE = 1e-3


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
    pruned: Pruned,
    x: Array,
    y: Array,
    tuning: Tuning | None = None,
    *,
    dense: File | Model | None = None,
    seed: int = 0,
) -> Tuned:
    """Trains a pruned classifier in PyTorch; the weights come back in its ONNX model.

    Both branches of an If that was opened run on every batch. Gradients reach the one that a batch
    takes; weight decay and running statistics move both.

    Args:
        pruned: what `spa.prune` made.
        x: inputs (N, ...), as the ONNX model takes them.
        y: labels (N,), whole numbers from 0.
        tuning: how long and how fast.
        dense: the model before it was pruned, where the tuning has it learned from.
        seed: of the order of the samples.

    Raises:
        SettingError: the data does not fit the model, the loss is no longer finite, or there is no
            dense model to learn from.
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
    model = load_file(pruned.model, example_for(pruned.model, np.shape(x)))
    check_data(model, x, y)
    x = np.ascontiguousarray(x, dtype=model.declared[0].dtype)
    y = np.asarray(y).astype(np.int64)
    from spa.bridge import to_onnx, to_torch

    net = to_torch(model.proto)
    teacher = None if not tuning.distill else _teacher(dense, model, x, tuning)
    rows = _trained(net, model, x, y, tuning, seed % SEEDS, teacher)
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


def _trained(
    net: OnnxModule,
    model: Model,
    x: Array,
    y: Array,
    tuning: Tuning,
    seed: int,
    teacher: Teacher | None,
) -> list[dict[str, Any]]:
    """Trains a module in place; returns the loop's rows."""
    from spa.training.hooks import averaging
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

    schedule = tuning.rates()

    def rate(epoch: int, step: int) -> float:
        return schedule.rate(epoch + step / steps)

    rows: list[dict[str, Any]] = []
    with Progress("Fine-tuning (steps)", tuning.epochs * steps) as progress:

        def on_step(epoch: int, step: int) -> None:
            loss = f", loss {rows[-1]['loss']:.4g}" if rows else ""
            progress.advance(note=f"epoch {epoch + 1} of {tuning.epochs}{loss}")

        feed = Feed(epoch, rate, tuning.epochs, steps, size)
        try:
            fit(
                _scored(net, model),
                feed,
                tuning.training(),
                report=rows.append,
                on_step=on_step,
                hooks=averaging(tuning.ema),
                teacher=teacher,
            )
        except RuntimeError as error:
            raise SettingError(
                f"The model does not train on batches of {(size, *x.shape[1:])}: "
                f"{first_line(error)}"
            ) from error
    net.eval()
    return rows


def _teacher(
    dense: File | Model | None,
    model: Model,
    x: Array,
    tuning: Tuning,
) -> Teacher:
    """The dense model, which the pruned one learns from.

    Raises:
        SettingError: there is none, or it is of other inputs or classes.
    """
    from spa.bridge import to_torch
    from spa.training.teacher import Teacher

    if dense is None:
        raise SettingError("There is no dense model to learn from; give it, or leave distill out.")
    if not isinstance(dense, Model):
        proto = dense if isinstance(dense, onnx.ModelProto) else read_model(dense)[0]
        dense = load_file(dense, example_for(proto, x.shape))
    for what, mine, theirs in (
        ("inputs", [d.describe() for d in model.declared], [d.describe() for d in dense.declared]),
        (
            "classes",
            model.shapes[model.graph.outputs[0]][1:],
            dense.shapes[dense.graph.outputs[0]][1:],
        ),
    ):
        if mine != theirs:
            raise SettingError(
                f"The dense model has other {what} than the pruned one: {theirs}, not {mine}."
            )
    net = _scored(to_torch(dense.proto), dense)
    return Teacher(net, tuning.distill, tuning.distill_temperature)


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
