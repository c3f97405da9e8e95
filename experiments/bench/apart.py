"""One network in a process of its own: a crash or an endless run is a result like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def judged(module: str, network: str, seconds: float) -> dict[str, Any]:
    """What ``python -m MODULE --one NETWORK`` prints last, a row as JSON.

    Args:
        module: a benchmark.
        network: the network's name.
        seconds: after which the process is ended.
    """
    command = [sys.executable, "-m", module, "--one", network]
    lost = {"network": network, "stage": "process"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {**lost, "reason": f"it took more than {seconds:g} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {**lost, "reason": f"exit code {done.returncode}: {last}"}
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row
