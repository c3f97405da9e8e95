"""Which networks are pruned, by SPA and by its peers: ``python -m experiments.bench.coverage``.

timm's networks and onnxsim need the extra ``bench``. Every trial has a process of its own with
limits of time and memory. Results are appended as they come, so that a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments.bench.networks import LISTS, listed
from experiments.bench.tools import TOOLS

SECONDS = 300
MEMORY_MIB = 4096
# Stages of a trial before its tool is called.
BEFORE = ("build", "export")
COLUMNS = (
    "network", "family", "tool", "success", "stage", "rf", "rp", "exact", "seconds", "peak_mib",
    "reason",
)  # fmt: skip


def run_trial(network: str, tool: str, seconds: float, memory_mib: float) -> dict[str, Any]:
    """Makes one trial in a process of its own, within limits."""
    command = [sys.executable, "-m", "experiments.bench.trial", network, tool]
    failed = {"network": network, "tool": tool, "stage": "limits", "success": False}
    started = time.monotonic()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        while child.poll() is None:
            if time.monotonic() - started > seconds:
                child.kill()
                return {**failed, "reason": f"it took more than {seconds:g} s"}
            if _resident_mib(child.pid) > memory_mib:
                child.kill()
                return {**failed, "reason": f"it took more than {memory_mib:g} MiB"}
            time.sleep(0.1)
        out, err = child.communicate()
    if child.returncode != 0:
        last = (err.strip().splitlines() or [""])[-1]
        return {**failed, "stage": "crash", "reason": f"exit code {child.returncode}: {last}"}
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return result


def _resident_mib(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0  # it just ended
    return pages * 4096 / 2**20


def read(path: Path) -> list[dict[str, Any]]:
    """Results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def write_table(results: Iterable[dict[str, Any]], path: Path) -> None:
    """Writes all results as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(results, key=lambda r: (r["network"], r["tool"])))


def summary(results: Sequence[dict[str, Any]]) -> str:
    """By family of names and tool, how many networks were pruned, and how many exactly.

    Networks that no tool got, as the exporter to ONNX gave up on them, are counted apart.
    """
    tools = [tool for tool in TOOLS if any(r["tool"] == tool for r in results)]
    lines = [
        f"| networks | exported | {' | '.join(tools)} |",
        f"|---|---:|{'---:|' * len(tools)}",
    ]
    for family in sorted({_family(r) for r in results}):
        mine = [r for r in results if _family(r) == family]
        lost = {r["network"] for r in mine if r["stage"] in BEFORE}
        names = {r["network"] for r in mine}
        cells = [f"{len(names - lost)} of {len(names)}"]
        for tool in tools:
            tried = [r for r in mine if r["tool"] == tool and r["network"] not in lost]
            pruned = [r for r in tried if r["success"]]
            exact = sum(bool(r.get("exact")) for r in pruned)
            cells.append(f"{len(pruned)} of {len(tried)} ({exact} exact)")
        lines.append(f"| {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(results: Sequence[dict[str, Any]], tool: str) -> str:
    """What a tool did not prune, with the reason; as Markdown."""
    lines = [f"| not pruned by {tool} | at | reason |", "|---|---|---|"]
    lines += [
        f"| {r['network']} | {r['stage']} | {_one_line(r.get('reason', ''))} |"
        for r in sorted(results, key=lambda r: r["network"])
        if r["tool"] == tool and not r["success"]
    ]
    return "\n".join(lines)


def _family(result: dict[str, Any]) -> str:
    return str(result["network"]).partition("/")[0]


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")[:200]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs what is missing, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", help="names; all where left out")
    parser.add_argument("--families", nargs="*", default=sorted(LISTS), help="families of names")
    parser.add_argument("--tools", nargs="*", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--memory-mib", type=float, default=MEMORY_MIB)
    parser.add_argument("--jobs", type=int, default=1, help="trials at once")
    parser.add_argument("--results", type=Path, default=Path("results/bench"))
    args = parser.parse_args(arguments)
    args.results.mkdir(parents=True, exist_ok=True)
    path = args.results / "coverage.jsonl"
    results = read(path)
    done = {(r["network"], r["tool"]) for r in results}
    names = args.networks or listed(*args.families)
    missing = [(n, t) for n in names for t in args.tools if (n, t) not in done]
    with ThreadPoolExecutor(args.jobs) as pool:
        trials = [pool.submit(run_trial, *m, args.seconds, args.memory_mib) for m in missing]
        for number, trial in enumerate(as_completed(trials), 1):
            result = trial.result()
            what = "pruned" if result["success"] else result.get("reason", "failed")
            line = f"{number}/{len(missing)} {result['network']} {result['tool']}: {what}"
            print(line[:160], file=sys.stderr)
            with path.open("a") as file:
                file.write(json.dumps(result) + "\n")
            results.append(result)
    write_table(results, args.results / "coverage.csv")
    report = f"{summary(results)}\n\n{failures(results, 'spa')}\n"
    (args.results / "coverage.md").write_text(report)
    print(report)


if __name__ == "__main__":
    main()
