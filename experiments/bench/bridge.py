"""What the bridge makes of networks: ``python -m experiments.bench.bridge``.

Every network of the coverage benchmark is exported, read back as a torch module, and held to
ONNX Runtime (outputs, at another batch size where the batch is free) and to torch itself (gradients
of every parameter, for networks that began in torch). Every network has a process of its own.
Results are appended as they come, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from experiments.bench.apart import rows_of
from experiments.bench.measure import RESULTS, goal, write_csv
from experiments.bench.networks import LISTS, NETWORKS, as_file, listed
from spa.graph.example import redrawn

if TYPE_CHECKING:
    import torch

    from experiments.bench.networks import Network
    from spa.bridge import OnnxModule
    from spa.graph.model import Model

SECONDS = 900
WANTED = 1e-4
WANTED_GRADIENTS = 1e-3
ROUNDING = 2.0
ONE = "--one"
NAME = "experiments.bench.bridge"
COLUMNS = ("network", "stage", "outputs", "gradients", "trainable", "share", "reason")


def judge(name: str) -> dict[str, Any]:
    """Reads a network back and compares it; whatever goes wrong is part of the result.

    Returns:
        ``outputs`` and ``gradients`` are the largest differences, over the largest value of the
        output or gradient (less what ONNX Runtime rounds, where that is more than is wanted);
        ``trainable`` is how many parameters' gradients were compared, and ``share`` how many of the
        file's floating-point weights (by elements) are trained.
    """
    import torch

    import spa
    from spa.bridge import to_torch

    row: dict[str, Any] = {"network": name, "stage": "build"}
    try:
        torch.manual_seed(0)
        network: Network = NETWORKS.get(name)()
        row["stage"] = "export"
        network, proto, _ = as_file(network)
        row["stage"] = "load"
        model = spa.load(proto, network.given)
        row["stage"] = "read back"
        net = to_torch(proto).eval()
        row |= {"share": _share(net), "stage": "outputs"}
        row["outputs"] = max(_compare_outputs(net, proto, feeds) for feeds in _examples(model))
        row["stage"] = "gradients"
        if network.module is not None:
            row |= _compare_gradients(net, network)
            if row["gradients"] > WANTED_GRADIENTS:
                # Rounding decides which of two near equals is the largest, and gets the gradient.
                exact = replace(network, inputs=_doubled(network.inputs))
                network.module.double()
                row |= _compare_gradients(net.double(), exact)
        row["stage"] = "done"
    except Exception as error:  # that is what is measured
        row["reason"] = f"{type(error).__name__}: {error}"[:600]
    return row


def _share(net: OnnxModule) -> float:
    trained = sum(weight.numel() for weight in net.weights.values())
    held = [buffer for buffer in net.buffers() if buffer.is_floating_point()]
    frozen = sum(buffer.numel() for buffer in held) - sum(
        value.numel() for value in net.statistics.values()
    )
    return trained / max(trained + frozen, 1)


def _examples(model: Model) -> Iterator[dict[str, Any]]:
    """The example, and one of the other sizes where some are free."""
    yield dict(model.example)
    if model.varied is not None:
        yield redrawn(model.example, model.varied.shapes)


def _compare_outputs(net: OnnxModule, proto: Any, feeds: dict[str, Any]) -> float:
    import torch

    from spa.graph.execute import run

    with torch.no_grad():
        found = net(*(torch.from_numpy(np.array(feeds[name])) for name in net.input_names))
    found = found if isinstance(found, tuple) else (found,)
    ours = [tensor.numpy() for tensor in found]
    wanted = run(proto, feeds)
    worst = _largest(ours, wanted)
    if worst <= WANTED:
        return worst
    # Where ONNX Runtime differs from itself without its rewrites by as much, that is rounding.
    rounding = _largest(run(proto, feeds, optimize=False), wanted)
    return max(0.0, worst - ROUNDING * rounding)


def _largest(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    return max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))


def _difference(ours: Any, theirs: Any) -> float:
    """Largest difference over the largest value."""
    if ours.shape != theirs.shape:
        raise ValueError(f"an output is of shape {ours.shape}, not {theirs.shape}")
    if theirs.dtype.kind != "f":
        return 0.0 if np.array_equal(ours, theirs) else 1.0
    if not theirs.size:
        return 0.0
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))  # infinities too
    gaps = np.where(same, 0, np.abs(np.where(same, 0, ours) - np.where(same, 0, theirs)))
    gaps = np.where(np.isnan(gaps), np.inf, gaps)
    return float(gaps.max() / max(np.abs(theirs[np.isfinite(theirs)]).max(initial=0), 1e-6))


def _compare_gradients(net: OnnxModule, network: Network) -> dict[str, Any]:
    """Gradients of a random sum of all outputs, by the parameters' names.

    No exporter can write what detach says (detectors do it to boxes), so it says nothing here.
    """
    import torch

    module = network.module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    net.zero_grad()
    with mock.patch.object(torch.Tensor, "detach", lambda tensor: tensor):
        total = _random_sum(module(*network.inputs))
    for each in (total, _random_sum(net(*network.inputs))):
        each.backward()
    theirs = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    largest = max((float(grad.abs().max()) for grad in theirs.values()), default=0.0)
    worst, compared = 0.0, 0
    for name, weight in net.weights.items():
        if name not in theirs or weight.shape != theirs[name].shape:
            continue
        compared += weight.numel()
        ours = torch.zeros_like(weight) if weight.grad is None else weight.grad
        # Gradients that should vanish (a key's bias) are rounding errors of the others.
        scale = max(float(theirs[name].abs().max()), 1e-3 * largest, 1e-12)
        worst = max(worst, float((ours - theirs[name]).abs().max()) / scale)
    return {"gradients": worst, "trainable": compared}


def _doubled(inputs: Any) -> Any:
    import torch

    return torch.utils._pytree.tree_map_only(
        torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, inputs
    )


def _random_sum(outputs: Any) -> torch.Tensor:
    import torch

    generator = torch.Generator().manual_seed(0)
    parts = [tensor for tensor in _tensors(outputs) if tensor.is_floating_point()]
    drawn = [torch.randn(part.shape, generator=generator).to(part.dtype) for part in parts]
    return torch.stack([(part * c).sum() for part, c in zip(parts, drawn, strict=True)]).sum()


def _tensors(outputs: Any) -> Iterable[torch.Tensor]:
    import torch

    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    return (leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


def report(rows: Sequence[dict[str, Any]]) -> str:
    """How many networks are equal, by family of names, and what is not with the reason."""
    lines = ["| networks | read back | outputs equal | gradients equal |", "|---|---:|---:|---:|"]
    for family in sorted({row["network"].partition("/")[0] for row in rows}):
        mine = [row for row in rows if row["network"].startswith(f"{family}/")]
        mine = [row for row in mine if row["stage"] not in ("build", "export", "load")]
        with_gradients = [row for row in mine if row.get("gradients") is not None]
        lines.append(
            f"| {family} | {sum(row.get('outputs') is not None for row in mine)} of {len(mine)} "
            f"| {sum(row.get('outputs', 1) <= WANTED for row in mine)} "
            f"| {sum(row['gradients'] <= WANTED_GRADIENTS for row in with_gradients)} "
            f"of {len(with_gradients)} |"
        )
    lines += ["", "| not equal | at | outputs | gradients | reason |", "|---|---|---:|---:|---|"]
    for row in rows:
        if _is_equal(row) or row["stage"] in ("build", "export"):
            continue
        numbers = [f"{row[key]:.1e}" if row.get(key) is not None else "—" for key in COLUMNS[2:4]]
        reason = " ".join(row.get("reason", "").split()).replace("|", "\\|")[:200]
        lines.append(f"| {row['network']} | {row['stage']} | {' | '.join(numbers)} | {reason} |")
    return "\n".join(lines)


def _is_equal(row: dict[str, Any]) -> bool:
    near = row.get("outputs", 1) <= WANTED and (row.get("gradients") or 0) <= WANTED_GRADIENTS
    return row["stage"] == "done" and near


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", help="names; all where left out")
    parser.add_argument("--families", nargs="*", default=sorted(LISTS), help="families of names")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit for a network")
    parser.add_argument("--jobs", type=int, default=1, help="networks at once")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(ONE, help="judge this network here, and print the result")
    args = parser.parse_args(arguments)
    if args.one:
        print(json.dumps(judge(args.one)))
        return
    rows = rows_of(
        NAME, args.networks or listed(*args.families), args.results / "bridge.jsonl",
        lambda row: "equal" if _is_equal(row) else row.get("reason", "not equal"),
        seconds=args.seconds, jobs=args.jobs,
    )  # fmt: skip
    table = [{key: row.get(key) for key in COLUMNS} for row in rows]
    write_csv(table, args.results / "bridge.csv")
    text = report(rows)
    (args.results / "bridge.md").write_text(f"{text}\n")
    print(text)
    judged = [row for row in rows if row["stage"] not in ("build", "export", "load")]
    equal = sum(_is_equal(row) for row in judged)
    found = f"{equal} of {len(judged)} networks that export"
    print(goal("outputs equal to 1e-4, gradients to torch's", found, equal == len(judged)))


if __name__ == "__main__":
    main()
