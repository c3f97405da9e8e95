"""What the timed benchmarks share: networks at their usual size, turns, tables, where numbers go.

A machine's speed drifts, so what is compared is timed in turn in one process, round by round, each
after a garbage collection; medians over the rounds are compared.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import gc
import io
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.bench.networks import NETWORKS, Network
from experiments.figures.style import COLOURS, DASHES, MARKERS
from experiments.ground import files, provenance
from spa.graph.model import Model
from spa.graph.nodes import Graph

RESULTS = Path("results/bench")
USUAL = 224
# By name, the seconds that each part of a call took.
Seconds = dict[str, float]


def build(name: str, size: int = USUAL) -> Network:
    """Builds one of torchvision's networks, with one image of a given size as its example."""
    import torch

    torch.manual_seed(0)
    network = NETWORKS.get(f"torchvision/{name}")()
    return dataclasses.replace(network, inputs=(torch.randn(1, 3, size, size),))


def as_loaded(model: Model) -> Model:
    """The same model without anything that was worked out since it was read."""
    return dataclasses.replace(model, graph=Graph.from_proto(model.proto), _arrays={})


def options(
    description: str, networks: Sequence[str], rounds: int, arguments: Sequence[str] | None
) -> argparse.Namespace:
    """The command line of a benchmark of torchvision's networks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--networks", nargs="*", default=list(networks), help="of torchvision")
    parser.add_argument("--size", type=int, default=USUAL, help="of the image")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args(arguments)


def in_turn(
    calls: Sequence[Callable[[], Seconds]],
    rounds: int,
    typical: Callable[[Sequence[float]], float] = statistics.median,
) -> Seconds:
    """Makes calls in turn, each after a garbage collection.

    Args:
        calls: what to call.
        rounds: how often.
        typical: what to take of the rounds. Other work on the machine only adds to a time, so the
            least says most about the work itself; medians are fair where different programs are
            compared.
    """
    seen: dict[str, list[float]] = {}
    for _ in range(rounds):
        for call in calls:
            gc.collect()
            for name, seconds in call().items():
                seen.setdefault(name, []).append(seconds)
    return {name: typical(row) for name, row in seen.items()}


def say(text: str) -> None:
    """Reports progress."""
    print(text, file=sys.stderr, flush=True)


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Writes rows of the same keys, and beside them what they were measured on."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _rounded(value) for key, value in row.items()} for row in rows)
    files.write_text(path, text.getvalue())
    about = provenance.environment()
    kept = {key: about[key] for key in ("code", "hardware", "python", "packages")}
    files.write_json(path.with_suffix(".json"), kept)


def markdown(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> str:
    """A table of some columns, by key and heading; numbers to the right."""
    numbers = {key for key in columns if any(isinstance(r[key], (int, float)) for r in rows)}
    lines = [
        f"| {' | '.join(columns.values())} |",
        f"|{'|'.join('---:' if key in numbers else '---' for key in columns)}|",
    ]
    lines += [f"| {' | '.join(_shown(row[key]) for key in columns)} |" for row in rows]
    return "\n".join(lines)


def goal(text: str, found: str, reached: bool) -> str:
    """One sentence on what was wanted and what was found."""
    return f"Goal: {text}. Found: {found}: {'reached' if reached else 'not reached'}."


def draw(
    stem: Path,
    lines: Mapping[str, Iterable[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
) -> None:
    """Writes <stem>.svg and <stem>.png: lines that a grey print and the colour-blind tell apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "spa", "font.size": 9}):
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for i, (name, points) in enumerate(lines.items()):
            x, y = zip(*points, strict=True)
            look = {"color": COLOURS[i], "marker": MARKERS[i], "linestyle": DASHES[i]}
            axes.plot(x, y, label=name, linewidth=1.4, markersize=4.5, **look)
        if log:
            axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(loc="outside upper center", ncols=len(lines), frameon=False)
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(f"{stem}.svg", metadata={"Date": None})
        figure.savefig(f"{stem}.png", dpi=150, metadata={"Software": None})


def _rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _shown(value: Any) -> str:
    if value is None:
        return "—"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
