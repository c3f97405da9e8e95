"""Where everything lies, below one results folder.

runs/<experiment>/<run_id>/seed_<n>/    one run (not committed)
dense/<hash>/                           a dense baseline, shared (not committed)
records/<experiment>/<run_id>_seed_<n>.json   what backs a committed table
tables/<experiment>.{md,csv,tex}         tables/<experiment>_<figure>.{svg,png}
literature/*.csv                        what others published
reports/<experiment>.html               a page of all of it (not committed)
"""

from __future__ import annotations

import re
from pathlib import Path

from spa.errors import SettingError
from spa.showing import printable

# What a folder can be called everywhere, and a shell and a table take without quotes.
_NAME = re.compile(r"[^\W_][\w.+ -]*")
LONGEST = 100  # characters; with an ending it still is a file's name


def runs(results: Path, experiment: str) -> Path:
    """Folder of all runs of an experiment."""
    return inside(results / "runs", experiment)


def run(results: Path, experiment: str, run_id: str, seed: int) -> Path:
    """Folder of one run."""
    return runs(results, experiment) / run_id / f"seed_{seed}"


def dense(results: Path, key: str) -> Path:
    """Folder of a dense baseline."""
    return results / "dense" / key


def records(results: Path, experiment: str) -> Path:
    """Folder of the committed records of an experiment."""
    return inside(results / "records", experiment)


def named(experiment: str) -> str:
    """Return an experiment's name, if it is one.

    Raises:
        SettingError: it could lead out of a folder, or be taken for something else.
    """
    if len(experiment) > LONGEST or not _NAME.fullmatch(experiment) or experiment[-1] in ". ":
        raise SettingError(
            f'"{printable(experiment[:LONGEST])}" is no name of an experiment: at most {LONGEST} '
            "letters, digits, spaces and any of _ . + - that begin with a letter or digit; use "
            "experiment_name=NAME"
        )
    return experiment


def inside(folder: Path, experiment: str) -> Path:
    """Return where an experiment's folder lies in another one.

    Raises:
        SettingError: the name is none, or the folder is a link that leads elsewhere.
    """
    path = folder / named(experiment)
    try:
        stays = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links in a circle
        stays = False
    if not stays:
        raise SettingError(
            f"{path} leads out of {folder}; nothing is written there. Use another "
            "experiment_name, or let results_dir itself lie elsewhere"
        )
    return path


def tables(results: Path) -> Path:
    """Folder of the tables and figures."""
    return results / "tables"


def literature(results: Path) -> Path:
    """Folder of what others published."""
    return results / "literature"


def reports(results: Path) -> Path:
    """Folder of the pages."""
    return results / "reports"
