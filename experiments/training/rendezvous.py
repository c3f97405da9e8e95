"""Where processes that were started together meet: torchrun says it, or SLURM's variables do."""

from __future__ import annotations

import os
import subprocess

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def meeting() -> dict[str, str] | None:
    """Return what torch wants to know of the others; None for a process that is alone."""
    found = _by_torchrun() or _by_slurm()
    return None if found is None or found["WORLD_SIZE"] == "1" else found


def _by_torchrun() -> dict[str, str] | None:
    if not all(name in os.environ for name in NAMES):
        return None
    return {name: os.environ[name] for name in NAMES}


def _by_slurm() -> dict[str, str] | None:
    # Set by srun for the tasks of a step, and not for a batch script or a shell within a job.
    if int(os.environ.get("SLURM_STEP_NUM_TASKS", "1")) < 2:
        return None
    return {
        "RANK": os.environ["SLURM_PROCID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "MASTER_ADDR": _first_host(os.environ["SLURM_STEP_NODELIST"]),
        "MASTER_PORT": str(20000 + int(os.environ["SLURM_JOB_ID"]) % 20000),
    }


def _first_host(nodes: str) -> str:
    shown = subprocess.run(
        ["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[0]
