"""Running a module, to see whether it repeats what it is held to; and where it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from spa.bridge.gate import outputs_of
from spa.modules.attributes import Outcome
from spa.modules.likeness import Sample, agrees
from spa.modules.training_mode import quiet_training

OF_TORCH = "torch.nn."


class Trial:
    """Runs a module on samples; `Outcome` says how it did.

    Args:
        net: the module, in eval mode.
        samples: what it has to repeat, in this order.
    """

    def __init__(self, net: nn.Module, samples: Sequence[Sample]) -> None:
        self.net, self.samples = net, samples
        self._calls = 0

    def __call__(self) -> Outcome:
        """Runs one sample after another, up to the first that fails."""
        with self._counted():
            for number, sample in enumerate(self.samples):
                self._calls = 0
                try:
                    with torch.no_grad(), _mode(self.net, sample):
                        found = outputs_of(self.net, sample.inputs)
                except Exception as error:  # a forward fails in any way it likes
                    path, where = place_of(self.net, error)
                    text = f"{type(error).__name__}: {error}"[:200]
                    return Outcome(False, path, text, (number, self._calls), where)
                if not agrees(found, sample.wanted):
                    return Outcome(False, progress=(number, self._calls))
        return Outcome(True)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        def count(*_: object) -> None:
            self._calls += 1

        hooks = [part.register_forward_hook(count) for part in self.net.modules()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _mode(net: nn.Module, sample: Sample) -> contextlib.AbstractContextManager[None]:
    return quiet_training(net) if sample.training else contextlib.nullcontext()


def place_of(net: nn.Module, error: BaseException) -> tuple[str, int]:
    """The path of the innermost of the user's modules whose forward failed, and the line."""
    paths = {id(part): path for path, part in net.named_modules()}
    found: list[tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None:
        part = trace.tb_frame.f_locals.get("self")
        if id(part) in paths:
            found.append((paths[id(part)], trace.tb_lineno))
        trace = trace.tb_next
    users = [f for f in found if not is_of_torch(net.get_submodule(f[0]))]
    return (users or found or [("", 0)])[-1]


def is_of_torch(part: nn.Module) -> bool:
    """Whether a module is one of torch's own layers."""
    return type(part).__module__.startswith(OF_TORCH)


def called(net: nn.Module, path: str) -> str:
    """A module's class, and its path where it has one."""
    kind = type(net.get_submodule(path)).__name__
    return f"{kind} ({path})" if path else kind
