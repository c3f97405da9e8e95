"""The zeroed-dense oracle at sizes that nothing ran at while SPA worked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests.comparing import ROUNDING, Shapes, furthest, shapes_of
from tests.oracles import session, zeroed_dense
from tests.random_graphs.strategy import Drawn

TUPLES = 5
ATTEMPTS = 30
# Least and largest size that is tried, by the name of the size.
RANGES = {"N": (1, 9), "H": (3, 15), "W": (3, 15), "T": (1, 33), "S": (1, 33)}

Feeds = dict[str, np.ndarray]


def draws(drawn: Drawn, seed: int) -> Iterator[Feeds]:
    """Inputs of other sizes each time; of the same sizes, where none is free."""
    rng = np.random.default_rng([seed, drawn.plans[0].seed])
    symbols = sorted({d for each in drawn.inputs for d in each.dims if isinstance(d, str)})
    for _ in range(ATTEMPTS):
        sizes = {s: int(rng.integers(RANGES[s][0], RANGES[s][1] + 1)) for s in symbols}
        feeds = {each.name: each.values(rng, sizes) for each in drawn.inputs}
        for value in drawn.proto.graph.input:  # what an If is taken by
            if value.type.tensor_type.elem_type == onnx.TensorProto.BOOL:
                feeds.setdefault(value.name, np.asarray(rng.random() < 0.5))
        yield feeds


def compare(
    drawn: Drawn,
    dense: onnx.ModelProto,
    pruned: onnx.ModelProto,
    plan: Mapping[str, Any],
    seen: set[Shapes],
    *,
    equal: bool,
    seed: int = 0,
) -> int:
    """Fails where the pruned model fails at a size, or gives something else.

    ONNX Runtime's rewrites are left out, as some round (integer weights); SPA's own proof has them.

    Args:
        drawn: what was drawn.
        dense: the file, as the plan names its parameters.
        pruned: the pruned one.
        plan: the plan's JSON.
        seen: shapes that were run; they are not taken where some size is free.
        equal: compare numbers; else shapes alone, with the dense model as it is.
        seed: of sizes and values.

    Returns:
        How many tuples of sizes the dense model ran at, `TUPLES` at most.
    """
    reference = session(zeroed_dense(dense, plan) if equal else drawn.proto, optimize=False)
    smaller = session(pruned, optimize=False)
    names = [output.name for output in reference.get_outputs()]
    assert names == [output.name for output in smaller.get_outputs()]
    free = any(isinstance(d, str) for each in drawn.inputs for d in each.dims)
    found: list[tuple[list[np.ndarray], list[np.ndarray], Shapes]] = []
    for feeds in draws(drawn, seed):
        sizes = shapes_of(feeds)
        if len(found) == (TUPLES if free else 2):
            break
        if free and (sizes in seen or any(sizes == others for *_, others in found)):
            continue
        wants = _run(reference, feeds)
        if wants is None or (equal and not all(np.isfinite(want).all() for want in wants)):
            continue  # the dense model does not take these sizes, or says nothing at them
        haves = smaller.run(None, feeds)
        for name, want, have in zip(names, wants, haves, strict=True):
            assert have.dtype == want.dtype
            at = f"at {dict(sizes)}"
            assert have.shape == want.shape, f"{name}: {have.shape}, not {want.shape}, {at}"
        found.append((wants, haves, sizes))
    for k, name in enumerate(names if equal and found else ()):
        gap = furthest([wants[k] for wants, _, _ in found], [haves[k] for _, haves, _ in found])
        at = [dict(sizes) for _, _, sizes in found]
        assert gap <= 1, f"{name}: differs by {gap * ROUNDING:.2e} of its line, at one of {at}"
    return len(found)


def _run(reference: ort.InferenceSession, feeds: Feeds) -> list[np.ndarray] | None:
    try:
        return reference.run(None, feeds)
    except Exception:  # ONNX Runtime's exceptions share no base but Exception.
        return None
