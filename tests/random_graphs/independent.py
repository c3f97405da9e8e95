"""How hypothesis runs the graphs: every one drawn afresh, none by chance of a machine.

By default hypothesis draws one graph in six and makes the others by repeating parts of it, which
suits small examples: of a hundred graphs, most would have the same few operators. A backend of its
own draws every one afresh; what fails is still shrunk.

Also by default, some values are constants that hypothesis finds in the source of whatever modules
are loaded by then, so that one seed draws other graphs in other company. Ours draws none of them:
a seed means the same graphs everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS, HypothesisProvider


class Independent(HypothesisProvider):
    """Draws from the seed alone."""

    def _maybe_draw_constant(self, *arguments: Any, **keywords: Any) -> None:
        """Gives no constant, ever."""


AVAILABLE_PROVIDERS["independent"] = f"{__name__}.{Independent.__name__}"


def calm(examples: int, *, shrink: bool = True) -> settings:
    """Fixed examples, no time limit, no database."""
    return settings(
        max_examples=examples,
        backend="independent",
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def visit(
    strategy: st.SearchStrategy[Any],
    action: Callable[[Any], object],
    *,
    number: int,
    examples: int,
    shrink: bool = True,
) -> None:
    """Draws ``examples`` graphs from seed ``number`` and does something with each."""

    @calm(examples, shrink=shrink)
    @seed(number)
    @given(drawn=strategy)
    def every(drawn: Any) -> None:
        action(drawn)

    every()
