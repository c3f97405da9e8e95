"""The dense side of the proof is the file that came in, run as it is.

Loading may change a file: local functions are inlined, Ifs opened, sparse weights filled. All else
in the proof is about what was loaded. So both forms run on the inputs of the proof, and agree.

One way in which they do not: ONNX lets a runtime choose between a local function and an operator of
its own that has the same name, and ONNX Runtime takes its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from spa.errors import ModelError, VerificationError
from spa.graph.model import Model
from spa.graph.nodes import DEFAULT_DOMAINS, names_read
from spa.graph.opened import Example, Opened
from spa.pruning.fixing import random_nodes
from spa.pruning.proof.closeness import compare, tolerance_of

# Domains in which ONNX Runtime has operators of its own.
OWN_DOMAINS = (
    *DEFAULT_DOMAINS,
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
)


def check_given(model: Model, feeds: Sequence[Example]) -> str | None:
    """Compares the file that came in with the model as it was loaded.

    Args:
        model: the dense model.
        feeds: inputs on which it runs.

    Returns:
        What was checked, as a sentence; None where loading changed nothing.

    Raises:
        VerificationError: they compute different things.
    """
    given = model.given
    if given is None or random_nodes(model):
        return None
    there = {tensor.name for tensor in given.graph.initializer}
    large = [t for t in model.proto.graph.initializer if t.name not in there]
    read = names_read(given.graph)
    try:
        came = Opened(given, weights=[t for t in large if t.name in read], optimize=False)
        loaded = Opened(model.proto, optimize=False)
        pairs = [(came.run(feed), loaded.run(feed)) for feed in feeds]
    except ModelError as error:
        return (
            "unproven: ONNX Runtime does not run the file that came in as it is, so that it could "
            f"not be compared with its loaded form ({error})"
        )
    for want, have in pairs:
        try:
            compare(want, have, "the file that came in, as ONNX Runtime runs it,",
                    tolerance_of(model), tuple)  # fmt: skip
        except VerificationError as error:
            raise VerificationError(f"{error}{_reason(model)}") from error
    return "the file that came in gives, as it is, what its loaded form gives"


def _reason(model: Model) -> str:
    assert model.given is not None
    shadows = [
        f"{function.domain or 'ai.onnx'}::{function.name}"
        for function in model.given.functions
        if function.domain in OWN_DOMAINS
    ]
    if not shadows:
        return " Loading changed what the file computes; please report the model."
    return (
        f" The file has local functions named like operators ({', '.join(shadows[:3])}). ONNX "
        "leaves it to the runtime which of the two runs; ONNX Runtime runs its operator, and SPA "
        "the function. Give the functions names, or a domain, of their own."
    )
