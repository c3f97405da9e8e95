"""Random graphs over all operators: every pruned model is proven by SPA and by its own oracles.

Each shard draws its own graphs from a fixed seed, so that workers share them.
`SPA_RANDOM_SHARDS=100` hunts longer; `python -m tests.hunt` runs any number of shards and records
them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from spa.coupling.rules.base import RULES
from tests.random_graphs import Drawn, graphs
from tests.random_graphs.checking import check_perturbation, check_pruning
from tests.random_graphs.independent import visit

IN_CI, PERTURBED_IN_CI = 34, 6  # 2040 graphs, and 300
SHARDS = int(os.environ.get("SPA_RANDOM_SHARDS", IN_CI))
PER_SHARD = 60
PERTURBED_SHARDS = max(PERTURBED_IN_CI, SHARDS // 4)
PERTURBED_PER_SHARD = 50


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_pruned_random_graphs_equal_the_zeroed_dense_ones(shard):
    visit(graphs(), check_pruning, number=shard, examples=PER_SHARD)


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(PERTURBED_SHARDS))
def test_a_change_of_what_goes_reaches_exactly_the_predicted_slices(shard):
    strategy = graphs(plain=True, max_blocks=4)
    visit(strategy, check_perturbation, number=1000 + shard, examples=PERTURBED_PER_SHARD)


DRAW = """
import hashlib, sys
for name in sys.argv[1:]:
    __import__(name)
from tests.random_graphs import graphs
from tests.random_graphs.independent import visit
sums = hashlib.sha256()
add = lambda drawn: sums.update(drawn.proto.SerializeToString(deterministic=True))
visit(graphs(), add, number=21, examples=20)
print(sums.hexdigest())
"""


def test_a_seed_means_the_same_graphs_in_any_company():
    """What other tests have imported by then must not matter."""
    drawn = {
        subprocess.run(
            [sys.executable, "-c", DRAW, *names], check=True, capture_output=True, text=True,
            cwd=Path(__file__).parents[1],
        ).stdout
        for names in ([], ["experiments.run", "spa.cli", "spa.bridge", "tests.hunt"])
    }  # fmt: skip
    assert len(drawn) == 1


# Operators with a rule that no graph can hold.
NOT_DRAWN = {
    # The standard domain has no such operator; only ONNX Runtime's own fusions write it there.
    "SimplifiedLayerNormalization",
}


def test_every_operator_with_a_rule_is_drawn():
    """The graphs that all shards draw when nothing else is asked for, drawn but not pruned."""
    shards = [(graphs(), k, PER_SHARD) for k in range(IN_CI)]
    plain = graphs(plain=True, max_blocks=4)
    shards += [(plain, 1000 + k, PERTURBED_PER_SHARD) for k in range(PERTURBED_IN_CI)]
    seen: Counter[str] = Counter()

    def count(drawn: Drawn) -> None:
        domains = ("", "ai.onnx")
        seen.update({
            node.op_type if node.domain in domains else f"{node.domain}::{node.op_type}"
            for node in drawn.proto.graph.node
        })  # fmt: skip

    for strategy, number, examples in shards:
        visit(strategy, count, number=number, examples=examples)
    missing = sorted(set(RULES) - set(seen) - NOT_DRAWN)
    assert not missing, f"no block of tests/random_graphs draws {', '.join(missing)}"
    assert not NOT_DRAWN & set(seen)
