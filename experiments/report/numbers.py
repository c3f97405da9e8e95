"""The numbers of one run as text, with their units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.report.content import commit, hardware
from experiments.results.schema import Result

ABSENT = "not recorded"


def summary(result: Result) -> list[tuple[str, str]]:
    """What is read at a glance: accuracy by stage, RF, RP and latency."""
    stages = [acc for acc in result["acc"].values() if acc is not None]
    latency = result["latency_ms"]
    return [
        ("accuracy", f"{' → '.join(f'{100 * acc:.1f}' for acc in stages)} %"),
        ("RF", f"{result['reached']['rf']:.2f}"),
        ("RP", f"{result['reached']['rp']:.2f}"),
        ("latency", f"{_pair(latency, '.2f')} ms"),
    ]


def measured(result: Result) -> list[tuple[str, str]]:
    """Everything that was measured, and with what."""
    acc, latency = result["acc"], result["latency"]
    threads = f"{latency['threads']} thread{'' if latency['threads'] == 1 else 's'}"
    asked = ", ".join(f"{quantity} {value:g}" for quantity, value in result["asked"].items())
    return [
        ("accuracy, dense", _percent(acc["dense"])),
        ("accuracy, pruned", _percent(acc["pruned"])),
        ("accuracy, fine-tuned", _percent(acc["finetuned"], "no such stage")),
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


def _percent(value: float | None, absent: str = ABSENT) -> str:
    return absent if value is None else f"{100 * value:.2f} %"


def _pair(pair: Mapping[str, Any], how: str = ",.0f") -> str:
    return f"{pair['dense']:{how}} → {pair['pruned']:{how}}"


def _seconds(seconds: Mapping[str, Any]) -> list[tuple[str, str]]:
    stages = [f"{name} {value:.2f} s" for name, value in seconds.items() if value is not None]
    return [("wall clock", ", ".join(stages))] if stages else []
