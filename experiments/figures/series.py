"""What a line in a figure is, and a panel: taken from the rows of the table."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.results.rows import Row, build
from experiments.results.schema import Result

# What a line's name leaves out: it has a panel of its own, or is the axis.
ELSEWHERE = ("model", "time", "method", "asked", "dataset")


def rows(results: Sequence[Result]) -> list[Row]:
    """Return the table's rows of what was run."""
    return build(results)


def names(found: Sequence[Row], elsewhere: Sequence[str] = ELSEWHERE) -> dict[str, str]:
    """Return by run id the method and the settings that differ, and the run id if need be.

    Two rows of one panel and target that read alike are lines of their own.
    """
    plain = {
        row.run_id: ", ".join(
            [row.names["method"], *(v for k, v in row.names.items() if k not in elsewhere)]
        )
        for row in found
    }
    seen: dict[tuple[object, ...], list[str]] = {}
    for row in found:
        key = (plain[row.run_id], row.block, *row.asked.items())
        seen.setdefault(key, []).append(row.run_id)
    for alike in seen.values():
        if len(alike) > 1:
            plain |= {run_id: f"{plain[run_id]} ({run_id})" for run_id in alike}
    return plain


def subject(row: Row, found: Sequence[Row], framework: bool = False) -> str:
    """Return a row's model, with its data set, and its framework if asked, if there are several."""
    shown = (True, framework, True, False)
    places = [i for i in range(4) if shown[i] and (i == 0 or len({r.block[i] for r in found}) > 1)]
    return ", ".join(row.block[i] for i in places)
