"""Which experiments, and which of their runs, a command is to show: its options, and what they say.

--experiment NAME --source results/records --where trainer=cpu
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from experiments.ground import parts, paths
from experiments.results import records, where
from spa.errors import SettingError


def parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """Return the options that all such commands have.

    Args:
        module: what is run with ``python -m``.
        text: its docstring.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--experiment", help="one experiment; all when not given")
    made.add_argument("--results", type=Path, default=Path("results"))
    made.add_argument("--source", type=Path, help="default: <results>/runs")
    made.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="only runs whose result.json has this; may be given again",
    )
    made.add_argument(
        "--include",
        action="append",
        default=[],
        metavar="PATH",
        help="a file or folder of your own that registers the records' tasks; may be given again",
    )
    return made


def chosen(args: argparse.Namespace) -> Iterator[tuple[Path, str, dict[str, list[str]]]]:
    """Go through the experiments that are meant: where they lie, their names, the conditions.

    Raises:
        SettingError: there are none, or a condition has no meaning.
    """
    parts.ask(args.include)
    parts.load()
    source = args.source or args.results / "runs"
    conditions = where.parse(args.where)
    asked = args.experiment
    names = records.experiments(source) if asked is None else [paths.named(asked)]
    if not names:
        raise SettingError(f"there are no experiments in {source}")
    for name in names:
        yield source, name, conditions
