"""Random graphs with random pieces of them inside of Ifs, also within one another."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import strategies as st

import spa
from tests.random_graphs import Drawn, graphs
from tests.random_graphs.checking import check_pruning
from tests.random_graphs.independent import visit
from tests.random_graphs.wrapping import CONDITION, wrapped

PER_SHARD = 25


@st.composite
def with_forks(draw: st.DrawFn) -> Drawn:
    """A random graph with one to three pieces in Ifs."""
    drawn = draw(graphs(max_blocks=3))
    proto = drawn.proto
    for number in range(draw(st.integers(1, 3))):
        start, length = draw(st.integers(0, 60)), draw(st.integers(1, 12))
        proto = wrapped(proto, number, start, length, draw(st.booleans()), draw(st.booleans()))
    return replace(drawn, proto=proto)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(4))
def test_pruned_random_graphs_with_forks_equal_the_zeroed_dense_ones(shard):
    """See `tests.random_graphs.checking`; the condition is drawn like all inputs."""
    seen: Counter[str] = Counter()

    def check(drawn: Drawn) -> None:
        if CONDITION not in {value.name for value in drawn.proto.graph.input}:
            return  # nothing was read of what the pieces give
        model = spa.load(drawn.proto, drawn.shapes)
        if not model.forks or not len(spa.find_groups(model, drawn.attention)):
            return
        seen.update(check_pruning(drawn))
        seen["forks"] += len(model.forks)

    visit(with_forks(), check, number=9000 + shard, examples=PER_SHARD)
    assert seen["forks"] >= PER_SHARD // 2
    assert seen["equal"] >= PER_SHARD // 2
