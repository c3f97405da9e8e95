"""How long SLURM lets jobs run, held against how long runs are expected to take."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from typing import Any

from experiments.sweeps.survey import in_words

ANSWER = 30.0  # seconds that sinfo may take
_TIME = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


def too_short(expected: float | None, asked: Mapping[str, Any]) -> str:
    """A warning where jobs are ended before a run is over; "" where they are not, or nobody knows.

    Args:
        expected: seconds of the longest run.
        asked: what jobs are submitted with: ``partition``, ``timeout_min``.
    """
    if expected is None:
        return ""
    limits = {}
    if (minutes := asked.get("timeout_min")) is not None:
        limits[f"hydra.launcher.timeout_min={minutes}"] = 60.0 * float(minutes)
    partition = asked.get("partition")
    if partition and (most := limit(str(partition))) is not None:
        limits[f"partition {partition}"] = most
    short = {name: seconds for name, seconds in limits.items() if seconds < expected}
    if not short:
        return ""
    name = min(short, key=lambda each: short[each])
    return (
        f"warning: the longest run is expected to take {in_words(expected)}, but {name} ends jobs "
        f"after {in_words(short[name])}; a training goes on when its job comes back from the "
        "queue, any other stage begins anew: ask for more time or another partition"
    )


def limit(partition: str) -> float | None:
    """Seconds that a partition gives a job; None for no limit, or where nobody answers."""
    command = ["sinfo", "--noheader", f"--partition={partition}", "--format=%l"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER)
    except (OSError, subprocess.TimeoutExpired):
        return None
    times = [seconds(line.strip()) for line in found.stdout.splitlines()]
    known = [each for each in times if each is not None]
    return min(known) if known else None


def seconds(text: str) -> float | None:
    """Read SLURM's ``days-hours:minutes:seconds``; None for ``infinite``.

    Example:
        >>> seconds("1-12:00:00")
        129600.0
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
