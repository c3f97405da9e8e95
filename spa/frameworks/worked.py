"""The parent's side of a framework that works in an environment of its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from spa.errors import FrameworkError
from spa.frameworks.base import Array, Framework, Shape, Source
from spa.frameworks.gate import passed, tidied
from spa.frameworks.giving_back import check_equal, groups_of, removed_of, values_of
from spa.frameworks.matching import Match, Place, matches, places
from spa.frameworks.process import Reply, call
from spa.graph.placing import placing, told
from spa.graph.write import as_json
from spa.progress import Progress, stage
from spa.pruning.result import Pruned
from spa.training.feed import Feed, fed
from spa.training.how import Report, Training


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
        self.allow(source.builder)
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

            files = {"model": str(model.resolve()), "out": str(out.resolve()), "feed": folder}
            spec = {**files, **asdict(training), "code": sorted(self.code)}
            call(self.name, "train", spec, listen=listen)

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

    def give_back(
        self,
        model: Path,
        out: Path,
        dense: onnx.ModelProto,
        pruned: Pruned,
        shapes: Sequence[Shape] | None = None,
        *,
        channels_first: bool = False,
        documents: Mapping[str | Path, Any] | None = None,
    ) -> None:
        """See `Framework.give_back`."""
        spec: dict[str, Any] = {
            "model": str(model.resolve()),
            "shapes": shapes,
            "channels_first": channels_first,
        }
        with tempfile.TemporaryDirectory(prefix="spa-back-") as folder:
            found, variables = self._found(dense, {**spec, "onnx": folder})
            part = Path(folder) / f"part{self.suffix}"
            removed = removed_of(pruned.plan, dense, found, variables)
            values, scaled = values_of(pruned.model, found, variables, removed)
            order = {
                **spec,
                "out": str(part),
                "removed": removed,
                "groups": groups_of(pruned.model, found),
                "values": list(values),
                "scaled": scaled,
            }
            arrays = {f"value_{i}": array for i, array in enumerate(values.values())}
            answer = self._call("shrink", order, arrays)
            check_equal(pruned.model, _rows(answer, "example"), _rows(answer, "model"), out)
            self._place(part, out, documents or {})

    def _found(
        self, dense: onnx.ModelProto, spec: dict[str, Any]
    ) -> tuple[dict[Place, Match], dict[str, Shape]]:
        """The variable that every place of an export reads, and the variables' shapes."""
        reply = self._call("mark", spec)
        names = reply.report["variables"]
        variables = {name: reply.arrays[f"variable_{i}"] for i, name in enumerate(names)}
        if reply.report.get("named"):
            found = {
                place: Match(name, tuple(range(variables[name].ndim)))
                for place, name in places(dense)
                if name in variables
            }
        else:
            marked = tidied(onnx.load(Path(spec["onnx"]) / "marked.onnx"))
            found = matches(dense, marked, variables)
        return found, {name: array.shape for name, array in variables.items()}

    def _place(self, part: Path, out: Path, documents: Mapping[str | Path, Any]) -> None:
        """Puts a model's files in place, all that begin as its own file does; its own one last."""
        stem, wanted = (str(path)[: -len(self.suffix)] for path in (part, out))
        made = sorted(part.parent.glob(f"{Path(stem).name}*"), key=lambda file: file != part)
        with placing() as files:
            for file in made:
                place = f"{wanted}{str(file)[len(stem) :]}"
                temporary = files.add(place)
                with told(place):
                    shutil.copyfile(file, temporary)
            for where, document in documents.items():
                temporary = files.add(where)
                with told(where):
                    temporary.write_text(as_json(document), encoding="utf-8")

    def _allowed(self) -> dict[str, Any]:
        return {"code": sorted(self.code), "trust": self.trust}

    def _call(
        self, verb: str, spec: dict[str, Any], arrays: dict[str, Array] | None = None
    ) -> Reply:
        with stage(f"{self.name}: {verb}"):
            return call(self.name, verb, {**spec, **self._allowed()}, arrays)


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
