"""Inputs made from a model's own batch norm statistics.

Adam moves the inputs, from normal noise, until the statistics that every batch norm sees in the
batch are those that it has stored; that is what the training data looked like to this layer:

    loss = sum over batch norms of mean over channels of
               (mean - stored mean)^2 / stored var  +  (std / stored std - 1)^2
           + 0.03 x cross-entropy towards balanced random classes, for an output (N, classes)

The last term keeps the samples from all looking alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from spa.bridge.onnx_module import OnnxModule
from spa.observe.stream import Batches, is_batch_norm, last_reads
from spa.progress import Progress

STEPS = 80
LEARNING_RATE = 0.3
CLASS_WEIGHT = 0.03
# Samples that share one set of statistics; more would only cost memory.
TOGETHER = 256
TINY = 1e-8


def synthesise(net: OnnxModule, start: dict[str, Batches], seed: int) -> dict[str, Batches]:
    """Moves floating inputs until batch norms see what they have stored.

    Args:
        net: the model, in eval mode, with weights that need no gradient; left as it is.
        start: batches to start from, by input name.
        seed: of the classes that samples are drawn to.

    Returns:
        Batches of the same shapes.
    """
    count = len(next(iter(start.values())))
    parts: list[dict[str, Tensor]] = []
    for i in range(count):
        batch = {name: batches[i] for name, batches in start.items()}
        size = next(iter(batch.values())).shape[0]
        if count > 1:
            parts.append(batch)
            continue
        for first in range(0, size, TOGETHER):
            parts.append({name: x[first : first + TOGETHER] for name, x in batch.items()})
    generator = torch.Generator().manual_seed(seed)
    progress = Progress("Making calibration inputs", total=STEPS * len(parts))
    with progress, torch.enable_grad():
        made = [_moved(net, part, generator, progress) for part in parts]
    joined = {name: [part[name] for part in made] for name in start}
    return joined if count > 1 else {name: [torch.cat(x)] for name, x in joined.items()}


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
    for step, spent in zip(net.steps, last_reads(net.steps), strict=True):
        if is_batch_norm(step):
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
