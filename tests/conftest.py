"""Makes `tests` importable from every test folder, however pytest is called; says what is skipped.

The hooks are here, as the process that reports what pytest-xdist's workers found loads no other
conftest.
"""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest

# Each of pytest-xdist's workers has a core; threads of theirs would take it from each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def has_slurm() -> bool:
    """Whether a SLURM cluster answers."""
    try:
        found = subprocess.run(["sinfo", "-h"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return found.returncode == 0 and bool(found.stdout.strip())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs SLURM where there is none, unless it has to be there."""
    wanting = [item for item in items if item.get_closest_marker("slurm")]
    if not wanting or os.environ.get("SPA_SLURM") == "required" or has_slurm():
        return
    for item in wanting:
        item.add_marker(pytest.mark.skip(reason="no SLURM here: slurm/local-cluster.sh start"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was skipped, however quiet pytest is."""
    for reason in {report.longrepr[2] for report in terminalreporter.getreports("skipped")}:
        terminalreporter.write_line(reason, yellow=True)
