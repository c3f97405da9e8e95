"""Networks of other collections, as modules: ``python -m experiments.bench.collections``.

Every network is a torch module that is pruned to RF 2 (`spa.prune` with ``keep_class=True``) in a
process of its own; then the smaller module takes one step of training. What is missing on this
machine is said, and left out. Results are appended as they come, so that a run that was stopped
goes on where it was. The collections are installed beside `[bench]`, without what they depend on:

    pip install --no-deps -r experiments/bench/networks/collections.txt
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.apart import rows_of
from experiments.bench.measure import RESULTS, write_csv
from experiments.bench.networks import COLLECTIONS, NETWORKS
from spa.errors import InfeasibleTarget

RF, SECONDS, ONE = 2.0, 900, "--one"
NAME = "experiments.bench.collections"
COLUMNS = ("network", "stage", "rf", "kept", "proven", "trained", "seconds", "notes", "reason")


def judge(name: str) -> dict[str, Any]:
    """Prunes a network and trains what is left; whatever goes wrong is part of the result.

    Returns:
        ``rf``, what was reached; ``kept``, whether the class is the same; ``proven``, whether
        outputs were seen to be equal (``not exact`` where they cannot be); ``trained``, whether one
        step of training has a finite loss and gradients.
    """
    import torch

    import spa

    row: dict[str, Any] = {"network": name, "stage": "build"}
    began = time.perf_counter()
    try:
        torch.manual_seed(0)
        network = NETWORKS.get(name)()
        row["stage"] = "prune"
        given = {"inputs": network.inputs, "keep_class": True}
        try:
            result = spa.prune(network.module, rf=RF, **given)
        except InfeasibleTarget as error:
            row["reason"] = f"{type(error).__name__}: {error}"[:600]
            result = spa.prune(network.module, rf=RF, best_effort=True, **given)
        row["rf"] = round(result.reached.rf, 3)
        row["kept"] = type(result.module) is type(network.module)
        row["proven"] = result.proof is not None and (result.proof.equal or "not exact")
        row["notes"] = " | ".join(result.plan.notes)[:600]
        row["stage"] = "train"
        row["trained"] = _trains(result.module, network.inputs)
        row["stage"] = "done"
    except ImportError as error:
        row |= {"stage": "missing", "reason": str(error)[:200]}
    except Exception as error:  # that is what is measured
        row["reason"] = f"{type(error).__name__}: {error}"[:600]
    return {**row, "seconds": round(time.perf_counter() - began, 1)}


def _trains(module: Any, inputs: tuple[Any, ...]) -> bool:
    """Whether one step of training has a finite loss, and finite gradients that are not zero."""
    import torch

    if module is None:
        return False
    module = module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-3)
    loss = torch.stack([(part.float() ** 2).mean() for part in _floats(module(*inputs))]).sum()
    loss.backward()
    norms = [float(p.grad.norm()) for p in module.parameters() if p.grad is not None]
    optimizer.step()
    return math.isfinite(float(loss.detach())) and math.isfinite(sum(norms)) and sum(norms) > 0


def _floats(outputs: Any) -> Iterator[Any]:
    import torch

    leaves, _ = torch.utils._pytree.tree_flatten(outputs)
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.requires_grad:
            yield leaf


def _said(row: dict[str, Any]) -> str:
    what = row.get("reason") or f"RF {row.get('rf')}, class kept: {row.get('kept')}"
    return f"{row['stage']}, {what}"


def report(rows: Iterable[dict[str, Any]]) -> str:
    """Counts by collection, and every network that fell short, with the reason."""
    lines = [
        "| collection | networks | RF 2 | class kept | proven equal | not exact | trained |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [row for row in rows if row["stage"] != "missing"]
    for family in dict.fromkeys(row["network"].partition("/")[0] for row in rows):
        mine = [row for row in rows if row["network"].startswith(f"{family}/")]
        counts = (
            sum(row.get("rf", 0) >= RF * (1 - 1e-9) for row in mine),
            sum(row.get("kept") is True for row in mine),
            sum(row.get("proven") is True for row in mine),
            sum(row.get("proven") == "not exact" for row in mine),
            sum(row.get("trained") is True for row in mine),
        )
        lines.append(f"| {family} | {len(mine)} | {' | '.join(map(str, counts))} |")
    lines += ["", "| fell short | at | RF | class kept | why |", "|---|---|---:|---|---|"]
    for row in rows:
        if row.get("rf", 0) >= RF * (1 - 1e-9) and row.get("kept") and row.get("trained"):
            continue
        why = row.get("reason") or row.get("notes") or ""
        why = " ".join(why.split()).replace("|", "\\|")[:200]
        kept = {True: "yes", False: "no"}.get(row.get("kept"), "—")
        lines.append(
            f"| {row['network']} | {row['stage']} | {row.get('rf', '—')} | {kept} | {why} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", help="names; all where left out")
    NETWORKS.names()  # loads the files
    parser.add_argument("--families", nargs="*", default=sorted(COLLECTIONS), help="of names")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit for a network")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(ONE, help="judge this network here, and print the result")
    args = parser.parse_args(arguments)
    if args.one:
        print(json.dumps(judge(args.one)))
        return
    path = args.results / "collections.jsonl"
    names = args.networks or [
        f"{family}/{name}" for family in args.families for name in COLLECTIONS[family]()
    ]
    rows = rows_of(
        NAME, names, path, _said, seconds=args.seconds,
        stays=lambda row: bool(row["stage"] != "missing"),
    )  # fmt: skip
    write_csv([{key: row.get(key) for key in COLUMNS} for row in rows], path.with_suffix(".csv"))
    text = report(rows)
    path.with_suffix(".md").write_text(f"{text}\n")
    print(text)


if __name__ == "__main__":
    main()
