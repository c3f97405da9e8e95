"""Memory and time of SPA's command on large models: ``python -m experiments.bench.large``.

Graphs of Llama-7B's shape and full width with a few of its 32 layers, in half precision with
external data, are inspected and pruned by the command line, in a process of its own each. What 32
layers would take is extrapolated by the straight line that fits all measurements best.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from experiments.bench.llama import Shape, write_llama

LAYERS = (1, 2, 4, 8)
ALL_LAYERS = 32
GIB, MIB = 2**30, 2**20
COLUMNS = (
    "command", "layers", "parameters", "weights_mib", "limit_mib", "seconds", "cpu_seconds",
    "peak_mib", "how",
)  # fmt: skip

# Runs the command, then says how much processor time it took, and memory at most.
CHILD = """
import sys
import time
from pathlib import Path
from spa.cli.main import main

code = main(sys.argv[1:])
print(time.process_time(), file=sys.stderr)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0], file=sys.stderr)
sys.exit(code)
"""


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Runs the command; returns seconds, those of processors, and peak memory in MiB.

    Raises:
        RuntimeError: the command failed.
    """
    started = time.monotonic()
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    if child.returncode != 0:
        raise RuntimeError(child.stderr)
    *_, cpu, peak = child.stderr.split()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(float(cpu), 1),
        "peak_mib": round(int(peak) / 1024),
    }


def limit_mib(path: Path) -> tuple[float, float]:
    """MiB of a file's weights, and of its ten largest tensors plus 2 GiB."""
    tensors = onnx.load(path, load_external_data=False).graph.initializer
    sizes = sorted(
        (
            int(np.prod(t.dims)) * onnx.helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
            for t in tensors
        ),
        reverse=True,
    )
    return sum(sizes) / MIB, (sum(sizes[:10]) + 2 * GIB) / MIB


def trial(layers: int, ratio: float, folder: Path) -> list[dict[str, Any]]:
    """Inspects and prunes one model."""
    path, out = folder / "llama.onnx", folder / "pruned.onnx"
    parameters = write_llama(path, Shape(layers))
    weights, limit = limit_mib(path)
    rows = []
    for command, more in (
        ("inspect", []),
        ("prune", ["--ratio", str(ratio), "-o", str(out), "--plan", str(folder / "plan.json")]),
    ):
        found = measure([command, str(path), *more])
        sizes = {"weights_mib": round(weights), "limit_mib": round(limit)}
        row = {"command": command, "layers": layers, "parameters": parameters, **sizes, **found}
        rows.append({**row, "how": "measured"})
        print(row, file=sys.stderr)
    return rows


def extrapolated(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What all layers would take, by command."""
    found = []
    for command in dict.fromkeys(row["command"] for row in rows):
        mine = [row for row in rows if row["command"] == command]
        layers = [row["layers"] for row in mine]
        row = {
            key: round(np.polyval(np.polyfit(layers, [row[key] for row in mine], 1), ALL_LAYERS))
            for key in COLUMNS[2:-1]
        }
        # From a few layers on, the ten largest tensors are the same.
        row["limit_mib"] = mine[-1]["limit_mib"]
        found.append({"command": command, "layers": ALL_LAYERS, **row, "how": "extrapolated"})
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|---|{'---:|' * (len(COLUMNS) - 2)}---|"]
    lines += [f"| {' | '.join(str(row[key]) for key in COLUMNS)} |" for row in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes the table and prints it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", nargs="+", type=int, default=LAYERS)
    parser.add_argument("--ratio", type=float, default=0.2)
    parser.add_argument("--folder", type=Path, help="where the models go for a while")
    parser.add_argument("--results", type=Path, default=Path("results/bench"))
    args = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for layers in args.layers:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            rows += trial(layers, args.ratio, Path(folder))
    rows.sort(key=lambda row: row["command"])
    if len(args.layers) > 1:
        rows += extrapolated(rows)
    args.results.mkdir(parents=True, exist_ok=True)
    with (args.results / "large.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(table(rows))


if __name__ == "__main__":
    main()
