"""Measured latency on ONNX Runtime, dense and pruned in turn in one process.

A machine's speed drifts, so models are timed round by round, one after another, and ratios are
taken of medians over the same rounds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from spa.graph.execute import CPU, Array, run_session, session

WARM_UP = 10
ROUNDS = 50


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one inference on the example input.

    Attributes:
        median: over the timed rounds.
        low: 10th percentile.
        high: 90th percentile.
        rounds: how many were timed.
    """

    median: float
    low: float
    high: float
    rounds: int


def measure_latency(
    models: Sequence[onnx.ModelProto],
    feeds: Mapping[str, Array],
    *,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
    threads: int = 0,
    seconds: float = 30.0,
    provider: str = CPU,
) -> list[Latency]:
    """Times models side by side on the same inputs.

    Args:
        models: what to time.
        feeds: inputs by name.
        rounds: timed rounds; fewer when ``seconds`` run out, but never under 5.
        warm_up: rounds that are not timed.
        threads: ONNX Runtime's intra-op threads; 0 takes all cores.
        seconds: time for all of it.
        provider: ONNX Runtime's execution provider.

    Returns:
        One entry per model.

    Raises:
        ModelError: a model cannot be loaded or run.
    """
    sessions = [session(model, threads=threads, provider=provider) for model in models]
    started = time.perf_counter()
    for _ in range(max(1, warm_up)):
        for runner in sessions:
            run_session(runner, feeds)
        if time.perf_counter() - started > seconds / 4:
            break
    times: list[list[float]] = [[] for _ in sessions]
    for done in range(rounds):
        for runner, row in zip(sessions, times, strict=True):
            before = time.perf_counter()
            run_session(runner, feeds)
            row.append((time.perf_counter() - before) * 1e3)
        if done >= 4 and time.perf_counter() - started > seconds:
            break
    return [
        Latency(
            median=float(np.median(row)),
            low=float(np.percentile(row, 10)),
            high=float(np.percentile(row, 90)),
            rounds=len(row),
        )
        for row in times
    ]
