"""Where a number comes from: code, packages, machine. No user, host name or path."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from experiments.ground import parts

CODE = ("spa", "experiments", "conf")
PACKAGES = (
    "numpy",
    "scipy",
    "onnx",
    "onnxruntime",
    "torch",
    "torchvision",
    "onnx2torch",
    "onnxscript",
    "hydra-core",
    "scikit-learn",
)


def code() -> dict[str, Any]:
    """Return the version, the git commit, whether tracked code differs from it, and how.

    Hashes of a user's own parts (`experiments.ground.parts`) are there where there are any.
    """
    own = parts.hashes()
    return {**_code(), "parts": own} if own else dict(_code())


@cache
def _code() -> dict[str, Any]:
    try:
        version = importlib.metadata.version("structurally-prune-anything")
    except importlib.metadata.PackageNotFoundError:
        version = None
    commit = _git("rev-parse", "HEAD")
    changes = _git("diff", "HEAD", "--", *CODE)
    return {
        "version": version,
        "commit": commit,
        "dirty": None if commit is None else changes != "",
        "changes": hashlib.sha256(changes.encode()).hexdigest()[:10] if changes else None,
    }


@cache
def hardware() -> dict[str, Any]:
    """Return the processor, how many cores this process may use, and the GPU if torch is loaded."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = None
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name(0)
    return {"cpu": _cpu(), "cores": cores, "gpu": gpu}


def environment() -> dict[str, Any]:
    """Return what env.json holds."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    slurm = {key: os.environ[key] for key in os.environ if key.startswith("SLURM_JOB_ID")}
    return {
        "code": code(),
        "hardware": hardware(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": versions,
        "slurm": slurm,
    }


def _git(*arguments: str) -> str | None:
    here = Path(__file__).resolve().parents[2]
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
