"""Which settings can be told apart: mean ranks, and bars over those that cannot.

A panel for each time. What is ranked are settings, by the task's first metric after a run's last
stage; a block is one network of one seed at one target, in which every setting ran. Where
Friedman's test tells no difference all are under one bar; else those whose ranks are closer than
Nemenyi's critical difference. Seeds of one network are not quite independent, so bars are rather
too short than too long.

Source: Demsar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets, 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments.figures import FIGURES, series
from experiments.figures.style import panels
from experiments.results import objective
from experiments.results.rows import Row
from experiments.results.schema import Result
from experiments.times import TIMES
from spa.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Fewer are read from a table; of more, nothing is to be seen.
FEWEST, MOST = 5, 40
BLOCKS = 3
ALPHA = 0.05


@FIGURES.register("critical_difference")
def critical_difference(results: Sequence[Result]) -> Figure | None:
    """Draw it; None where no time has five settings that all ran in three blocks."""
    found = series.rows(results)
    names = series.names(found)
    tables = {}
    for time in TIMES:
        rows = [row for row in found if row.block[-1] == time]
        table = scores(rows, results, names)
        if table is not None:
            tables[time] = table
    if not tables:
        return None
    most = max(len(table.columns) for table in tables.values())
    figure, grid = panels(len(tables), 1, 6.4, 0.7 + 0.11 * most)
    for (panel,), (time, table) in zip(grid, tables.items(), strict=True):
        _draw(panel, table)
        panel.set_title(f"{time.replace('_', '-')}, {len(table)} blocks", fontsize=9)
    return figure


def scores(
    rows: Sequence[Row], results: Sequence[Result], names: Mapping[str, str]
) -> pd.DataFrame | None:
    """Return what is ranked, larger is better: a row for each block, a column for each setting.

    Settings that were not run at every target are left out where others were run at more: the
    blocks are those in which the most settings ran.

    Args:
        rows: of one time.
        results: theirs, and perhaps others.
        names: of the settings, by run id.
    """
    import pandas as pd

    known = {row.run_id: names[row.run_id] for row in rows}
    blocks: dict[tuple[Any, ...], dict[str, float]] = {}
    for result in results:
        value = _score(result)
        if result["run_id"] in known and value is not None:
            key = (
                *(result[part] for part in ("model", "framework", "dataset", "seed")),
                *result["asked"].items(),
            )
            blocks.setdefault(key, {})[known[result["run_id"]]] = value
    if not blocks:
        return None
    wanted = max((frozenset(block) for block in blocks.values()), key=lambda b: (len(b), sorted(b)))
    full = [
        [block[name] for name in sorted(wanted)]
        for block in blocks.values()
        if wanted <= set(block)
    ]
    if not FEWEST <= len(wanted) <= MOST or len(full) < BLOCKS:
        return None
    return pd.DataFrame(full, columns=sorted(wanted))


def _score(result: Result) -> float | None:
    """The task's first metric after the last stage, so that more is better."""
    value = objective.final(result)
    return value if value is None or objective.first_metric(result).better == "more" else -value


def ranks(table: pd.DataFrame) -> pd.Series:
    """Return the settings' mean ranks, 1 is best; what is equal shares its ranks."""
    return table.rank(axis=1, ascending=False).mean()


def apart(table: pd.DataFrame) -> pd.DataFrame:
    """Return for every two settings the p-value of Nemenyi's test; 1 where Friedman's says none.

    Raises:
        MissingExtra: scikit-posthocs is not there.
    """
    import pandas as pd
    from scipy.stats import friedmanchisquare

    try:
        import scikit_posthocs
    except ImportError as error:
        raise MissingExtra("scikit-posthocs", "experiments", "comparing settings") from error
    names = list(table.columns)
    if not friedmanchisquare(*(table[name] for name in names)).pvalue < ALPHA:
        return pd.DataFrame(1.0, index=names, columns=names)
    found = scikit_posthocs.posthoc_nemenyi_friedman(table.to_numpy())
    return pd.DataFrame(found.to_numpy(), index=names, columns=names)


def _draw(panel: Any, table: pd.DataFrame) -> None:
    import scikit_posthocs

    significant = apart(table)
    scikit_posthocs.critical_difference_diagram(
        ranks(table),
        significant,
        alpha=ALPHA,
        ax=panel,
        label_props={"fontsize": 8},
        color_palette=dict.fromkeys(table.columns, "black"),
        marker_props={"marker": "o", "s": 12},
        elbow_props={"linewidth": 0.6, "alpha": 0.5},
        label_fmt_left="{label} ({rank:.1f})",
        label_fmt_right="({rank:.1f}) {label}",
    )
