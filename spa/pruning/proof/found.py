"""What a comparison of outputs found: on which inputs, how close, and what it could not see."""

from __future__ import annotations

from dataclasses import dataclass, field

from spa.graph.model import Array
from spa.graph.opened import Example
from spa.pruning.proof.closeness import Closeness


@dataclass
class Outputs:
    """What was compared.

    Attributes:
        feeds: inputs on which both models ran and agreed.
        untried: dynamic sizes at which the dense model runs for no value but the example's.
        closeness: differences that were found.
        jumps: whether outputs of operators that jump had to be fixed.
        unseen: outputs that are no numbers on any of the inputs.
        partly: by output, the share of entries that are numbers, where these are not all.
        blocked: weights that got random values, as they let nothing pass.
        flat: whether all outputs hardly vary.
        drawn: whether all weights were random in a comparison.
        compared: whether outputs could be compared at all.
        inner: how many tensors inside were compared.
        rows: batches at which the pruned model was held to what both gave for each row.
    """

    feeds: list[dict[str, Array]] = field(default_factory=list)
    untried: tuple[str, ...] = ()
    closeness: Closeness = field(default_factory=Closeness)
    jumps: bool = False
    unseen: tuple[str, ...] = ()
    partly: dict[str, float] = field(default_factory=dict)
    blocked: tuple[str, ...] = ()
    flat: bool = False
    drawn: bool = False
    compared: bool = True
    inner: int = 0
    rows: tuple[int, ...] = ()

    @property
    def sizes(self) -> tuple[str, ...]:
        """The inputs' sizes, in words."""
        return tuple(dict.fromkeys(describe_sizes(feed) for feed in self.feeds))


def describe_sizes(feed: Example) -> str:
    """Sizes of inputs, in words."""
    return ", ".join(
        f"{name} {'x'.join(map(str, value.shape)) or 'of one number'}"
        for name, value in feed.items()
    )
