"""The folder of one run: written here only.

Its status goes running -> done, failed or interrupted. A run that is not done is run again, and one
that was interrupted (or killed, so that its status still says running) goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from experiments.config.settings import Settings
from experiments.ground import files, paths, provenance
from experiments.results.records import read_status, write_result
from experiments.results.schema import Result, checksum
from experiments.runs.lease import Lease, Lost
from experiments.runs.whole import damage, marks
from experiments.training.trainer import forget
from spa.errors import InputError, OutputError
from spa.graph.deferred import held

if TYPE_CHECKING:
    import onnx

    from experiments.loggers import Logger

_MADE = (
    *("dense.onnx", "init.onnx", "reconstructed.onnx", "pruned.onnx", "finetuned.onnx"),
    *("fresh.onnx", "fresh.json", "plan.json", "prune.json", "finetune.json", "checkpoint.pt"),
)
_LAST = ("metrics.jsonl", "metrics.csv", "result.json")


class RunFolder:
    """The folder of one run: results/runs/<experiment>/<run_id>/seed_<n>/.

    Attributes:
        started: when the first try began that is gone on with; UTC, ISO 8601.
        lease: what says that this process works on it; None: nobody else does, by agreement.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = paths.run(
            settings.place.results_dir, settings.experiment, settings.run_id, settings.seed
        )
        self.logger: Logger | None = None
        self.lease: Lease | None = None
        self.started = ""
        self._done = False

    def done(self) -> bool:
        """Whether the run is finished, and its status, result and files are whole."""
        try:
            status = read_status(self.path / "status.json")
        except InputError:
            return False
        return status["state"] == "done" and not damage(self.path, status)

    def torn(self) -> str | None:
        """What is damaged of a run that says it is done; None where nothing is."""
        if self._last_status().get("state") != "done":
            return None
        try:
            return damage(self.path, read_status(self.path / "status.json")) or None
        except InputError as error:
            return str(error)

    def start(self, config: Mapping[str, Any], overrides: list[str]) -> bool:
        """Write what is known before anything runs; returns whether an earlier try is gone on with.

        That is so where the earlier one was of the same code, however it ended: what it left says
        itself what it is of. Else that is removed.
        """
        before = self._last_status()
        goes_on = (
            before.get("state") in ("running", "interrupted", "failed")
            and not self.settings.place.force
            and self._last_code() == provenance.code()
        )
        self.started = str(before.get("started")) if goes_on else _now()
        self._status("running")
        for name in _LAST if goes_on else (*_MADE, *_LAST):
            files.remove(self.path / name)
        for path in () if goes_on else self.path.glob("round_*"):
            files.remove(path)
        for path in self.path.glob(".*.????????"):  # half written when a process was killed
            files.remove(path)
        self.write_text("config.yaml", yaml.safe_dump(dict(config), sort_keys=False))
        self.write_text("overrides.yaml", yaml.safe_dump(list(overrides)))
        self.write_json("env.json", provenance.environment())
        return goes_on

    def stage(
        self, name: str, source: Path, make: Callable[[], dict[str, Any]], makes: tuple[str, ...]
    ) -> dict[str, Any]:
        """Do a part of the run, unless its files are there from an earlier try.

        Args:
            name: <name>.json is written last.
            source: the file that it works on.
            make: does it, and returns what is to be known of it; its ``rows``, where there are,
                are logged by it.
            makes: files that it may write.
        """
        path = self.path / f"{name}.json"
        try:
            found = files.read_json(path)
            content: dict[str, Any] = found["content"]
            if (
                found["source"] == files.sha256(source)
                and found["files"] == self._hashes(makes)
                and found["checksum"] == checksum(content)
            ):
                for row in content.get("rows", ()):
                    self.log(row)
                return content
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        content = make()
        what = {"source": files.sha256(source), "files": self._hashes(makes)}
        self.write_json(path.name, {**what, "checksum": checksum(content), "content": content})
        forget(self.path)  # a training that it had
        return content

    def finish(self, result: Result) -> None:
        """Write the result, then the status: in this order, so that done means done."""
        self._check()
        forget(self.path)  # left where the last stage was written, and no more
        write_result(self.path / "result.json", result)
        kept = (*_MADE, *(path.name for path in sorted(self.path.glob("round_*"))))
        self._status("done", files=marks(self.path, kept), seconds=result["seconds"]["total"])
        self._done = True
        self._tell(result)

    def fail(self, error: BaseException) -> None:
        """Record a failure with its traceback, if it can be."""
        text = "".join(traceback.format_exception(error))
        if self._end("failed", error=f"{type(error).__name__}: {error}", traceback=text):
            self._tell(None)

    def interrupt(self) -> None:
        """Record that the run was ended from outside; the next try goes on with it.

        The logger is not told: it may take minutes, and there are seconds to requeue a job in.
        """
        self._end("interrupted")

    def log(self, row: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        self._check()
        path = self.path / "metrics.jsonl"
        with files.errors(path), path.open("a") as file:
            file.write(json.dumps({"at": _now(), **row}) + "\n")
        if self.logger is not None:
            self.logger.metrics(row)

    def write_model(self, name: str, model: onnx.ModelProto) -> None:
        """Write an ONNX file."""
        self._check()
        files.write_bytes(self.path / name, held(model).SerializeToString())

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file."""
        self._check()
        files.write_json(self.path / name, content)

    def write_text(self, name: str, content: str) -> None:
        """Write a text file."""
        files.write_text(self.path / name, content)

    def _check(self) -> None:
        if self.lease is not None:
            self.lease.check()

    def _end(self, state: str, **more: str) -> bool:
        """Records how the run ended; returns whether it had not ended before."""
        if self._done:  # and then somebody interrupted a logger
            return False
        try:
            self._check()
            self._status(state, **more)
        except (OutputError, Lost) as error:  # the disk is full, or another process has the run
            print(f"error: cannot record that the run {state}: {error}", file=sys.stderr)
        return True

    def _tell(self, result: Result | None) -> None:
        if self.logger is not None:
            self.logger.finish(result)

    def _status(self, state: str, **more: Any) -> None:
        s = self.settings
        what = {
            **{"state": state, "run_id": s.run_id, "experiment": s.experiment},
            **{"model": s.model, "framework": s.framework, "dataset": s.dataset["name"]},
            **{"method": s.method, "criterion": s.criterion, "time": s.time},
            **{"trainer": s.trainer, "asked": s.asked, "calibration": s.calibration},
            **{"seed": s.seed, "pid": os.getpid(), "started": self.started, "updated": _now()},
        }
        files.write_json(self.path / "status.json", {**what, **more})

    def _last_status(self) -> dict[str, Any]:
        return _json_or_empty(self.path / "status.json")

    def _last_code(self) -> Any:
        return _json_or_empty(self.path / "env.json").get("code")

    def _hashes(self, names: tuple[str, ...]) -> dict[str, str]:
        there = (self.path / name for name in names)
        return {path.name: files.sha256(path) for path in there if path.is_file()}


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
