"""Published values: results/literature/*.csv, a line each, quoted as they were printed.

Only what was read in its source is there, and each line says which. results/README.md has the
columns.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, fields
from pathlib import Path

from experiments.times import TIMES
from spa.errors import InputError


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
        model: as this harness names it, as are ``dataset`` and ``time``.
        method: as the publication names it.
        criterion: this harness's method that prunes by the same criterion; "" where none does.
        rf: dense / pruned FLOPs, at least 1; ``rp``, of parameters, may be "".
        accuracy: top-1, %, as printed; so are ``dense``, that of the dense network, and ``std``,
            which may be "".
        source: what it was read in.
        title: the publication, short.
    """

    model: str
    dataset: str
    time: str
    method: str
    criterion: str
    rf: float
    rp: str
    dense: str
    accuracy: str
    std: str
    source: str
    title: str


COLUMNS = tuple(field.name for field in fields(Published))
_NEEDED = ("model", "dataset", "time", "method", "rf", "accuracy", "source", "title")


def read(folder: Path) -> list[Published]:
    """Read all files of a folder, in the order of their names; none where there is no folder.

    Raises:
        InputError: a file lacks a column, or a line a value; both are named.
    """
    out = []
    for path in sorted(folder.glob("*.csv")):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if tuple(reader.fieldnames or ()) != COLUMNS:
                    raise InputError(f"{path}: the columns must be {','.join(COLUMNS)}")
                out += [_line(f"{path}, line {reader.line_num}", line) for line in reader]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"cannot read {path}: {error}") from error
    return out


def show(published: Published, number: int) -> str:
    """Format one value, with the number that its source has in the table."""
    spread = f" ± {published.std}" if published.std else ""
    dense = f" (dense {published.dense})" if published.dense else ""
    rp = f", RP {published.rp}" if published.rp else ""
    return f"{published.accuracy}{spread}{dense} at RF {published.rf:g}{rp} [{number}]"


def _line(where: str, line: dict[str, str]) -> Published:
    if None in line or None in line.values():
        raise InputError(f"{where}: a line has {len(COLUMNS)} values")
    empty = [name for name in _NEEDED if not line[name].strip()]
    if empty:
        raise InputError(f"{where}: {empty[0]} is empty; a value without it is not quoted")
    if line["time"] not in TIMES:
        raise InputError(f'{where}: time is one of {", ".join(TIMES)}, but is "{line["time"]}"')
    for name, least, most in (
        *(("rf", 1, math.inf), ("rp", 1, math.inf)),
        *(("accuracy", 0, 100), ("dense", 0, 100), ("std", 0, 100)),
    ):
        if line[name] and not least <= _number(line[name]) <= most:
            raise InputError(
                f'{where}: {name} is a number from {least} to {most}, but is "{line[name]}"'
            )
    return Published(**{**line, "rf": float(line["rf"])})  # type: ignore[arg-type]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
