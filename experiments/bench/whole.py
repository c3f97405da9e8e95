"""How long the whole job takes, beside Torch-Pruning: ``python -m experiments.bench.whole``.

Both halve every group's channels by the l1 norm and end with an ONNX file whose batch size is free,
in turn, by the wall clock:

- SPA, from a file: load it (of which the runs of the examples), find groups, score, plan, cut,
  prove, save. Where a norm over channels loses some (ViT's LayerNorm), the result equals no zeroed
  dense model (``equal``), and the proof is what else can be checked.
- Torch-Pruning, from a module in memory: build its graph (a forward pass is part of it), prune,
  and export with torch.onnx.export as it comes, which is by torch.export. That is what the goal
  is about. By TorchScript, which torch calls deprecated, an export is faster; that is told beside.
  Nothing is proven. One thing is done for it: torchvision's ViT is told its new width.
"""

from __future__ import annotations

import contextlib
import copy
import io
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

import spa
from experiments.bench.coupling import load_timed
from experiments.bench.measure import (
    Seconds,
    build,
    goal,
    in_turn,
    markdown,
    options,
    say,
    write_csv,
)
from experiments.bench.networks import Network
from experiments.bench.tools import RATIO
from experiments.methods.baselines.torch_pruning_sparse import last_layer
from spa.bridge import from_torch
from spa.graph.write import write_model

NETWORKS = ("resnet50", "vgg19", "densenet121", "vit_b_16")
WANTED = 1.0
ROUNDS = 3


class Watch:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: Seconds = {}
        self._started = time.perf_counter()

    def stage(self, name: str) -> None:
        """Ends a stage, and begins the next one."""
        now = time.perf_counter()
        self.seconds[name] = now - self._started
        self._started = now


def time_spa(source: Path, result: Path) -> tuple[float, bool, Seconds]:
    """File to file; RP, whether it was proven equal to the dense model, and seconds by stage."""
    watch = Watch()
    model, loading = load_timed(source)
    watch.stage("load")
    groups = spa.find_groups(model)
    watch.stage("groups")
    scores = spa.score(model, groups, "l1")
    watch.stage("l1")
    plan = spa.make_plan(groups, scores, spa.Target(ratio=RATIO), spa.Limits(scope="local"))
    watch.stage("plan")
    smaller = spa.apply_plan(model, plan, groups)
    watch.stage("surgery")
    proof = spa.verify(model, smaller, plan, groups)
    watch.stage("proof")
    write_model(result, smaller)
    watch.stage("save")
    total = sum(watch.seconds.values())
    return plan.reached["rp"], proof.equal, {**watch.seconds, "runs": loading["runs"], "spa": total}


def time_peer(network: Network, result: Path) -> tuple[float, Seconds]:
    """Module to file; RP, and seconds by stage."""
    import torch
    import torch_pruning

    module = copy.deepcopy(network.module)
    dense = sum(parameter.numel() for parameter in module.parameters())
    last = last_layer(module, network.inputs)
    watch = Watch()
    pruner = torch_pruning.pruner.BasePruner(
        module,
        network.inputs[0],
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=1),
        pruning_ratio=RATIO,
        ignored_layers=[last],
    )
    watch.stage("peer_build")
    pruner.step()
    if hasattr(module, "hidden_dim"):  # torchvision's ViT checks it; Torch-Pruning leaves it
        module.hidden_dim = module.conv_proj.out_channels
    watch.stage("peer_prune")
    batch = {0: "batch"}
    _export(network, module, result, dynamo=False, dynamic_axes={"input": batch, "output": batch})
    watch.stage("peer_script_export")
    script = sum(watch.seconds.values())
    _export(network, module, result, dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    watch.stage("peer_export")
    peer = script - watch.seconds["peer_script_export"] + watch.seconds["peer_export"]
    pruned = sum(parameter.numel() for parameter in module.parameters())
    return dense / pruned, {**watch.seconds, "peer": peer, "peer_script": script}


def _export(network: Network, module: Any, result: Path, **how: Any) -> None:
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        names = {"input_names": ["input"], "output_names": ["output"]}
        torch.onnx.export(module, network.inputs, str(result), **names, **how)


def compare(name: str, size: int, rounds: int) -> dict[str, Any]:
    """One network: one line of the table, in seconds."""
    network = build(name, size)
    with tempfile.TemporaryDirectory() as folder:
        source, ours, theirs = (Path(folder) / f"{n}.onnx" for n in ("dense", "spa", "peer"))
        onnx.save(from_torch(network.module, network.inputs), source)
        rp, equal, _ = time_spa(source, ours)  # the first of each is not counted
        peer_rp, _ = time_peer(network, theirs)
        calls = [lambda: time_spa(source, ours)[2], lambda: time_peer(network, theirs)[1]]
        found = in_turn(calls, rounds)
    shares = {
        "share": found["spa"] / found["peer"],
        "script_share": found["spa"] / found["peer_script"],
    }
    about = {"network": name, "rp": rp, "peer_rp": peer_rp, "equal": equal}
    return {**about, **found, **shares}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes whole.csv and prints the table."""
    args = options("File to file, SPA and Torch-Pruning in turn.", NETWORKS, ROUNDS, arguments)
    rows = []
    for name in args.networks:
        rows.append(compare(name, args.size, args.rounds))
        say(f"{name}: {rows[-1]['spa']:.2f} s, {rows[-1]['share']:.2f} of Torch-Pruning's")
        write_csv(rows, args.results / "whole.csv")
    columns = {
        "network": "network", "load": "load, s", "runs": "of which runs", "groups": "groups",
        "l1": "l1", "plan": "plan", "surgery": "surgery", "proof": "proof", "save": "save",
        "spa": "SPA", "peer_build": "Torch-Pruning: build, s", "peer_prune": "prune",
        "peer_export": "export", "peer": "Torch-Pruning", "share": "SPA's share",
        "peer_script_export": "export by TorchScript", "script_share": "SPA's share with that",
    }  # fmt: skip
    print(markdown(rows, columns))
    shares = [row["share"] for row in rows]
    found = f"{statistics.median(shares):.2f} by the median, {max(shares):.2f} at most"
    wanted = f"at most {WANTED:g} of Torch-Pruning's time"
    print(f"\n{goal(wanted, found, max(shares) <= WANTED)}")


if __name__ == "__main__":
    main()
