"""What judges random graphs at unseen sizes sees what it is there for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

import spa
from tests.mutations.files import FILE_BUGS
from tests.random_graphs import Drawn, graphs
from tests.random_graphs.checking import loaded
from tests.random_graphs.independent import visit
from tests.random_graphs.unseen import TUPLES, compare

BUGS = ("every size frozen", "two channels exchanged", "bias dropped")


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_the_file_shows(bug):
    """Chunks and counts of them, with and without a bug in what was pruned."""
    seen: Counter[str] = Counter()

    def check(drawn: Drawn) -> None:
        model = loaded(drawn)
        result = spa.prune(model, ratio=0.5, limits=spa.Limits(scope="local"))
        if not result.plan.exact:
            return
        plan = result.plan.to_json()
        seen["sizes"] += compare(drawn, drawn.proto, result.model, plan, set(), equal=True)
        wrong = onnx.ModelProto()
        wrong.CopyFrom(result.model)
        if not FILE_BUGS[bug](wrong, drawn.proto, np.random.default_rng(0)):
            return
        seen["bugs"] += 1
        try:
            compare(drawn, drawn.proto, wrong, plan, set(), equal=True)
        except Exception:  # ONNX Runtime's exceptions share no base but Exception.
            seen["shown"] += 1

    strategy = graphs(sources=("any sequence",), names=("chunks", "summaries"), max_blocks=2)
    visit(strategy, check, number=1, examples=8)
    assert seen["sizes"] >= 4 * TUPLES
    assert seen["shown"] == seen["bugs"] >= 2
