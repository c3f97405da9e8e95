"""Weights & Biases, offline where it has to be.

A run of the harness is up to three there: dense, prune and finetune, the job types. They are one
group, the experiment, and have the ids <run_id>-<seed>-<stage>, so that a run that was interrupted
goes on in the same ones.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from experiments.config.settings import Settings
from experiments.loggers import content, pictures
from experiments.results.schema import Result, checksum
from spa.errors import MissingExtra, SettingError

MODES = ("online", "offline", "disabled")
# Seconds that a missing network may cost a run: at its start, and at its end for what is left to
# upload of each stage. What was not uploaded stays in the run's folder.
INIT_TIMEOUT, FINISH_TIMEOUT = 20, 120


class WandbLogger:
    """Mirrors a run's files; all that it writes goes to <run folder>/wandb."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder.resolve()
        self.runs: dict[str, Any] = {}
        self.steps: Counter[str] = Counter()
        self.told: list[tuple[str, dict[str, float]]] = []
        # A folder of which nothing is gone on with was cleared; this is what would be there first.
        self.goes_on = (self.folder / "dense.onnx").is_file()
        with self._at_home():
            try:
                import wandb  # noqa: F401
            except ImportError as error:
                raise MissingExtra("wandb", "wandb", "logger=wandb") from error
            self.mode = self._mode()

    def metrics(self, row: dict[str, Any]) -> None:
        """Log the numbers of one line in the run of its stage."""
        stage, numbers = content.numbers(row)
        if numbers:
            with self._at_home():
                self._log(stage, numbers)
            self.told.append((stage, numbers))

    def finish(self, result: Result | None) -> None:
        """Log what the result says, and close the runs."""
        with self._at_home():
            if result is not None:
                self._tell(result)
            self._close(exit_code=1 if result is None else 0)

    def abandon(self) -> None:
        """End wandb's process, so that the next run starts another one."""
        import wandb

        self.runs.clear()
        with self._at_home():
            wandb.teardown(exit_code=1)

    def _close(self, exit_code: int) -> None:
        import wandb

        try:
            for run in self.runs.values():
                run.finish(exit_code=exit_code)
        except TimeoutError:  # the network went away, or is slow: the others wait no longer
            self._say(f"not everything was uploaded in {FINISH_TIMEOUT} s")
            wandb.teardown(exit_code=exit_code)
        self.runs.clear()

    def _tell(self, result: Result) -> None:
        import wandb

        made = {k: wandb.Table(*table) for k, table in content.tables(result).items()}
        self._log("prune", {f"tables/{k}": table for k, table in made.items()})
        for stage, files in content.artifacts(self.settings, self.folder, result).items():
            for file in files:
                artifact = wandb.Artifact(file.name, file.type, metadata=file.about)
                artifact.add_file(str(file.path), skip_cache=True)
                self._run(stage).log_artifact(artifact)
        last = "finetune" if "finetune" in self.runs else "prune"
        self._run(last).summary.update({**result, "checksum": checksum(result)})
        with tempfile.TemporaryDirectory() as folder:
            drawn = pictures.draw(result, Path(folder))
            images = {f"figures/{k}": wandb.Image(str(path)) for k, path in drawn.items()}
            self._log("prune", images)

    def _log(self, stage: str, values: dict[str, Any]) -> None:
        # Steps are counted here: those that a resumed run has already, it does not take again.
        self._run(stage).log(values, step=self.steps[stage])
        self.steps[stage] += 1

    def _run(self, stage: str) -> Any:
        """Return the stage's run, opened now when nobody has yet."""
        if stage in self.runs:
            return self.runs[stage]
        try:
            run = self._open(stage)
        except Exception as error:  # no network, a key that is not one, a project of others
            if self.mode == "offline":
                raise
            self._go_offline(_line(error))
            return self._run(stage)
        run.define_metric(f"{stage}/*", step_metric=f"{stage}/epoch")
        self.runs[stage] = run
        return run

    def _go_offline(self, reason: str) -> None:
        """Begin anew without the network, so that what is kept here is whole."""
        import wandb

        self._say(f"offline, as {reason}")
        self.mode = "offline"
        wandb.teardown(exit_code=1)  # its process still holds the id that it failed to open
        self.runs.clear()
        self.steps.clear()
        for stage, numbers in self.told:
            self._log(stage, numbers)

    def _open(self, stage: str) -> Any:
        import wandb

        s = self.settings
        name = f"{content.key(s)}-{stage}"
        # Its folder's name has the time in seconds; another try in the same one would replace it.
        while list((self.folder / "wandb").glob(f"*run-{datetime.now():%Y%m%d_%H%M%S}-{name}")):
            time.sleep(0.1)
        return wandb.init(
            project=str(s.logger.get("project") or "spa"),
            entity=s.logger.get("entity"),
            dir=str(self.folder),
            group=s.experiment,
            job_type=stage,
            id=name,
            name=f"{s.model} {s.criterion or s.method} {s.seed} {stage}",
            config=content.config(s),
            mode=self.mode,
            # Every try logs everything, so what is not gone on with replaces what was there, and
            # so does each offline try when it is uploaded.
            resume="allow" if self.goes_on and self.mode == "online" else None,
            reinit="create_new",
            settings=wandb.Settings(
                **{"silent": True, "console": "off"},
                **{"init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT},
                **{"finish_timeout_raises": True},
                # No user, host name, path or changed line of code, as in our own files.
                **{"x_disable_meta": True, "disable_git": True, "host": ""},
            ),
        )

    def _mode(self) -> Any:
        """Return the mode asked for, but offline where wandb would ask for a key."""
        import wandb

        mode = self.settings.logger.get("mode")
        if mode not in (None, *MODES):
            raise SettingError(f"logger.mode is one of {', '.join(MODES)}, but is {mode!r}")
        mode = mode or os.environ.get("WANDB_MODE") or "online"
        if mode in ("offline", "dryrun", "disabled"):
            return mode
        try:
            if wandb.login(prompt=False, verify=False):
                return mode
            reason = "there is no key (`wandb login` takes one)"
        except Exception as error:  # a key that cannot be one
            reason = _line(error)
        self._say(f"offline, as {reason}")
        return "offline"

    def _say(self, what: str) -> None:
        sync = f"`wandb sync {self.folder / 'wandb'}/*run-*` uploads what is kept there"
        print(f"logger=wandb: {what}. {sync}", file=sys.stderr)

    @contextmanager
    def _at_home(self) -> Iterator[None]:
        """Keep wandb quiet, and what it stages for upload in the run's folder.

        It reads this from the environment only, anew for each artifact. Copies there outlast the
        run's own files, which the next try replaces.
        """
        home = self.folder / "wandb"
        ours = {
            **{"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"},
            **{"WANDB_DATA_DIR": str(home), "WANDB_CACHE_DIR": str(home / "cache")},
        }
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _line(error: Exception) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split()).rstrip(".")
