"""What the harness itself costs: ``python -m experiments.bench.harness``.

Tables: 1,000 finished runs in a temporary folder, made from one record of results/records by giving
it other models, methods, targets and seeds, and other numbers. Timed is all of `tables.write`:
reading and checking the files, the comparison's guard, three tables and all figures. The wall clock
is compared with the goal, and the processor's time is told beside, as a busy machine makes one
wait.

Runs: real sweeps of short runs on digits, from the command to its end, one run after another and
two at a time. What a run costs beyond training, pruning and evaluation is that time, as often as
runs go on at once, less the seconds that all runs spent on these (`seconds` of their results), by
the run: so starting Python and importing everything is in it, and idling at the end is.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import tables
from experiments.bench.measure import RESULTS, goal, markdown, say, write_csv
from experiments.ground import files, paths
from experiments.results import records
from experiments.results.schema import Status, checksum
from spa.errors import InputError

RUNS = 1000
WANTED = 10.0
OVERHEAD = 5.0
SWEEP = (
    *("model=resnet8,vgg_small", "criterion=l1,random", "seed=0,1", "trainer=smoke"),
    *("trainer.train.epochs=3", "trainer.finetune.epochs=2"),
)
MODELS = ("resnet8", "resnet20", "vgg_small", "vgg16_bn", "mobilenet_v2")
CRITERIA = ("l1", "l2", "random", "snip", "grasp")
TARGETS = (1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0)
SEEDS = tuple(range(5))


def variations(record: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Vary a record: `count` results of as many runs, of which five differ by their seed alone."""
    rng = random.Random(0)
    settings = itertools.product(MODELS, CRITERIA, TARGETS, SEEDS)
    out = []
    for model, criterion, target, seed in itertools.islice(settings, count):
        result = copy.deepcopy(record)
        result |= {"model": model, "method": "spa", "criterion": criterion, "seed": seed}
        result |= {"time": "train_prune_finetune", "asked": {"rf": target}, "calibration": None}
        result |= {"run_id": f"{hash_of(model, criterion, target)}", "experiment": "harness"}
        result["dense_sha256"] = hash_of(model, seed)
        result["reached"]["rf"] = target * rng.uniform(1, 1.03)
        result["macs"]["pruned"] = result["macs"]["dense"] / result["reached"]["rf"]
        accuracy = rng.gauss(0.93, 0.005)
        found = {"dense": accuracy, "pruned": 0.3, "finetuned": accuracy - 0.01 * target}
        result["metrics"] = {stage: {"acc": value} for stage, value in found.items()}
        result["prune_seconds"] = rng.uniform(0.1, 1)
        result["latency_ms"]["pruned"] *= rng.uniform(0.8, 1.2)
        result["widths"] = [
            {"name": f"layer{i}.weight", "dense": 64, "pruned": rng.randint(1, 64)}
            for i in range(20)
        ]
        out.append(result)
    return out


def hash_of(*what: Any) -> str:
    """Return ten hexadecimal digits that stand for something."""
    return checksum({"what": what})[:10]


def tabulated(record: dict[str, Any], count: int) -> dict[str, Any]:
    """Make that many runs, and time how long they take to be tables and figures."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for result in variations(record, count):
            path = paths.run(results, "harness", result["run_id"], result["seed"])
            records.write_result(path / "result.json", result)
            status = {key: result[key] for key in Status.__annotations__ if key in result}
            files.write_json(path / "status.json", {**status, "state": "done"})
        wall, processor = time.perf_counter(), time.process_time()
        tables.write(results, results / "runs", "harness")
        return {
            "what": "tables and figures",
            "runs": count,
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - processor,
        }


def launched(launcher: Sequence[str], at_once: int) -> dict[str, Any]:
    """Launch a sweep of short runs; returns what each cost beside its work, in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", "experiments.run", "-m", *SWEEP, *launcher, f"results_dir={folder}"]
        wall = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - wall
        found = records.read_results(Path(folder) / "runs", "adhoc")
    worked = sum(
        sum(value or 0.0 for key, value in result["seconds"].items() if key != "total")
        for result in found
    )
    overhead = (seconds * at_once - worked) / len(found)
    what = f"runs, {at_once} at a time"
    return {"what": what, "runs": len(found), "seconds": seconds, "overhead_seconds": overhead}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the numbers and whether the goal is reached, and writes harness.csv."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--records", type=Path, default=Path("results/records/demo"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    found = sorted(args.records.glob("*_seed_*.json"))
    if not found:
        raise InputError(f"there is no record in {args.records}; name a folder with --records")
    say(f"{args.runs} runs like {found[0].name}")
    tabling = tabulated(dict(records.read_result(found[0])), args.runs)
    rows = [{**tabling, "overhead_seconds": None}]
    for launcher, at_once in (((), 1), (("hydra/launcher=local", "hydra.launcher.n_jobs=2"), 2)):
        say(f"a sweep, {at_once} at a time")
        rows.append({"processor_seconds": None, **launched(launcher, at_once)})
    columns = {
        "what": "what", "runs": "runs", "seconds": "s", "processor_seconds": "processor, s",
        "overhead_seconds": "beside the work, s a run",
    }  # fmt: skip
    rows = [{key: row[key] for key in columns} for row in rows]
    print(markdown(rows, columns))
    took = rows[0]["seconds"]
    wanted = f"{args.runs:,} finished runs tabulated in under {WANTED:g} s"
    print(f"\n{goal(wanted, f'{took:.1f} s', took < WANTED)}")
    most = max(row["overhead_seconds"] for row in rows[1:])
    wanted = f"at most {OVERHEAD:g} s a run beside training, pruning and evaluation"
    print(f"\n{goal(wanted, f'{most:.1f} s at most', most <= OVERHEAD)}")
    write_csv(rows, args.results / "harness.csv")


if __name__ == "__main__":
    main()
