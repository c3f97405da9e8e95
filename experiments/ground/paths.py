"""Where everything lies, below one results folder.

runs/<experiment>/<run_id>/seed_<n>/    one run (not committed)
dense/<hash>/                           a dense baseline, shared (not committed)
records/<experiment>/<run_id>_seed_<n>.json   what backs a committed table
tables/<experiment>.{md,csv,tex}         tables/<experiment>_<figure>.{svg,png}
literature/*.csv                        what others published
reports/<experiment>.html               a page of all of it (not committed)
"""

from __future__ import annotations

from pathlib import Path


def runs(results: Path, experiment: str) -> Path:
    """Folder of all runs of an experiment."""
    return results / "runs" / experiment


def run(results: Path, experiment: str, run_id: str, seed: int) -> Path:
    """Folder of one run."""
    return runs(results, experiment) / run_id / f"seed_{seed}"


def dense(results: Path, key: str) -> Path:
    """Folder of a dense baseline."""
    return results / "dense" / key


def records(results: Path, experiment: str) -> Path:
    """Folder of the committed records of an experiment."""
    return results / "records" / experiment


def tables(results: Path) -> Path:
    """Folder of the tables and figures."""
    return results / "tables"


def literature(results: Path) -> Path:
    """Folder of what others published."""
    return results / "literature"


def reports(results: Path) -> Path:
    """Folder of the pages."""
    return results / "reports"
