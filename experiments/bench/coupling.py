"""How long groups take, beside Torch-Pruning: ``python -m experiments.bench.coupling``.

Compared is the time from a network that is there to its groups, without any run of the network.
Both sides work in one thread, so it is that thread's CPU time: what else the machine does counts
little.

- SPA: `spa.find_groups` on a loaded model, and the members of every group. Reading the file and
  running the examples is loading; it is timed apart, once, by the wall clock (``load``, of which
  ``runs``). Everything that a loaded model works out later and remembers is forgotten before each
  round.
- Torch-Pruning: `DependencyGraph.build_dependency` less the forward pass in it, and all groups of
  `get_all_groups`. The forward pass is handed over as ``forward_fn``, which times itself; what the
  hooks in it cost is taken off too, to Torch-Pruning's favour. Its graph comes from autograd, so
  the pass keeps gradients.

All networks of the list are such that Torch-Pruning gets through: ShuffleNet stops it (a division
by zero), and Swin keeps it for minutes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import onnx

import spa
from experiments.bench.measure import (
    Seconds,
    as_loaded,
    build,
    goal,
    in_turn,
    markdown,
    options,
    say,
    write_csv,
)
from experiments.bench.networks import Network
from spa.bridge import from_torch
from spa.graph.model import Model
from spa.graph.observe import Observer

NETWORKS = (
    "resnet50", "resnext50_32x4d", "vgg19", "densenet121", "googlenet", "inception_v3",
    "mobilenet_v2", "mnasnet1_0", "efficientnet_b0", "regnet_y_1_6gf", "convnext_tiny", "vit_b_16",
)  # fmt: skip
WANTED = 5.0
ROUNDS = 15


def load_timed(path: Path) -> tuple[Model, Seconds]:
    """Loads a model from a file; seconds of it all, and of the runs in it."""
    runs = 0.0
    plain = Observer.run

    def timed(*arguments: Any) -> Any:
        nonlocal runs
        started = time.perf_counter()
        try:
            return plain(*arguments)
        finally:
            runs += time.perf_counter() - started

    with mock.patch.object(Observer, "run", timed):
        started = time.perf_counter()
        model = spa.load(path)
        return model, {"load": time.perf_counter() - started, "runs": runs}


def time_spa(model: Model) -> tuple[spa.Groups, Seconds]:
    """Finds groups as if the model had just been loaded."""
    fresh = as_loaded(model)
    started = time.thread_time()
    groups = spa.find_groups(fresh)
    for group in groups:
        _ = group.members  # listed when asked for, and part of what the peer gives
    return groups, {"spa": time.thread_time() - started}


def time_peer(network: Network) -> tuple[int, Seconds]:
    """Builds Torch-Pruning's graph and lists its groups; their number, and seconds by stage."""
    import torch_pruning

    forward = 0.0

    def timed(module: Any, inputs: Any) -> Any:
        nonlocal forward
        started = time.thread_time()
        result = module(*inputs)
        forward = time.thread_time() - started
        return result

    started = time.thread_time()
    graph = torch_pruning.DependencyGraph()
    graph.build_dependency(network.module, network.inputs, forward_fn=timed, verbose=False)
    built = time.thread_time()
    count = len(list(graph.get_all_groups()))
    ended = time.thread_time()
    return count, {
        "peer_forward": forward,
        "peer_graph": built - started - forward,
        "peer_groups": ended - built,
        "peer": ended - started - forward,
    }


def compare(name: str, size: int, rounds: int) -> dict[str, Any]:
    """One network: one line of the table, in milliseconds."""
    network = build(name, size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(from_torch(network.module, network.inputs), path)
        model, loading = load_timed(path)
    groups, _ = time_spa(model)  # the first of each is not counted
    peer_count, _ = time_peer(network)
    found = in_turn([lambda: time_spa(model)[1], lambda: time_peer(network)[1]], rounds)
    return {
        "network": name,
        "nodes": len(model.graph.nodes),
        "channels": sum(group.channels for group in groups),
        "groups": len(groups),
        "peer_group_count": peer_count,
        **{f"{key}_ms": 1e3 * value for key, value in (*found.items(), *loading.items())},
        "times": found["peer"] / found["spa"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes coupling.csv and prints the table."""
    args = options("Time to groups, SPA and Torch-Pruning in turn.", NETWORKS, ROUNDS, arguments)
    rows = []
    for name in args.networks:
        rows.append(compare(name, args.size, args.rounds))
        say(f"{name}: {rows[-1]['spa_ms']:.0f} ms, {rows[-1]['times']:.1f} times as fast")
        write_csv(rows, args.results / "coupling.csv")
    columns = {
        "network": "network", "nodes": "nodes", "channels": "channels", "spa_ms": "SPA, ms",
        "peer_ms": "Torch-Pruning, ms", "peer_graph_ms": "its graph",
        "peer_groups_ms": "its groups", "times": "times as fast",
        "load_ms": "SPA's load", "runs_ms": "runs in it",
        "peer_forward_ms": "Torch-Pruning's forward",
    }  # fmt: skip
    print(markdown(rows, columns))
    times = [row["times"] for row in rows]
    middle, least = statistics.median(times), min(times)
    wanted = f"at least {WANTED:g} times as fast by the median, and never slower"
    found = f"{middle:.2f} by the median, {least:.2f} at least, over {len(rows)} networks"
    print(f"\n{goal(wanted, found, middle >= WANTED and least >= 1)}")


if __name__ == "__main__":
    main()
