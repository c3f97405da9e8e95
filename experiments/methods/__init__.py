"""Ways of pruning, all with one signature: method(dense, task, target, cfg, seed) -> result.

``dense`` is the path of an ONNX file, ``task`` what data it may ask for, ``target`` a
`spa.Target`, ``cfg`` the run's settings. The result has what `spa.prune` gives: model, plan,
reached, dense and pruned cost, proof, seconds. ``needs`` names the settings that the method uses
(``criterion``, ``calibration``) and ``trained`` when it makes no sense on fresh weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from experiments.ground.registry import Registry


@dataclass(frozen=True)
class Method:
    """A way of pruning and what it needs."""

    run: Callable[..., Any]
    needs: frozenset[str]

    def __call__(self, *args: Any) -> Any:
        """Prune."""
        return self.run(*args)


METHODS: Registry[Method] = Registry("method", package="experiments.methods")


def method(
    name: str, needs: Iterable[str] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a method."""

    def decorate(run: Callable[..., Any]) -> Callable[..., Any]:
        METHODS.register(name)(Method(run, frozenset(needs)))
        return run

    return decorate
