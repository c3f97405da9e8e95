"""Checks many random graphs, and records how many: ``python -m tests.hunt --graphs 50000``.

The graphs come in chunks, each drawn from a seed of its own, so that a hunt that was stopped goes
on where it was (same code and seed), and one chunk can be run again alone. Three chunks in four
prune graphs of all kinds; the fourth has plain ones, which are pruned and perturbed. What fails is
saved as ONNX with what was drawn, and the hunt goes on; ``--minimise CHUNK`` lets hypothesis shrink
a chunk's first failure. The last step appends one line to ``results/hunts.csv``: what is wrong, and
apart from it what is falsely refused, by the start of what SPA said.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
STATE = RESULTS / "runs" / "hunts"

PER_CHUNK = 50
PERTURBED_EVERY = 4
MAX_SECONDS = 120
PACKAGES = ("numpy", "onnx", "onnxruntime", "hypothesis")
COUNTED = ("graphs", "plans", "equal", "sizes", "channels")
WRONG, REFUSED = "wrong", "refused"
COLUMNS = (
    "finished", "commit", "seed", "chunks", "graphs", "distinct", "plans", "equal", "sizes",
    "channels", "operators", "failures", WRONG, REFUSED, "refusals", "seconds", "processes",
    "python", *PACKAGES,
)  # fmt: skip
# Of a message, to count refusals by: names and numbers are left out.
NAMED = re.compile(r'"[^"]*"|\d[\d.e+x-]*|[({\[].*')
MESSAGE = 90


def check(drawn: Any) -> dict[str, int]:
    from tests.random_graphs.checking import check_perturbation, check_pruning

    seen = Counter(check_pruning(drawn))
    if drawn.plain:
        seen["channels"] += check_perturbation(drawn)["channels"]
    return dict(seen)


def strategy_of(chunk: int) -> Any:
    from tests.random_graphs import graphs

    plain = chunk % PERTURBED_EVERY == PERTURBED_EVERY - 1
    return graphs(plain=plain, max_blocks=4 if plain else 5)


def run_chunk(chunk: int, examples: int, folder: str) -> dict[str, Any]:
    """Checks one chunk; returns what was counted, and what failed."""
    from spa.errors import SpaError
    from tests.random_graphs.independent import visit

    started = time.monotonic()
    seen: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    hashes: list[str] = []
    failures: list[dict[str, str]] = []

    def one(drawn: Any) -> None:
        data = drawn.proto.SerializeToString(deterministic=True)
        hashes.append(hashlib.sha256(data).hexdigest()[:16])
        operators.update({_operator(node) for node in drawn.proto.graph.node})
        seen["graphs"] += 1
        signal.alarm(MAX_SECONDS)
        try:
            seen.update(check(drawn))
        except Exception as error:
            refused = isinstance(error, SpaError)
            stem = f"chunk{chunk}-graph{len(hashes) - 1}"
            onnx.save(drawn.proto, str(Path(folder) / f"{stem}.onnx"))
            place = traceback.extract_tb(error.__traceback__)[-1]
            failures.append({
                "graph": stem,
                "kind": REFUSED if refused else WRONG,
                "drawn": repr(drawn),
                "error": f"{type(error).__name__}: {error}"[:1000],
                "where": f"{Path(place.filename).name}:{place.lineno}",
            })  # fmt: skip
        finally:
            signal.alarm(0)

    signal.signal(signal.SIGALRM, _too_slow)
    visit(strategy_of(chunk), one, number=chunk, examples=examples, shrink=False)
    return {
        "chunk": chunk,
        **{name: seen[name] for name in COUNTED},
        "hashes": hashes,
        "operators": dict(operators),
        "failures": failures,
        "seconds": round(time.monotonic() - started, 2),
    }


def _operator(node: onnx.NodeProto) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"one graph took over {MAX_SECONDS} s")


def _on_one_core(counter: Any) -> None:
    """Every worker on a core of its own: ONNX Runtime's threads would only get in each other's way.

    Ctrl-C is for the parent; when that is gone, so is the worker.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, args=(os.getppid(),), daemon=True).start()
    cores = sorted(os.sched_getaffinity(0))
    with counter.get_lock():
        counter.value += 1
        os.sched_setaffinity(0, {cores[counter.value % len(cores)]})


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def commit() -> str:
    """The commit, with a plus where files of the library or the tests differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    name = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return name + ("+" if git("status", "--porcelain", "--", "spa", "tests") else "")


def hunt(graphs: int, seed: int, processes: int, folder: Path) -> list[dict[str, Any]]:
    """Runs what is left of all chunks, and returns their records."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "chunks.jsonl"
    records = {}
    if log.exists():
        records = {r["chunk"]: r for r in map(json.loads, log.read_text().splitlines())}
    count = -(-graphs // PER_CHUNK)
    todo = [seed + k for k in range(count) if seed + k not in records]
    say(f"{count} chunks of {PER_CHUNK} graphs, {len(todo)} to do, in {folder}")
    started, done = time.monotonic(), 0
    with log.open("a") as out:
        for record in _run_all(todo, processes, folder):
            records[record["chunk"]] = record
            out.write(json.dumps(record) + "\n")
            out.flush()
            done += 1
            kinds = Counter(f["kind"] for r in records.values() for f in r["failures"])
            spent = time.monotonic() - started
            say(
                f"{len(records)}/{count} chunks, {kinds[WRONG]} wrong, {kinds[REFUSED]} refused, "
                f"{spent * processes / (done * PER_CHUNK):.2f} s per graph and core, "
                f"{spent / done * (len(todo) - done) / 60:.0f} min left"
            )
            for failure in record["failures"]:
                say(f"  {failure['graph']}: {failure['error'][:200]} ({failure['where']})")
    return [records[seed + k] for k in range(count)]


def _run_all(todo: list[int], processes: int, folder: Path) -> Any:
    """Yields chunks as they are done; one that takes its worker down is recorded as failed."""
    context = multiprocessing.get_context("spawn")
    left = list(todo)
    while left:
        pool = ProcessPoolExecutor(
            processes, context, initializer=_on_one_core, initargs=(context.Value("i", -1),)
        )
        futures = {pool.submit(run_chunk, k, PER_CHUNK, str(folder)): k for k in left}
        try:
            for future in as_completed(futures):
                record = future.result()
                left.remove(record["chunk"])
                yield record
        except BrokenProcessPool:
            lost = left.pop(0)
            say(f"chunk {lost} or one beside it took its process down")
            yield _lost(lost)
        finally:
            pool.shutdown(cancel_futures=True)


def _lost(chunk: int) -> dict[str, Any]:
    failure = {
        "graph": f"chunk{chunk}",
        "kind": WRONG,
        "drawn": "",
        "error": "the process died",
        "where": "",
    }
    zero: dict[str, Any] = dict.fromkeys(COUNTED, 0)
    return {"chunk": chunk, **zero, "hashes": [], "operators": {}, "failures": [failure],
            "seconds": 0.0}  # fmt: skip


def summary(records: list[dict[str, Any]], code: str, seed: int, processes: int) -> dict[str, Any]:
    """One line of ``results/hunts.csv``."""
    total = {name: sum(record[name] for record in records) for name in COUNTED}
    failures = [failure for record in records for failure in record["failures"]]
    kinds = Counter(failure["kind"] for failure in failures)
    refusals = Counter(_message(f["error"]) for f in failures if f["kind"] == REFUSED)
    return {
        "finished": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "commit": code,
        "seed": seed,
        "chunks": len(records),
        **total,
        "distinct": len({h for record in records for h in record["hashes"]}),
        "operators": len({op for record in records for op in record["operators"]}),
        "failures": len(failures),
        WRONG: kinds[WRONG],
        REFUSED: kinds[REFUSED],
        "refusals": "; ".join(f"{text} ({n})" for text, n in sorted(refusals.items())),
        "seconds": round(sum(record["seconds"] for record in records)),
        "processes": processes,
        "python": ".".join(map(str, sys.version_info[:3])),
        **{name: version(name) for name in PACKAGES},
    }


def _message(error: str) -> str:
    """What a refusal says, without what is the graph's own."""
    return " ".join(NAMED.sub("..", error).split())[:MESSAGE]


def append(line: dict[str, Any], path: Path) -> None:
    new = not path.exists()
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(line)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hunt", description=__doc__)
    parser.add_argument("--graphs", type=int, default=50000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first chunk")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--results", type=Path, default=RESULTS / "hunts.csv")
    parser.add_argument("--state", type=Path, help="folder of chunks done and of what failed")
    parser.add_argument("--minimise", type=int, metavar="CHUNK", help="shrink what fails there")
    given = parser.parse_args(arguments)
    if given.minimise is not None:
        from tests.random_graphs.independent import visit

        visit(strategy_of(given.minimise), check, number=given.minimise, examples=PER_CHUNK)
        return 0
    code = commit()  # as it is now: others may commit while the hunt runs
    folder = given.state or STATE / f"{code}-seed{given.seed}"
    records = hunt(given.graphs, given.seed, given.processes, folder)
    line = summary(records, code, given.seed, given.processes)
    append(line, given.results)
    say(", ".join(f"{name} {value}" for name, value in line.items()))
    return 1 if line["failures"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
