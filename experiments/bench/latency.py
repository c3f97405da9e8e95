"""What half of the FLOPs saves in time: ``python -m experiments.bench.latency``.

Networks with random weights are pruned to RF 2, with widths as they come, and with multiples of 8
and of 16 (ONNX Runtime's fast layout is in blocks of 8 channels, or of 16 where there is AVX-512).
Every group shrinks alike (local scope): random weights say nothing about layers, and a ranking of
all channels together would empty some and leave others. Dense and pruned run in turn in one process
on ONNX Runtime, one image on one thread. It is the calling one, so its CPU time is taken: the
latency on a machine that does nothing else. The gain is the ratio of medians.

Where the gain stays behind RF, ONNX Runtime's profiler says why: an operator's loss is what it
takes in the pruned network beyond its dense time over RF. A fused operator counts with the plain
one; which of them ran is in latency_operators.csv: a Conv in ONNX Runtime's blocked layout is
called Conv even when it is fused, one in the plain layout FusedConv.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort

import spa
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
from spa.bridge import from_torch
from spa.graph.execute import Array, run_session, session

NETWORKS = (
    "resnet50", "vgg19", "densenet121", "mobilenet_v2", "efficientnet_b0", "regnet_y_1_6gf",
    "convnext_tiny", "vit_b_16",
)  # fmt: skip
RF = 2.0
ROUND_TO = (1, 8, 16)
WANTED = 0.8
ROUNDS = 30
PROFILED = 11
THREADS = 1
# What ONNX Runtime calls an operator with an activation or a factor in it.
FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul"}
# Operators that are named where the gain stays behind.
NAMED = 3


def by_operator(
    protos: Sequence[onnx.ModelProto], feeds: Mapping[str, Array], *, threads: int = THREADS
) -> list[dict[str, float]]:
    """Milliseconds of a run by kind of operator, of graphs as ONNX Runtime rewrites them.

    The models run in turn, and every node counts with its median over several runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        runners = []
        for i, proto in enumerate(protos):
            path = Path(folder) / f"{i}.onnx"
            onnx.save(proto, path)
            options = ort.SessionOptions()
            options.log_severity_level = 4
            options.intra_op_num_threads = threads
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / f"profile{i}")
            providers = ["CPUExecutionProvider"]
            runners.append(ort.InferenceSession(str(path), options, providers=providers))
        for _ in range(PROFILED):
            for runner in runners:
                runner.run(None, dict(feeds))
        return [_sums(json.loads(Path(runner.end_profiling()).read_text())) for runner in runners]


def _sums(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    nodes: dict[tuple[str, str], list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = event["args"]["op_name"], event["name"]
            nodes.setdefault(key, []).append(event["dur"] / 1e3)
    result: dict[str, float] = {}
    for (op, _), times in nodes.items():
        # A node without a name shares its key with others of its kind; each run lists all of them.
        result[op] = result.get(op, 0.0) + statistics.median(times) * len(times) / PROFILED
    return result


def losses(
    dense: Mapping[str, float], pruned: Mapping[str, float], rf: float
) -> list[tuple[str, float]]:
    """Operators by what they take beyond their dense time over RF, in milliseconds."""
    found: dict[str, float] = {}
    for op in {*dense, *pruned}:
        loss = pruned.get(op, 0.0) - dense.get(op, 0.0) / rf
        kind = FUSED.get(op, op)
        found[kind] = found.get(kind, 0.0) + loss
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))


def timer(name: str, proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> Callable[[], Seconds]:
    """What runs a model once, and says how long it took."""
    runner = session(proto, threads=THREADS)
    run_session(runner, feeds)

    def call() -> Seconds:
        started = time.thread_time()
        run_session(runner, feeds)
        return {name: time.thread_time() - started}

    return call


def compare(name: str, size: int, rounds: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One network: a line of the table for each rounding, and its operators' times."""
    network = build(name, size)
    feeds = {"input": network.inputs[0].numpy()}
    model = spa.load(from_torch(network.module, network.inputs))
    pruned = [
        spa.prune(model, rf=RF, limits=spa.Limits(scope="local", round_to=to), verify=False)
        for to in ROUND_TO
    ]
    protos = [model.proto, *(result.model for result in pruned)]
    names = ("dense", *map(str, ROUND_TO))
    calls = [timer(name, proto, feeds) for name, proto in zip(names, protos, strict=True)]
    found = {name: 1e3 * seconds for name, seconds in in_turn(calls, rounds).items()}
    profiles = by_operator(protos, feeds)
    rows, operators = [], []
    for to, result, profile in zip(ROUND_TO, pruned, profiles[1:], strict=True):
        gain, rf = found["dense"] / found[str(to)], result.reached.rf
        worst = losses(profiles[0], profile, rf)
        rows.append(
            {
                "network": name,
                "round_to": to,
                "rf": rf,
                "rp": result.reached.rp,
                "dense_ms": found["dense"],
                "pruned_ms": found[str(to)],
                "gain": gain,
                "share": gain / rf,
                "losses": ", ".join(f"{op} {ms:.2g}" for op, ms in worst[:NAMED] if ms > 0),
            }
        )
        for op in sorted({*profiles[0], *profile}):
            line = {"network": name, "round_to": to, "operator": op}
            line |= {"dense_ms": profiles[0].get(op, 0.0), "pruned_ms": profile.get(op, 0.0)}
            operators.append(line)
    return rows, operators


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes latency.csv and latency_operators.csv, and prints the table."""
    args = options("Latency of networks pruned to half their FLOPs.", NETWORKS, ROUNDS, arguments)
    rows, operators = [], []
    for name in args.networks:
        lines, details = compare(name, args.size, args.rounds)
        rows += lines
        operators += details
        for row in lines:
            say(f"{name}, multiples of {row['round_to']}: gain {row['gain']:.2f}")
        write_csv(rows, args.results / "latency.csv")
        write_csv(operators, args.results / "latency_operators.csv")
    columns = {
        "network": "network", "round_to": "multiples of", "rf": "RF", "rp": "RP",
        "dense_ms": "dense, ms", "pruned_ms": "pruned, ms", "gain": "gain", "share": "gain / RF",
        "losses": "operators that lose most, ms",
    }  # fmt: skip
    print(markdown(rows, columns))
    for to in ROUND_TO[1:]:
        shares = [row["share"] for row in rows if row["round_to"] == to]
        good = sum(share >= WANTED for share in shares)
        wanted = f"a gain of at least {WANTED:g} of RF with widths in multiples of {to}"
        found = f"{good} of {len(shares)} networks, {min(shares):.2f} at least"
        print(f"\n{goal(wanted, found, good == len(shares))}")


if __name__ == "__main__":
    main()
