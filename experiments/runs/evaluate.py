"""What is measured on an ONNX file with ONNX Runtime: how well it answers, and latency.

Nothing here knows where a file came from: every number of a table is measured on the file that
lies in the run's folder.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.results.schema import Pair
from experiments.tasks import Predict

if TYPE_CHECKING:
    import onnxruntime


def session(path: Path, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open a file on the CPU; 0 threads: as many as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def predictor(path: Path) -> Predict:
    """Return what gives a file's outputs for any number of samples."""
    net = session(path)
    name, fixed = _input(net)

    def predict(x: np.ndarray) -> list[np.ndarray]:
        if fixed is None:
            return list(net.run(None, {name: x}))
        parts = []
        for start in range(0, len(x), fixed):
            part = x[start : start + fixed]
            n = len(part)
            # A fixed batch size: fill up, then drop what was filled.
            part = np.concatenate([part, np.repeat(part[:1], fixed - n, axis=0)])
            parts.append([output[:n] for output in net.run(None, {name: part})])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    return predict


def latency_ms(
    dense: Path,
    pruned: Path,
    shape: tuple[int, int, int],
    *,
    batch: int,
    threads: int,
    warmup: int,
    repeats: int,
) -> Pair:
    """Time both models in one process, in turn, so that what else runs hits both alike.

    Returns:
        ``dense`` and ``pruned``: the median of ``repeats`` timings of one batch, in milliseconds.
    """
    runs = []
    for path in (dense, pruned):
        net = session(path, threads)
        name, fixed = _input(net)
        x = np.random.default_rng(0).standard_normal((fixed or batch, *shape), np.float32)
        runs.append((net, {name: x}))
    times: list[list[float]] = [[], []]
    for i in range(warmup + repeats):
        for (net, feed), mine in zip(runs, times, strict=True):
            started = time.perf_counter()
            net.run(None, feed)
            if i >= warmup:
                mine.append(time.perf_counter() - started)
    medians = [float(np.median(mine)) * 1000 for mine in times]
    return {"dense": medians[0], "pruned": medians[1]}


def _input(net: onnxruntime.InferenceSession) -> tuple[str, int | None]:
    """Return the input's name, and its batch size where that is fixed."""
    (value,) = net.get_inputs()
    size = value.shape[0]
    return value.name, size if isinstance(size, int) else None
