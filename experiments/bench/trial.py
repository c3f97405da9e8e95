"""One network pruned by several tools, in a process of its own.

    python -m experiments.bench.trial timm/resnet18 spa onnxsim

The network is built and exported once. Lines of JSON say when a tool begins, and then what it was,
how far it came, and what came out.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from experiments.bench.exactness import compare
from experiments.bench.networks import NETWORKS, Network, as_file
from experiments.bench.tools import halved, takes_module
from experiments.methods import Outcome
from spa.graph.nodes import real_inputs

# A network counts as smaller from this share of parameters on.
LEAST_REMOVED = 0.2


def trials(name: str, tools: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Prunes a network by each tool; whatever goes wrong is part of the result.

    Yields:
        ``{"begins": tool}`` before each tool is called, and then its result.
    """
    result: dict[str, Any] = {"network": name, "stage": "build", "success": False}
    try:
        network, dense, before = _prepare(name, result, folder)
    except Exception as error:  # a network may fail to build or to export in any way
        for tool in tools:
            yield {**result, "tool": tool, "reason": _reason(error)}
        return
    # Those that need the torch module come first; the others need not hold it in memory.
    for tool in sorted(tools, key=lambda tool: not takes_module(tool)):
        if not takes_module(tool):
            network = replace(network, module=None)
        _let_go()
        found = {**result, "tool": tool, "stage": "prune"}
        yield {"begins": tool}
        try:
            outcome = _timed(tool, network, dense, found)
            yield {"ends": tool}
            _judge(dense, before, outcome.model, network, found)
        except Exception as error:  # any tool may fail in any way; that is what is measured
            found["reason"] = _reason(error)
        yield found


def _prepare(name: str, result: dict[str, Any], folder: Path) -> tuple[Network, Path, Any]:
    import torch

    import spa
    from spa.graph.write import write_model

    torch.manual_seed(0)
    network: Network = NETWORKS.get(name)()
    result.update(family=network.family, stage="export")
    network, proto, whole = as_file(network)
    if whole is not None:
        result.update(whole=_reason(whole), family=network.family)
    path = folder / "dense.onnx"
    write_model(path, proto)
    result["stage"] = "load"
    before = spa.load(path, network.given)
    cost = spa.measure_cost(before)
    result.update(params=cost.params, macs=cost.macs)
    return replace(network, proto=None), path, before


def _timed(tool: str, network: Network, dense: Path, found: dict[str, Any]) -> Outcome:
    _forget_peak()
    started = time.perf_counter()
    try:
        outcome = halved(tool, network, dense)
    finally:
        found.update(seconds=time.perf_counter() - started, peak_mib=_peak_mib())
    found.update(proven=None if outcome.proof is None else outcome.proof.equal)
    found.update(note=_note(outcome, network, dense))
    return outcome


def _note(outcome: Outcome, network: Network, dense: Path) -> str:
    """What a tool says of its result; of SPA's unchanged ones, what was kept dense."""
    import spa
    from spa.coupling.kept import main_causes

    if outcome.plan is not None and not outcome.plan.parameters:
        kept = spa.find_groups(spa.load(dense, network.given)).kept
        return f"unchanged; kept dense: {main_causes(kept)}"
    return outcome.proof.checks[-1] if outcome.proof is not None else " ".join(outcome.notes)


def _judge(
    dense: Path, before: Any, smaller: onnx.ModelProto, network: Network, found: dict[str, Any]
) -> None:
    import spa
    from spa.graph.deferred import held

    found["stage"] = "check"
    proto = onnx.load(dense)
    if _interface(proto) != _interface(smaller):
        raise ValueError("its inputs or outputs are not what they were")
    # Loading checks the file and runs it, at two batch sizes where the batch is dynamic.
    after = spa.load(smaller, network.given)
    if before.varied is not None and after.varied is None:
        raise ValueError("it runs at one batch size only")
    old, new = spa.measure_cost(before), spa.measure_cost(after)
    found.update(rf=old.macs / new.macs, rp=old.params / new.params, stage="compare")
    found["exact"] = compare(proto, held(smaller), before.example)
    found["stage"] = "done"
    found["success"] = new.params <= (1 - LEAST_REMOVED) * old.params
    if not found["success"]:
        why = f"; {found['note']}" if new.params == old.params and found["note"] else ""
        found["reason"] = f"{1 - new.params / old.params:.1%} of the parameters went{why}"


def _reason(error: Exception) -> str:
    """An error's text, without the colours of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*m", "", f"{type(error).__name__}: {error}")[:600]


def _interface(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*real_inputs(proto.graph), *proto.graph.output]


def _let_go() -> None:
    """Gives back to the system what nobody uses any more: it is no need of the next tool's."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> None:
    """Lets the system count the peak memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mib() -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) // 1024


def main(name: str, tools: Sequence[str]) -> None:
    """Prints what `trials` gives, as it comes."""
    with tempfile.TemporaryDirectory() as folder:
        for line in trials(name, tools, Path(folder)):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
