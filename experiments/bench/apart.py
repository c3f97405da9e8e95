"""Networks in processes of their own: a crash or an endless run is a result like any other.

Results are appended to a file as they come, so that a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from experiments.bench.coverage import read
from experiments.bench.measure import say

Row = dict[str, Any]


def rows_of(
    module: str,
    networks: Iterable[str],
    path: Path,
    said: Callable[[Row], str],
    *,
    seconds: float,
    jobs: int = 1,
    stays: Callable[[Row], bool] = lambda row: True,
) -> list[Row]:
    """The rows of a file and of all networks that it lacks, sorted by network.

    Args:
        module: a benchmark, see `judged`.
        networks: names.
        path: a file of JSON lines; new rows are appended.
        said: what is said of a row on stderr.
        seconds: after which a network's process is ended.
        jobs: networks at once.
        stays: whether a row is written, so that its network is not tried again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read(path)
    done = {row["network"] for row in rows}
    missing = [name for name in networks if name not in done]
    with ThreadPoolExecutor(jobs) as pool, path.open("a") as file:
        running = [pool.submit(judged, module, name, seconds) for name in missing]
        for number, one in enumerate(as_completed(running), 1):
            row = one.result()
            say(f"{number}/{len(missing)} {row['network']}: {said(row)}"[:160])
            if stays(row):
                file.write(json.dumps(row) + "\n")
                file.flush()
            rows.append(row)
    return sorted(rows, key=lambda row: row["network"])


def judged(module: str, network: str, seconds: float) -> Row:
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
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row
