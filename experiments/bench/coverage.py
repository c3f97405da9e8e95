"""Which networks are pruned, by SPA and by its peers: ``python -m experiments.bench.coverage``.

timm's networks and onnxsim need the extra ``bench``. Every network has a process of its own, and
every tool limits of time and memory in it. Results are appended as they come, so that a run that
was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from experiments.bench.exactness import VERDICTS
from experiments.bench.networks import LISTS, listed
from experiments.bench.tools import TOOLS
from experiments.ground import provenance

SECONDS = 300
MEMORY_MIB = 4096
# For what is not measured: building and exporting a network, and comparing what came out.
AROUND_SECONDS = 1200
TRIAL = (sys.executable, "-m", "experiments.bench.trial")
# Stages of a trial before its tool is called.
BEFORE = ("build", "export")
COLUMNS = (
    "network", "family", "tool", "success", "stage", "rf", "rp", "exact", "proven", "seconds",
    "peak_mib", "reason", "commit",
)  # fmt: skip


def run_trials(
    network: str,
    tools: Sequence[str],
    seconds: float,
    memory_mib: float,
    cores: Set[int] = frozenset(),
) -> Iterator[dict[str, Any]]:
    """Prunes a network by each tool, in a process of its own, within limits.

    Args:
        network: its name.
        tools: names of tools.
        seconds: limit of time of each tool.
        memory_mib: limit of resident memory while a tool works.
        cores: processor cores that the process may use; all where empty.

    Yields:
        One result for each tool.
    """
    left = list(tools)
    while left:
        for result in _one_process(network, left, seconds, memory_mib, cores):
            left.remove(result["tool"])
            yield result


def _one_process(
    network: str, tools: Sequence[str], seconds: float, memory_mib: float, cores: Set[int]
) -> Iterator[dict[str, Any]]:
    """Results until all tools are done, or one of them ended the process."""
    with tempfile.TemporaryFile("w+") as errors, subprocess.Popen(
        [*TRIAL, network, *tools], stdout=subprocess.PIPE, stderr=errors
    ) as child:  # fmt: skip
        if cores:
            os.sched_setaffinity(child.pid, cores)
        assert child.stdout is not None
        tool, working, since = "", False, time.monotonic()
        text, left = b"", list(tools)
        while left:
            ready, _, _ = select.select([child.stdout], [], [], 0.1)
            chunk = os.read(child.stdout.fileno(), 2**16) if ready else b""
            if ready and not chunk:
                break
            *lines, text = (text + chunk).split(b"\n")
            for line in map(json.loads, lines):
                since = time.monotonic()
                if "begins" in line or "ends" in line:
                    tool, working = line.get("begins", tool), "begins" in line
                else:
                    left.remove(line["tool"])
                    working = False
                    yield line
            limit = seconds if working else AROUND_SECONDS
            reason = ""
            if time.monotonic() - since > limit:
                reason = f"it took more than {limit:g} s"
            elif working and _resident_mib(child.pid) > memory_mib:
                reason = f"it took more than {memory_mib:g} MiB"
            if reason:
                child.kill()
                lost = [tool] if tool in left else list(left)
                yield from _lost(network, lost, "limits", reason)
                return
        if left:
            child.wait()
            errors.seek(0)
            last = (errors.read().strip().splitlines() or [""])[-1]
            lost = [tool] if tool in left else list(left)
            yield from _lost(network, lost, "crash", f"exit code {child.returncode}: {last}")


def _lost(network: str, tools: Sequence[str], stage: str, reason: str) -> Iterator[dict[str, Any]]:
    for tool in tools:
        yield {"network": network, "tool": tool, "stage": stage, "success": False, "reason": reason}


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
    """By family of names and tool, how many networks were pruned, and how many of these exactly.

    Networks that no tool got, as the exporter to ONNX gave up on them, are counted apart.
    """
    tools = [tool for tool in TOOLS if any(r["tool"] == tool for r in results)]
    heads = [f"{tool} | exact: {', '.join(VERDICTS)}" for tool in tools]
    lines = [
        f"| networks | exported | {' | '.join(heads)} |",
        f"|---|---:|{'---:|---:|' * len(tools)}",
    ]
    for family in sorted({_family(r) for r in results}):
        mine = [r for r in results if _family(r) == family]
        lost = {r["network"] for r in mine if r["stage"] in BEFORE}
        names = {r["network"] for r in mine}
        cells = [f"{len(names - lost)} of {len(names)}"]
        for tool in tools:
            tried = [r for r in mine if r["tool"] == tool and r["network"] not in lost]
            pruned = [r for r in tried if r["success"]]
            exact = [sum(r["exact"] == verdict for r in pruned) for verdict in VERDICTS]
            cells += [f"{len(pruned)} of {len(tried)}", ", ".join(map(str, exact))]
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
    version = provenance.code()
    commit = f"{version['commit'] or 'unknown'}"[:12] + ("+" if version["dirty"] else "")
    done = {(r["network"], r["tool"]) for r in results}
    names = args.networks or listed(*args.families)
    missing = {
        name: tools for name in names if (tools := [t for t in args.tools if (name, t) not in done])
    }
    cores: SimpleQueue[Set[int]] = SimpleQueue()
    everything = sorted(os.sched_getaffinity(0))
    for job in range(args.jobs):
        # Every job has its own cores: no tool waits for another's threads.
        cores.put(frozenset(everything[job :: args.jobs] or everything))

    def trial(name: str) -> list[dict[str, Any]]:
        mine = cores.get()
        try:
            return list(run_trials(name, missing[name], args.seconds, args.memory_mib, mine))
        finally:
            cores.put(mine)

    with ThreadPoolExecutor(args.jobs) as pool:
        running = [pool.submit(trial, name) for name in missing]
        for number, done_one in enumerate(as_completed(running), 1):
            for result in done_one.result():
                result["commit"] = commit
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
