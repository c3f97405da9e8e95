"""What is measured on an ONNX file with ONNX Runtime: how well it answers, and latency.

Nothing here knows where a file came from: every number of a table is measured on the file that
lies in the run's folder.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from experiments.data.base import Inputs, Split
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
    sizes = _inputs(net)
    fixed = next(iter(sizes.values()))

    def predict(inputs: Inputs) -> list[np.ndarray]:
        feed = _fed(sizes, inputs)
        if fixed is None:
            return list(net.run(None, feed))
        size = len(next(iter(feed.values())))
        parts = []
        for start in range(0, size, fixed):
            n = min(fixed, size - start)
            part = {name: _filled(x[start : start + n], fixed) for name, x in feed.items()}
            parts.append([output[:n] for output in net.run(None, part)])
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]

    return predict


def _fed(names: Collection[str], inputs: Inputs) -> Inputs:
    """What a file of these inputs takes of a data set's; where both have one, by any name."""
    if len(names) == len(inputs) == 1:
        return dict(zip(names, inputs.values(), strict=True))
    return {name: inputs[name] for name in names}


def _filled(x: np.ndarray, size: int) -> np.ndarray:
    """A batch of a size that a file fixes; what was filled is dropped of what comes out."""
    return np.concatenate([x, np.repeat(x[:1], size - len(x), axis=0)])


def latency_ms(
    dense: Path,
    pruned: Path,
    split: Split,
    *,
    batch: int,
    threads: int,
    warmup: int,
    repeats: int,
) -> Pair:
    """Time both models in one process, in turn, so that what else runs hits both alike.

    They run on the split's first samples, from its first on again where it has fewer.

    Returns:
        ``dense`` and ``pruned``: the median of ``repeats`` timings of one batch, in milliseconds.
    """
    runs = []
    for path in (dense, pruned):
        net = session(path, threads)
        sizes = _inputs(net)
        samples = np.arange(next(iter(sizes.values())) or batch) % len(split)
        runs.append((net, _fed(sizes, split.take(samples)[0])))
    times: list[list[float]] = [[], []]
    for i in range(warmup + repeats):
        for (net, feed), mine in zip(runs, times, strict=True):
            started = time.perf_counter()
            net.run(None, feed)
            if i >= warmup:
                mine.append(time.perf_counter() - started)
    medians = [float(np.median(mine)) * 1000 for mine in times]
    return {"dense": medians[0], "pruned": medians[1]}


def _inputs(net: onnxruntime.InferenceSession) -> dict[str, int | None]:
    """Return every input's batch size, None where that is free."""
    sizes = {value.name: value.shape[0] for value in net.get_inputs()}
    return {name: size if isinstance(size, int) else None for name, size in sizes.items()}
