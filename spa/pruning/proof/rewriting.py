"""Two models that agree as they are, and not as ONNX Runtime rewrites them: whose fault is it?

ONNX Runtime fuses and moves operators before it runs a model. Now and then that changes what it
computes. Where that befalls the dense model, no pruned one can equal it. Where it befalls the
pruned model alone, whoever runs that gets wrong results, and must know.
"""

from __future__ import annotations

from collections.abc import Sequence

from spa.coupling.couple import Cut
from spa.errors import ModelError, VerificationError
from spa.graph.model import Model
from spa.graph.opened import Example, Opened
from spa.pruning.comparison import zeroed
from spa.pruning.proof.closeness import compare, tolerance_of


def blame_rewrites(
    model: Model, cut: Cut, feeds: Sequence[Example], error: VerificationError
) -> None:
    """Returns where rewriting changes the dense model.

    Args:
        model: the dense model.
        cut: what goes.
        feeds: inputs on which both models agree without rewrites.
        error: how they differ with them.

    Raises:
        VerificationError: it changes the pruned one alone.
    """
    dense = zeroed(model, cut)
    plain, rewritten = Opened(dense, optimize=False), Opened(dense)
    for feed in feeds:
        try:
            compare(
                plain.run(feed), rewritten.run(feed), "itself", tolerance_of(model), tuple
            )  # fmt: skip
        except (ModelError, VerificationError):
            return
    raise VerificationError(
        "The pruned model equals the zeroed dense one, but not as ONNX Runtime rewrites it: "
        f"{error} Run it with ONNX Runtime's graph optimizations off, and report the model there."
    ) from error
