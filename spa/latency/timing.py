"""Times of a model's nodes, as ONNX Runtime's profiler tells them.

The runtime rewrites a graph before it runs it: norms and non-linearities are folded into the layer
before them, and layers get other names. Time is therefore told by *layer*, the contracting node
(`spa.graph.cost`) that last worked on what a node reads; what is fused into it or runs behind it
counts for it, whatever the runtime made of it.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from spa.errors import RunError
from spa.graph.cost import node_costs
from spa.graph.execute import Array, run_session, session
from spa.graph.model import Model
from spa.latency.machine import Machine

# Stands before the name of a node's first output in the name that it is given to be found again.
MARK = "spa:"
# Time of what follows no layer: inputs, sizes, reorders between layouts.
REST = -1


def layers_of(model: Model) -> dict[str, int]:
    """By tensor, the layer that it comes from; the first operand's where there are several."""
    contracting = {cost.node for cost in node_costs(model)}
    found: dict[str, int] = {}
    for node in model.graph.nodes:
        layer = node.index if node.index in contracting else REST
        if layer == REST:
            layer = next(
                (found[name] for name in node.inputs if found.get(name, REST) != REST), REST
            )
        found.update(dict.fromkeys(node.outputs, layer))
    return found


def layer_times(
    proto: onnx.ModelProto,
    feeds: Mapping[str, Array],
    layers: Mapping[str, int],
    machine: Machine,
    *,
    runs: int,
    warm_up: int = 2,
) -> dict[int, float]:
    """Times a model's layers.

    Args:
        proto: a model with the tensors' names of the one that ``layers`` is of.
        feeds: its inputs.
        layers: by tensor, the layer (`layers_of`).
        machine: what it runs on.
        runs: how often it is timed; the median of each node counts.
        warm_up: runs before that.

    Returns:
        Milliseconds by layer; what follows none under `REST`.
    """
    marked = onnx.ModelProto()
    marked.CopyFrom(proto)
    for node in marked.graph.node:
        node.name = f"{MARK}{node.output[0]}:" if node.output else ""
    found: dict[int, float] = defaultdict(float)
    for name, times in _profile(marked, feeds, machine, warm_up + runs).items():
        found[layer_named(name, layers)] += float(np.median(times[warm_up:])) / 1e3
    return dict(found)


def layer_named(name: str, layers: Mapping[str, int]) -> int:
    """The layer of a node of the rewritten graph.

    A fused node has the name of one of those that it was made of, with something before or behind
    it; one in a blocked layout has that of its output.
    """
    start = name.find(MARK)
    if start >= 0:
        inner = name[start + len(MARK) :]
        return layers.get(inner.rpartition(":")[0] if ":" in inner else inner, REST)
    return layers.get(name.removesuffix("_nchwc"), REST)


def _profile(
    proto: onnx.ModelProto, feeds: Mapping[str, Array], machine: Machine, runs: int
) -> dict[str, npt.NDArray[np.float64]]:
    """Microseconds of every node in every run, by the node's name."""
    with tempfile.TemporaryDirectory(prefix="spa_") as folder:
        runner = session(
            proto,
            threads=machine.threads,
            provider=machine.provider,
            profile=str(Path(folder) / "profile"),
        )
        for _ in range(runs):
            run_session(runner, feeds)
        path = Path(runner.end_profiling())
        events = json.loads(path.read_text())
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith("_kernel_time"):
            times[name.removesuffix("_kernel_time")].append(float(event["dur"]))
    if not times:
        raise RunError("ONNX Runtime's profiler told no node's time; latency cannot be a target.")
    # A node that runs several times in one run (inside a loop) is summed over that run.
    return {
        name: np.array(each).reshape(runs, -1).sum(1)
        for name, each in times.items()
        if len(each) % runs == 0
    }
