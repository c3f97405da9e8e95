"""Losses that a criterion differentiates: the task's own, or one that is asked for by name.

A loss takes a model's outputs and a batch's targets, and gives the sum over the samples. None is
guessed from the rank of an output alone: where class scores and labels do not fit each other, the
caller has to say what the model is trained for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from spa.errors import SettingError, unknown
from spa.graph.model import Model
from spa.observe.data import Data

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Outputs of the model, targets of the batch -> a number, summed over samples.
Loss: TypeAlias = "Callable[[tuple[Tensor, ...], Any], Tensor]"


def cross_entropy(outputs: tuple[Tensor, ...], targets: Any) -> Tensor:
    """Of the first output, (N, C, ...), and whole numbers (N, ...); a mean over what is behind N.

    Without targets the model's own predictions are taken.
    """
    import torch

    scores = outputs[0]
    if targets is None:
        wanted = scores.detach().argmax(1)
    else:
        wanted = torch.as_tensor(np.asarray(targets)).long().to(scores.device)
    each = torch.nn.functional.cross_entropy(scores, wanted, reduction="none")
    return each.flatten(1).mean(1).sum() if each.ndim > 1 else each.sum()


def drawn_labels(scores: Tensor, random: torch.Generator) -> Tensor:
    """Labels (N, ...) as a model with class scores (N, C, ...) would draw them itself."""
    import torch

    shares = scores.detach().float().cpu().movedim(1, -1).softmax(dim=-1)
    drawn = torch.multinomial(shares.reshape(-1, shares.shape[-1]), 1, generator=random)
    return drawn.reshape(shares.shape[:-1]).to(scores.device)


def total(found: tuple[Tensor, ...], targets: Any) -> Tensor:
    """The sum of every floating output; what SynFlow differentiates."""
    import torch

    return sum([y.sum() for y in found if y.is_floating_point()], torch.zeros(()))


def outputs(found: tuple[Tensor, ...], targets: Any) -> Tensor:
    """Half the mean square of every floating output: how much a model says, whatever it is for.

    Source: own; for models of which nothing else is known.
    """
    import torch

    rows = [y.square().flatten(1).mean(1).sum() if y.ndim > 1 else y.square().sum()
            for y in found if y.is_floating_point()]  # fmt: skip
    return 0.5 * sum(rows, torch.zeros(()))


LOSSES: Mapping[str, Loss] = {"cross_entropy": cross_entropy, "outputs": outputs}


def loss_for(model: Model, data: Data, given: str | Loss | None) -> tuple[str, Loss]:
    """The loss of a model on some data, and its name for plans.

    Args:
        model: the model.
        data: its samples.
        given: a function, one of `LOSSES`, or None: cross-entropy, where the outputs are class
            scores and the targets fit them, or are left to the model.

    Raises:
        SettingError: an unknown name; or none is given and cross-entropy does not fit.
    """
    if callable(given):
        return getattr(given, "__name__", type(given).__name__), given
    if given is not None and given not in LOSSES:
        raise SettingError(unknown("loss", given, LOSSES))
    name = given or "cross_entropy"
    if name == "cross_entropy":
        _check_classes(model, data, asked=given is not None)
    return name, LOSSES[name]


def _check_classes(model: Model, data: Data, *, asked: bool) -> None:
    name = model.graph.outputs[0]
    shape = tuple(model.shapes[name])
    ways = 'Give another loss: a function of outputs and targets, or "outputs".'
    scores = len(shape) >= 2 and shape[1] >= 2
    if data.targets is None:
        # Own predictions along an axis that may be anything else say nothing.
        if not scores or (len(shape) > 2 and not asked):
            raise SettingError(
                f'Output "{name}" of shape {shape} is no row of class scores, and there are no '
                f"targets, so what is to be differentiated is open. {ways}"
            )
        if data.source == "data" and not asked:
            raise SettingError(
                "The data has no targets (y). Give them, or ask for the model's own predictions by "
                'the loss\'s name, "cross_entropy".'
            )
        return
    if isinstance(data.targets, Mapping):
        raise SettingError(f"Targets by name fit no loss that SPA knows. {ways}")
    labels = np.asarray(data.targets)
    if not scores or labels.ndim != len(shape) - 1:
        raise SettingError(
            f'Labels of shape {labels.shape} were given, but output "{name}" has shape {shape}; '
            f"class scores of shape (N, classes, ...) and labels (N, ...) are needed. {ways}"
        )
    if labels.dtype.kind not in "iu" or not 0 <= labels.min() <= labels.max() < shape[1]:
        raise SettingError(
            f"Labels must be {data.samples} integers from 0 to {shape[1] - 1}; they are "
            f"{labels.dtype} from {labels.min()} to {labels.max()}."
        )
