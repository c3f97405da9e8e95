"""``spa profile``: parameters, MACs, file size and measured latency, side by side."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import spa
from spa.cli.options import add_json, add_model, parse_inputs
from spa.errors import InputError, SettingError
from spa.graph.latency import ROUNDS, measure_latency
from spa.graph.read import external_files
from spa.progress import stage
from spa.showing import all_shown


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "profile", help="measure parameters, MACs, file size and latency, side by side"
    )
    add_model(parser)
    parser.add_argument("others", nargs="*", metavar="PRUNED.onnx", help="models to compare with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds")
    parser.add_argument("--threads", type=int, default=0, help="ONNX Runtime threads; 0 is all")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    if args.rounds < 1 or args.threads < 0:
        raise SettingError(
            "--rounds must be 1 or more and --threads 0 or more; "
            f"{args.rounds} and {args.threads} were given."
        )
    paths = [args.model, *args.others]
    shapes = parse_inputs(args.input)
    models = []
    for path in paths:
        with stage(f"Loading {path}"):
            models.append(spa.load(path, shapes))
        _check_comparable(models, paths)
    with stage("Timing"):
        times = measure_latency(
            [model.closed for model in models],
            models[0].example,
            rounds=args.rounds,
            threads=args.threads,
        )
    rows = []
    for path, model, latency in zip(paths, models, times, strict=True):
        cost = spa.measure_cost(model)
        rows.append(
            {
                "model": path,
                "params": cost.params,
                "macs": cost.macs,
                "file_bytes": _file_bytes(Path(path)),
                "latency_ms": {
                    "median": latency.median,
                    "p10": latency.low,
                    "p90": latency.high,
                    "rounds": latency.rounds,
                },
            }
        )
    document = {
        "inputs": {name: list(value.shape) for name, value in models[0].example.items()},
        "provider": "CPUExecutionProvider",
        "threads": args.threads or os.cpu_count(),
        "models": rows,
    }
    return document, _text(all_shown(document))


def _check_comparable(models: list[spa.Model], paths: list[str]) -> None:
    """All are timed on the first one's example inputs."""
    first, last = models[0], models[-1]
    taken = {declared.name: declared for declared in last.declared}
    fits = taken.keys() == first.example.keys() and all(
        value.dtype == taken[name].dtype and taken[name].takes(value.shape)
        for name, value in first.example.items()
    )
    if not fits:
        raise InputError(
            f"{paths[len(models) - 1]} takes {_inputs(last)}, but {paths[0]} is timed with "
            f"{_inputs(first)}; models that are compared must take the same inputs."
        )


def _inputs(model: spa.Model) -> str:
    return ", ".join(f"{d.describe()} ({d.dtype})" for d in model.declared) or "no inputs"


def _file_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path, *external_files(path)))


def _text(document: dict[str, Any]) -> str:
    shapes = ", ".join(f"{n} {'x'.join(map(str, s))}" for n, s in document["inputs"].items())
    head = ("model", "params", "MACs", "bytes", "ms median", "ms p10..p90", "speed-up")
    table = [head]
    first = document["models"][0]["latency_ms"]["median"]
    for row in document["models"]:
        latency = row["latency_ms"]
        table.append(
            (
                row["model"],
                f"{row['params']:,}",
                f"{row['macs']:,}",
                f"{row['file_bytes']:,}",
                f"{latency['median']:.3f}",
                f"{latency['p10']:.3f}..{latency['p90']:.3f}",
                f"{first / latency['median']:.2f}x",
            )
        )
    widths = [max(len(row[k]) for row in table) for k in range(len(head))]
    lines = [f"{shapes}; {document['provider']}, {document['threads']} threads"]
    for row in table:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)
