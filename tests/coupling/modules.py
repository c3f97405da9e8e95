"""A table of building blocks, each with the groups that it must give, and the check of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx

import spa
from spa.coupling.kept import TIED
from tests.coupling.cases import described, prove, silent
from tests.graphs import Builder

Make = Callable[[], onnx.ModelProto]


@dataclass(frozen=True)
class Module:
    """A block in a small model.

    Attributes:
        make: builds it.
        groups: its groups, as `described` writes them.
        plain: whether the perturbation oracle can judge it. It disturbs all that makes a removed
            channel, so it cannot where two such activations are multiplied and summed.
    """

    make: Make
    groups: tuple[str, ...]
    plain: bool


class Modules(dict[str, Module]):
    """Modules by name."""

    def expect(self, *groups: str, plain: bool = True) -> Callable[[Make], Make]:
        """Registers what builds a module."""

        def register(make: Make) -> Make:
            self[make.__name__] = Module(make, groups, plain)
            return make

        return register

    def check(self, name: str) -> None:
        """Fails unless a module has its groups, and pruning it is proven."""
        module = self[name]
        proto = module.make()
        assert described(proto) == sorted(module.groups)
        groups = spa.find_groups(spa.load(proto))
        assert not silent(groups)
        assert all(axis.cause != TIED for axis in groups.kept), groups.kept
        exact = not any(group.startswith("~") for group in module.groups)
        prove(proto, equal=exact, plain=module.plain)


def linear(g: Builder, x: str, cin: int, cout: int, *, bias: bool = True, stem: str = "w") -> str:
    """A MatMul with an Add behind it."""
    y = g.node("MatMul", [x, g.normal(cin, cout, stem=stem)])
    return g.node("Add", [y, g.normal(cout, stem="b")]) if bias else y


def conv_relu(g: Builder, x: str, cin: int, cout: int, k: int = 3, **kwargs) -> str:
    """A convolution and a ReLU."""
    return g.node("Relu", [g.conv(x, cin, cout, k, **kwargs)])
