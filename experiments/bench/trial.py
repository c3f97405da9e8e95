"""One network pruned by one tool, in a process of its own.

    python -m experiments.bench.trial timm/resnet18 spa

Prints one line of JSON: what it was, how far it came, and what came out.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import onnx

from experiments.bench.exactness import is_exact
from experiments.bench.networks import NETWORKS, Network
from experiments.bench.tools import TOOLS
from spa.graph.nodes import real_inputs

# A network counts as smaller from this share of parameters on.
LEAST_REMOVED = 0.2


def trial(name: str, tool: str) -> dict[str, Any]:
    """Prunes a network; whatever goes wrong is part of the result."""
    result: dict[str, Any] = {"network": name, "tool": tool, "stage": "build", "success": False}
    try:
        _run(name, tool, result)
    except Exception as error:  # any tool may fail in any way; that is what is measured
        result["reason"] = f"{type(error).__name__}: {error}"[:600]
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return result


def _run(name: str, tool: str, result: dict[str, Any]) -> None:
    import torch

    import spa
    from spa.bridge import from_torch

    torch.manual_seed(0)
    network: Network = NETWORKS.get(name)()
    result.update(family=network.family, stage="export")
    dense = network.proto
    if dense is None:
        dense = from_torch(network.module, network.inputs, network.batched)
    result["stage"] = "prune"
    started = time.perf_counter()
    outcome = TOOLS[tool](network, dense)
    result.update(seconds=time.perf_counter() - started, note=outcome.note)
    result["stage"] = "check"
    before = spa.load(dense, network.given)
    if _interface(dense) != _interface(outcome.proto):
        raise ValueError("its inputs or outputs are not what they were")
    # Loading checks the file and runs it, at two batch sizes where the batch is dynamic.
    after = spa.load(outcome.proto, network.given)
    if before.varied is not None and after.varied is None:
        raise ValueError("it runs at one batch size only")
    old, new = spa.measure_cost(before), spa.measure_cost(after)
    result.update(params=old.params, macs=old.macs, rf=old.macs / new.macs)
    result.update(rp=old.params / new.params, stage="compare")
    result["exact"] = is_exact(dense, outcome.proto, before.example)
    result["stage"] = "done"
    result["success"] = new.params <= (1 - LEAST_REMOVED) * old.params
    if not result["success"]:
        why = f"; {outcome.note}" if new.params == old.params and outcome.note else ""
        result["reason"] = f"{1 - new.params / old.params:.1%} of the parameters went{why}"


def _interface(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*real_inputs(proto.graph), *proto.graph.output]


if __name__ == "__main__":
    print(json.dumps(trial(sys.argv[1], sys.argv[2])))
