"""The numbers of one run as text, with their units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.report.content import commit, hardware
from experiments.results.columns import STAGES
from experiments.results.schema import Result, by_stage
from experiments.tasks import TASKS

ABSENT = "not recorded"


def summary(result: Result) -> list[tuple[str, str]]:
    """What is read at a glance: the task's first metric by stage, RF, RP and latency."""
    metric, latency = TASKS.get(result["task"])().metrics[0], result["latency_ms"]
    values = [_stage(result, stage)[metric.key] for stage in STAGES if _stage(result, stage)]
    shown = " → ".join(f"{value * metric.scale:.{metric.digits}f}" for value in values)
    return [
        (metric.name, f"{shown} {metric.unit}".rstrip()),
        ("RF", f"{result['reached']['rf']:.2f}"),
        ("RP", f"{result['reached']['rp']:.2f}"),
        ("latency", f"{_pair(latency, '.2f')} ms"),
    ]


def measured(result: Result) -> list[tuple[str, str]]:
    """Everything that was measured, and with what."""
    latency = result["latency"]
    threads = f"{latency['threads']} thread{'' if latency['threads'] == 1 else 's'}"
    asked = ", ".join(f"{quantity} {value:g}" for quantity, value in result["asked"].items())
    return [
        *_metrics(result),
        ("measured on", f"the {result['split']} split"),
        ("asked", asked),
        ("RF", f"{result['reached']['rf']:.4f}"),
        ("RP", f"{result['reached']['rp']:.4f}"),
        ("parameters", _pair(result["params"])),
        ("MACs of one sample", _pair(result["macs"])),
        (
            "latency",
            f"{_pair(result['latency_ms'], '.3f')} ms (batch of {latency['batch']}, {threads})",
        ),
        ("pruning", f"{result['prune_seconds']:.3f} s"),
        *_seconds(result["seconds"]),
        ("proof", "; ".join(str(check) for check in result["proof"]) or ABSENT),
        ("FLOPs are", result["flops"]),
        ("code", commit(result["code"])),
        ("hardware", hardware(result["hardware"])),
        ("started", result["started"] or ABSENT),
        ("finished", result["finished"]),
        ("dense.onnx, sha256", result["dense_sha256"]),
        ("data, sha256", result["data_sha256"] or ABSENT),
    ]


def _metrics(result: Result) -> Iterator[tuple[str, str]]:
    for metric in TASKS.get(result["task"])().metrics:
        for stage, name in STAGES.items():
            value = _stage(result, stage).get(metric.key)
            absent = "no such stage" if stage == "finetuned" else ABSENT
            shown = f"{(value or 0) * metric.scale:.{metric.digits + 1}f} {metric.unit}".rstrip()
            yield f"{metric.name}, {name}", absent if value is None else shown


def _stage(result: Result, stage: str) -> Mapping[str, float]:
    return by_stage(result).get(stage, {})


def _pair(pair: Mapping[str, Any], how: str = ",.0f") -> str:
    return f"{pair['dense']:{how}} → {pair['pruned']:{how}}"


def _seconds(seconds: Mapping[str, Any]) -> list[tuple[str, str]]:
    stages = [f"{name} {value:.2f} s" for name, value in seconds.items() if value is not None]
    return [("wall clock", ", ".join(stages))] if stages else []
