"""The parent's side of a framework that works in an environment of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from spa.errors import FrameworkError
from spa.frameworks.base import Array, Framework, Report, Shape, Source, Training
from spa.frameworks.feed import Feed, fed
from spa.frameworks.gate import passed
from spa.frameworks.process import Reply, call
from spa.progress import Progress, stage


class WorkedFramework(Framework):
    """Hands each verb to the framework's worker, and holds what comes back to the gate."""

    def build(
        self,
        source: Source,
        model: Path,
        shape: Shape,
        seed: int,
        weights: Path | None = None,
    ) -> None:
        """See `Framework.build`."""
        spec = {**asdict(source), "model": str(model.resolve()), "shape": shape, "seed": seed}
        self._call("build", {**spec, "weights": str(weights.resolve()) if weights else None})

    def train(self, model: Path, out: Path, feed: Feed, training: Training, report: Report) -> None:
        """See `Framework.train`."""
        with (
            tempfile.TemporaryDirectory(prefix="spa-feed-") as folder,
            fed(feed, Path(folder)),
            Progress(f"Training in {self.name}", feed.epochs) as progress,
        ):

            def listen(row: dict[str, Any]) -> None:
                if "epoch" in row:
                    report(row)
                    progress.advance()

            spec = {"model": str(model.resolve()), "out": str(out.resolve()), "feed": folder}
            call(self.name, "train", {**spec, **asdict(training)}, listen=listen)

    def predict(self, model: Path, x: Array) -> Array:
        """See `Framework.predict`."""
        return self._call("predict", {"model": str(model.resolve())}, {"x": x}).arrays["y"]

    def export(
        self,
        model: Path | str,
        shapes: Sequence[Shape] | None = None,
        *,
        channels_first: bool = False,
    ) -> onnx.ModelProto:
        """See `Framework.export`."""
        with tempfile.TemporaryDirectory(prefix="spa-export-") as folder:
            spec = {
                # A name of code stays what it is.
                "model": str(Path(model).resolve()) if Path(model).exists() else str(model),
                "onnx": folder,
                "shapes": shapes,
                "channels_first": channels_first,
            }
            reply = self._call("export", spec)
            what = f"{model} by {self.name}"
            if reply.report["probed"]:
                probe = onnx.load(Path(folder) / "probe.onnx")
                passed(probe, _rows(reply, "example"), _rows(reply, "probe"), what)
            proto = onnx.load(Path(folder) / "model.onnx")
        return passed(proto, _rows(reply, "example"), _rows(reply, "model"), what)

    def _call(
        self, verb: str, spec: dict[str, Any], arrays: dict[str, Array] | None = None
    ) -> Reply:
        with stage(f"{self.name}: {verb}"):
            return call(self.name, verb, spec, arrays)


def _rows(reply: Reply, stem: str) -> list[list[Array]]:
    """Arrays ``STEM_i_j`` of a reply, by example i and place j."""
    rows: list[list[Array]] = []
    for i in range(2):
        rows.append([])
        while f"{stem}_{i}_{len(rows[i])}" in reply.arrays:
            rows[i].append(np.asarray(reply.arrays[f"{stem}_{i}_{len(rows[i])}"]))
    if not rows[0]:
        raise FrameworkError(f"The worker sent no arrays {stem}.")
    return rows
