"""Inputs made from a model's own batch norm statistics.

Adam moves the inputs, from normal noise, until the statistics that every batch norm sees in the
batch are those that it has stored; that is what the training data looked like to this layer:

    loss = sum over batch norms of mean over channels of
               (mean - stored mean)^2 / stored var  +  (std / stored std - 1)^2
           + 0.03 x cross-entropy towards balanced random classes, for an output (N, classes)

The last term keeps the samples from all looking alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge import to_torch
from spa.bridge.onnx_module import OnnxModule, Step
from spa.graph.model import Array, Model
from spa.observe.data import SEEDS
from spa.progress import Progress

STEPS = 80
LEARNING_RATE = 0.3
CLASS_WEIGHT = 0.03
TINY = 1e-8


def synthesise(
    model: Model,
    start: Mapping[str, Array],
    split: Collection[str],
    size: int,
    together: int,
    seed: int,
    device: str,
) -> dict[str, Array]:
    """Moves floating inputs until batch norms see what they have stored.

    Args:
        model: the model.
        start: inputs to start from, by name.
        split: those whose first axis counts samples.
        size: how many samples there are.
        together: how many of them are moved at once, with statistics of their own.
        seed: of the classes that samples are drawn to.
        device: where it is done.

    Returns:
        Inputs of the same shapes.
    """
    net = to_torch(model.proto).requires_grad_(False).to(device)
    starts = range(0, size, together)
    generator = torch.Generator().manual_seed(seed % SEEDS)
    made: dict[str, list[Array]] = {name: [] for name in split}
    with Progress("Making calibration inputs", total=STEPS * len(starts)) as progress:
        for first in starts:
            part = {
                name: x[first : first + together] if name in split else x
                for name, x in start.items()
            }
            tensors = {name: torch.from_numpy(np.array(x)).to(device) for name, x in part.items()}
            with torch.enable_grad():
                moved = _moved(net, tensors, generator, progress)
            for name in split:
                made[name].append(moved[name].cpu().numpy())
    return {**start, **{name: np.concatenate(parts) for name, parts in made.items()}}


def _moved(
    net: OnnxModule, batch: dict[str, Tensor], generator: torch.Generator, progress: Progress
) -> dict[str, Tensor]:
    free = [name for name, x in batch.items() if x.is_floating_point()]
    moving = {name: batch[name].clone().requires_grad_(name in free) for name in batch}
    if not free:
        return batch
    optimizer = torch.optim.Adam([moving[name] for name in free], lr=LEARNING_RATE)
    classes: Tensor | None = None
    for _ in range(STEPS):
        loss, output = _mismatch(net, moving)
        if output is not None:
            if classes is None:
                order = torch.randperm(output.shape[0], generator=generator)
                classes = (order % output.shape[1]).to(output.device)
            loss = loss + CLASS_WEIGHT * functional.cross_entropy(output, classes)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        progress.advance()
    return {name: x.detach() for name, x in moving.items()}


def _mismatch(net: OnnxModule, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """The batch norm terms of the loss, and the first output where it looks like class scores."""
    values = {**net.constants(), **batch}
    loss = torch.zeros((), device=next(iter(batch.values())).device)
    kept = {*net.constants(), *net.output_names}
    for step, spent in zip(net.steps, _last_reads(net.steps), strict=True):
        if step.op == "BatchNormalization" and not step.attrs.get("training_mode", 0):
            x, mean, var = (values[step.inputs[i]] for i in (0, 3, 4))
            seen_var, seen_mean = torch.var_mean(
                x.transpose(0, 1).flatten(1).float(), dim=1, correction=0
            )
            stored = var.float() + TINY
            shift = (seen_mean - mean).square() / stored
            spread = ((seen_var + TINY).sqrt() / stored.sqrt() - 1).square()
            loss = loss + (shift + spread).mean()
        values.update(step(values))
        for name in set(spent) - kept:
            values.pop(name, None)
    output = values[net.output_names[0]]
    is_scores = output.dim() == 2 and output.shape[1] > 1 and output.is_floating_point()
    return loss, output if is_scores else None


def _last_reads(steps: Sequence[Step]) -> list[list[str]]:
    """For every step, the tensors that no later one reads."""
    seen: set[str] = set()
    spent: list[list[str]] = []
    for step in reversed(steps):
        names = {name for name in (*step.inputs, *step.outputs) if name} - seen
        seen |= names
        spent.append(sorted(names))
    return spent[::-1]
