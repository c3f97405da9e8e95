"""SqueezeNet 1.1 with its ImageNet weights, in every framework, pruned without data or fine-tuning.

    python -m experiments.bench.pretrained

Each framework builds the network with the same weights, predicts twenty labelled pictures, and
exports it. The file is pruned by OBSPA on inputs that need no data: ``noise`` and ``uniform``
(``bn`` needs batch norms, and the network has none). Beside them L1 without refitting, and OBSPA on
patches of the two photos that scikit-learn carries. What is counted is what the framework's own
smaller model predicts, or the file in PyTorch, where the library gives modules back by itself.
Twenty pictures are few: one is five points.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

import spa
import spa.obspa
from experiments.bench import carried
from experiments.bench.measure import RESULTS, markdown, say, write_csv
from experiments.data.calibration import photo_patches
from experiments.models import builder
from experiments.models.ported import port
from spa.frameworks import FRAMEWORKS, Framework, Source, environments, framework
from spa.graph.execute import run
from spa.graph.nodes import real_inputs

Array = np.ndarray[Any, Any]
Row = dict[str, Any]
Scope = Literal["global", "local"]

RF = 1.3
SHAPE, CLASSES = (3, 227, 227), 1000
SAMPLES = 32  # of 227x227 pixels; OBSPA takes 12,000 places of them for each layer
MEAN = np.float32([104.006, 116.669, 122.679]).reshape(3, 1, 1)  # blue, green, red
SEED = 0
# L1, or what OBSPA refits on; and the scope, where narrow layers lose more or less of their width.
TRIALS: tuple[tuple[str, Scope], ...] = (
    ("noise", "global"),
    ("uniform", "global"),
    ("l1", "local"),
    ("noise", "local"),
    ("photos", "local"),
)
COLUMNS = {
    "framework": "framework", "method": "method", "scope": "scope",
    "top1": "top-1 of 20", "top5": "top-5 of 20", "rf": "RF", "rp": "RP",
    "difference": "largest difference", "seconds": "seconds",
}  # fmt: skip


def labelled() -> tuple[Array, Array]:
    """Pictures (20, 3, 227, 227) as the network takes them, and their classes."""
    found = list(carried.pictures())
    x = np.concatenate([carried.squeezenet_input(image) for image, _ in found])
    return x, np.array([label for _, label in found])


def hits(scores: Array, labels: Array, k: int) -> int:
    """How many pictures have their class among the k likeliest."""
    likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return int((likeliest == labels[:, None]).any(axis=1).sum())


def calibration(method: str) -> str | Array:
    """What OBSPA refits on."""
    if method != "photos":
        return method
    pixels = photo_patches(SAMPLES, *SHAPE[1:], np.random.default_rng(SEED))  # 0..1, red first
    return np.ascontiguousarray(255 * pixels[:, ::-1] - MEAN)


def dense(kind: str, folder: Path) -> tuple[Framework, Path]:
    """The network with its weights, in a framework's own format."""
    it = framework(kind)
    model = folder / f"dense{it.suffix}"
    weights = port(carried.squeezenet(), kind, folder / "weights.npz")
    source = Source(builder(kind, "squeezenet1_1"), {"classes": CLASSES})
    it.build(source, model, SHAPE, SEED, weights)
    return it, model


def rows(kind: str) -> Iterator[Row]:
    """Exports from one framework, prunes, gives back and counts."""
    x, labels = labelled()
    with tempfile.TemporaryDirectory(prefix="spa-pretrained-") as name:
        started = time.perf_counter()
        it, model = dense(kind, Path(name))
        proto = it.export(model, [SHAPE], channels_first=True)
        row = {"framework": kind, "seconds": time.perf_counter() - started}
        (value,) = real_inputs(proto.graph)
        counted = _counted(it.predict(model, x), run(proto, {value.name: x})[0], labels)
        yield {**row, "method": "dense", "scope": None, "rf": 1.0, "rp": 1.0, **counted}
        for method, scope in TRIALS:
            started = time.perf_counter()
            result = prune(proto, method, scope)
            row = {"framework": kind, "method": method, "scope": scope}
            row |= {"seconds": time.perf_counter() - started}
            (wanted,) = run(result.model, {value.name: x})
            found = wanted
            if kind != "pytorch":
                smaller = Path(name) / f"smaller{it.suffix}"
                it.give_back(model, smaller, proto, result, [SHAPE], channels_first=True)
                found = it.predict(smaller, x)
            counted = _counted(found, wanted, labels)
            yield {**row, "rf": result.reached.rf, "rp": result.reached.rp, **counted}


def prune(proto: onnx.ModelProto, method: str, scope: Scope) -> spa.Pruned:
    """By L1 alone, or by OBSPA."""
    limits = spa.Limits(scope=scope)
    if method == "l1":
        return spa.prune(proto, rf=RF, limits=limits)
    return spa.obspa.prune(
        proto, rf=RF, limits=limits, calibration=calibration(method), samples=SAMPLES, seed=SEED
    )


def _counted(scores: Array, file: Array, labels: Array) -> Row:
    """Pictures told right by a framework's model, and how far the ONNX file is from it."""
    gap = float(np.abs(scores - file).max() / np.abs(file).max())
    return {"top1": hits(scores, labels, 1), "top5": hits(scores, labels, 5), "difference": gap}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, writes pretrained.csv and pretrained.md, and prints the table."""
    parser = argparse.ArgumentParser(description="Real weights in every framework, pruned.")
    parser.add_argument("--frameworks", nargs="*", default=sorted(FRAMEWORKS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args(arguments)
    made = []
    for kind in args.frameworks:
        if kind in environments.names():
            environments.install(kind)
        for row in rows(kind):
            say(str(row))
            made.append({key: row[key] for key in COLUMNS})
    write_csv(made, args.results / "pretrained.csv")
    table = markdown([{**row, "difference": f"{row['difference']:.1e}"} for row in made], COLUMNS)
    (args.results / "pretrained.md").write_text(table + "\n")
    print(table)


if __name__ == "__main__":
    main()
