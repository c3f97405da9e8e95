"""What is wrong with the content of a result or status file: keys that are missing, wrong types.

What reads records need not ask again: what has no fault here has the types that the schema says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from experiments.ground import paths
from experiments.ground.checked import adapter
from experiments.results.schema import Result, Status, Trained
from experiments.tasks import TASKS
from spa.errors import SettingError
from spa.showing import printable

SHOWN = 40  # characters of a wrong value


def of_result(content: Mapping[str, Any]) -> str:
    """Say what is wrong with a result of the present schema; "" where nothing is."""
    found = _of(Result, content)
    if not found and content["task"] not in TASKS.names():
        task = _short(content["task"])
        return f"nobody registered its task {task}; --include takes the file that does"
    return found


def of_status(content: Any) -> str:
    """Say what is wrong with a status; "" where nothing is.

    Of a run that is done the result says all but that.
    """
    if isinstance(content, dict) and content.get("state") == "done":
        return ""
    return _of(Status, content)


def of_training(content: Any) -> str:
    """Say what is wrong with what is known of a training; "" where nothing is."""
    return _types(Trained, content)


def _of(kind: type[Any], content: Any) -> str:
    return _types(kind, content) or _asked(content["asked"]) or _named(content["run_id"])


def _types(kind: type[Any], content: Any) -> str:
    try:
        adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        missing = [_place(each) for each in error.errors() if each["type"] == "missing"]
        if missing:
            return f"it lacks {', '.join(missing)}"
        first = error.errors()[0]
        where = f"its {_place(first)}" if first["loc"] else "it"
        return f"{where} is {_short(first['input'])}: {first['msg'].lower()}"
    return ""


def _asked(asked: Mapping[str, float]) -> str:
    if len(asked) != 1 or not all(map(math.isfinite, asked.values())):
        return f"its asked is {_short(asked)}: one target is a finite number"
    return ""


def _named(run_id: str) -> str:
    """A run's id is a part of paths."""
    try:
        paths.named(run_id)
    except SettingError:
        return f"its run_id is {_short(run_id)}, which is no name"
    return ""


def _place(error: Any) -> str:
    return ".".join(map(str, error["loc"]))


def _short(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
