"""result.json: every key, with its unit. results/README.md is the long form.

Raise SCHEMA_VERSION when a key is renamed or changes its meaning; adding keys needs nothing.
"""

from __future__ import annotations

from typing import Any, TypedDict

SCHEMA_VERSION = 1


class Pair(TypedDict):
    """A number of the dense and of the pruned network."""

    dense: float
    pruned: float


class Reached(TypedDict):
    """What the plan reached, dense / pruned, at least 1."""

    rf: float
    rp: float


class Accuracy(TypedDict):
    """Top-1 on the test split, fractions in [0, 1]; None where the stage does not exist."""

    dense: float | None
    pruned: float | None
    finetuned: float | None


class Result(TypedDict):
    """One finished run."""

    schema_version: int
    run_id: str
    experiment: str
    # As typed.
    model: str
    framework: str
    dataset: str
    method: str
    criterion: str | None  # None: the method takes none
    time: str
    trainer: str
    seed: int
    # Asked: exactly one of rf, rp, ratio; settings as given, None = the default.
    asked: dict[str, float]
    scope: str
    aggregate: str | None
    normalize: str | None
    calibration: str | None  # None: the method takes none
    bn_refresh: bool | str | None
    # Measured.
    reached: Reached
    acc: Accuracy
    params: Pair
    macs: Pair  # of one sample; FLOPs = 2 x MACs
    prune_seconds: float  # scoring, planning, reconstruction, surgery and proof
    latency_ms: Pair  # median of one batch, ONNX Runtime, CPU
    latency: dict[str, int]  # batch, threads, warmup, repeats
    # Provenance.
    dense_sha256: str  # of dense.onnx
    plan_input: dict[str, str]  # file and sha256 of what plan.json applies to; weights: see README
    proof: list[Any]
    scores: str | None  # OBSPA: static or renewed; None elsewhere
    details: dict[str, Any]  # what else the method says about itself
    training: dict[str, Any]  # epochs and seconds of each stage, and the budget
    hardware: dict[str, Any]
    code: dict[str, Any]  # git commit, whether the tree had changes, version
    finished: str  # UTC, ISO 8601


REQUIRED = tuple(Result.__annotations__)
