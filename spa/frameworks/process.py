"""Calls into a framework's own environment: a process, a folder of files, and nothing else.

    folder/spec.json        what to do; written here
    folder/in/NAME.npy      arrays that go in
    folder/out/NAME.npy     arrays that come back
    folder/report.json      what came of it; written by the worker, last

The worker (``workers/``) prints one JSON object a line: notes for the user, rows of training.
Calls to the same framework are copies of one process (`spa.frameworks.standby`).
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spa.errors import FrameworkError
from spa.frameworks.environments import required
from spa.frameworks.standby import standing_by

Array = npt.NDArray[Any]
# Takes each JSON object that the worker prints.
Listener = Callable[[dict[str, Any]], None]

WORKERS = Path(__file__).parent / "workers"
# Longest silence of a worker; the first import of a framework alone can take a minute.
PATIENCE = 900.0
_LAST_LINES = 6
# TensorFlow says these before it can be told to be quiet.
_CHATTER = re.compile(r"WARNING: All log messages before absl|[IW]\d{4} ")


@dataclass(frozen=True)
class Reply:
    """What a worker sent back.

    Attributes:
        report: JSON-ready values.
        arrays: by name.
    """

    report: dict[str, Any]
    arrays: dict[str, Array]


def call(
    framework: str,
    verb: str,
    spec: Mapping[str, Any],
    arrays: Mapping[str, Array] | None = None,
    *,
    listen: Listener | None = None,
    patience: float = PATIENCE,
) -> Reply:
    """Has a framework's worker do something.

    Args:
        framework: whose environment.
        verb: ``build``, ``train``, ``export`` or ``predict``.
        spec: JSON-ready arguments; see the worker.
        arrays: arguments that are arrays.
        listen: called with every object that the worker prints.
        patience: seconds that the worker may be silent.

    Raises:
        FrameworkError: the environment is missing, or the worker crashed, fell silent, or refused;
            with its last lines.
    """
    with tempfile.TemporaryDirectory(prefix="spa-") as name:
        folder = Path(name)
        for part in ("in", "out"):
            (folder / part).mkdir()
        (folder / "spec.json").write_text(json.dumps({"verb": verb, **spec}))
        for key, value in (arrays or {}).items():
            np.save(folder / "in" / f"{key}.npy", value, allow_pickle=False)
        what = f"{framework}'s worker ({verb})"
        _run(framework, folder, listen or (lambda _: None), patience, what)
        report = json.loads((folder / "report.json").read_text())
        back = {
            path.stem: np.load(path, allow_pickle=False) for path in (folder / "out").glob("*.npy")
        }
    return Reply(report, back)


def _run(framework: str, folder: Path, listen: Listener, patience: float, what: str) -> None:
    def heard(line: bytes) -> None:
        message = _message(line)
        if message is not None:
            listen(message)

    python, around = required(framework).python, _quiet()
    command = [str(python), "-s", "-E", str(WORKERS / f"{framework}_worker.py")]
    errors = folder / "errors.txt"
    with errors.open("wb") as stderr, standing_by(framework, command, around) as worker:
        code = worker.call(folder, around, stderr, heard, patience)
    if code != 0:
        lines = errors.read_text(errors="replace").strip().splitlines()
        lines = [line.strip() for line in lines if line.strip() and not _CHATTER.match(line)]
        last = " | ".join(lines[-_LAST_LINES:])
        how = (
            f"said nothing for {patience:g} s and was ended"
            if code is None
            else f"failed with exit code {code}"
        )
        raise FrameworkError(f"{what} {how}. Its last lines: {last or 'none'}")


def _message(line: bytes) -> dict[str, Any] | None:
    """A JSON object; libraries print other things too."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _quiet() -> dict[str, str]:
    """Our own variables, with the frameworks' chatter off, and without our packages' paths."""
    left = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    return {**left, "TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": left.get("JAX_PLATFORMS", "cpu")}
