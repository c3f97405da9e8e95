"""Training mode: what a module runs then and no evaluation shows, such as auxiliary heads.

Training mode is looked at quietly: batch norms take their running statistics and dropout drops
nothing, so that what is left are the differences that the module's own ``forward`` makes.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from spa.bridge.gate import outputs_of, used_names
from spa.modules.likeness import Inputs, equals

# Layers of torch that do something else, or something random, in training mode.
LOUD = (
    nn.modules.batchnorm._NormBase,
    nn.modules.dropout._DropoutNd,
    nn.RReLU,
    nn.RNNBase,
    nn.MultiheadAttention,
)


@dataclass(frozen=True)
class Training:
    """What a dense module does in training mode.

    Attributes:
        same: for every output in training mode, the output in eval mode that it equals, by number;
            None where it equals none.
        only: names of parameters and statistics that only training mode uses (or may use).
        refused: why the module does not run on the example in training mode; empty where it does.
    """

    same: tuple[int | None, ...] = ()
    only: frozenset[str] = frozenset()
    refused: str = ""


@contextlib.contextmanager
def training(net: nn.Module) -> Iterator[None]:
    """Puts a module into training mode for a while; modes and buffers are then what they were."""
    modes = [(part, part.training) for part in net.modules()]
    own = [(buffer, buffer.detach().clone()) for buffer in net.buffers()]
    net.train()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # what a module draws of its own (stochastic depth)
            yield
    finally:
        for part, mode in modes:
            part.training = mode
        with torch.no_grad():
            for buffer, value in own:
                buffer.copy_(value)


@contextlib.contextmanager
def quiet_training(net: nn.Module) -> Iterator[None]:
    """The same, quietly."""
    with training(net), mock.patch.object(nn.functional, "dropout", _all_of_it):
        for part in net.modules():
            if isinstance(part, LOUD):
                part.training = False
        yield


def _all_of_it(input: Tensor, *_: Any, **__: Any) -> Tensor:
    return input


def asks_for_training(net: nn.Module) -> bool:
    """Whether a class of the user's may do something else in training mode.

    One that never reads ``training`` does the same in both modes.
    """
    kinds = {
        kind
        for part in net.modules()
        for kind in type(part).__mro__
        if issubclass(kind, nn.Module) and not kind.__module__.startswith("torch.nn.")
    }
    return any(_asks(member) for kind in kinds for member in vars(kind).values())


def _asks(member: Any) -> bool:
    if isinstance(member, property):
        return any(_asks(function) for function in (member.fget, member.fset))
    function = inspect.unwrap(getattr(member, "__func__", member)) if callable(member) else None
    return _names_training(getattr(function, "__code__", None))


def _names_training(code: Any) -> bool:
    if not isinstance(code, CodeType):
        return False
    return "training" in (*code.co_names, *code.co_consts) or any(
        map(_names_training, code.co_consts)
    )


def training_of(net: nn.Module, inputs: Inputs, absent: Collection[str]) -> Training:
    """Looks at a dense module's training mode.

    Args:
        net: the module in eval mode, with weights that let the signal pass.
        inputs: its example inputs.
        absent: names of parameters that eval mode does not use.
    """
    with torch.no_grad():
        evaluated = outputs_of(net, inputs)
    with quiet_training(net):
        try:
            with torch.no_grad():
                trained = outputs_of(net, inputs)
            only = used_names(net, inputs) & set(absent) if absent else set()
        except Exception as error:  # a forward fails in any way it likes
            text = f"{type(error).__name__}: {error}"[:200]
            return Training(only=frozenset(absent), refused=text)
    return Training(_matches(trained, evaluated), frozenset(only))


def _matches(trained: Sequence[Tensor], evaluated: Sequence[Tensor]) -> tuple[int | None, ...]:
    arrays = [tensor.detach().cpu().numpy() for tensor in evaluated]
    found: list[int | None] = []
    for i, tensor in enumerate(trained):
        have = tensor.detach().cpu().numpy()
        first = [i] if i < len(arrays) else []
        order = [*first, *(k for k in range(len(arrays)) if k != i)]
        found.append(next((k for k in order if equals(have, arrays[k])), None))
    return tuple(found)


def fails_to_train(net: nn.Module, inputs: Inputs) -> str:
    """Runs a module forward and backward in training mode; returns the error, if any.

    Nothing of it is left: no mode, no gradient, no statistic.
    """
    try:
        with training(net), torch.enable_grad():
            total = sum(t.float().sum() for t in outputs_of(net, inputs))
            weights = [p for p in net.parameters() if p.requires_grad]
            if isinstance(total, Tensor) and total.requires_grad and weights:
                torch.autograd.grad(total, weights, allow_unused=True)
    except Exception as error:  # a forward fails in any way it likes
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def parts_of(net: nn.Module, names: Collection[str]) -> list[str]:
    """The largest submodules all of whose parameters are among some; or else their names."""
    every = dict(net.named_parameters(remove_duplicate=False))
    found = []
    for name in names:
        best, parts = name, name.split(".")
        for depth in range(len(parts) - 1, 0, -1):
            path = ".".join(parts[:depth])
            if not all(n in names for n in every if n.startswith(f"{path}.")):
                break
            best = path
        if name in every:
            found.append(best)
    return sorted(set(found))
