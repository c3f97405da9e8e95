"""Result files to rows. A row is one setting (a run id); a cell is the mean over its seeds.

Rows of one model, framework, data set and time are a block. What others have published of the same
model, data set and time joins the block: beside the measured row of the same criterion at about
the same RF, or in rows of its own, in which nothing is measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from experiments.methods import METHODS
from experiments.results.columns import MISSING, Cell, Column, columns, exists, summarise
from experiments.results.literature import Published
from experiments.times import TIMES

# Settings that get a column when they differ between the rows of a table.
OPTIONAL = ("framework", "dataset", "trainer", "scope", "aggregate", "normalize")
# The methods of SPA's own paper.
SPA = ("spa", "obspa")
# A published RF is beside a measured row whose own is not further away than this share.
NEAR = 0.1


@dataclass(frozen=True)
class Row:
    """One setting of an experiment, or one publication's row.

    Attributes:
        run_id: "" where nothing was run.
        names: what it is: model, time, method, asked, and the optional settings.
        cells: one for each of the columns, by key.
        columns: of the row's table, the same in all of its rows.
        done: seeds that are finished.
        runs: seeds that were started.
        block: model, framework, data set and time.
        asked: the target, as in a result file; empty where nothing was run.
        by_spa: whether the method is one of SPA's paper.
        machines: what the row was timed on and how: processor, cores, batch, threads.
        published: what the literature says of it.
    """

    run_id: str
    names: dict[str, str]
    cells: dict[str, Cell]
    done: int
    runs: int
    block: tuple[str, ...] = ()
    asked: Mapping[str, float] = field(default_factory=dict)
    by_spa: bool = False
    machines: frozenset[tuple[Any, ...]] = frozenset()
    published: tuple[Published, ...] = ()
    columns: tuple[Column, ...] = ()

    @property
    def final(self) -> Cell:
        """What the task's first metric says in the end: fine-tuned, or pruned where that is all."""
        tuned, pruned = (self.first(stage) for stage in ("finetuned", "pruned"))
        return tuned if tuned.exists else pruned

    def first(self, stage: str) -> Cell:
        """What the task's first metric says of a stage."""
        return next(self.cells[c.key] for c in self.columns if c.stage == stage)


def build(
    results: Sequence[Mapping[str, Any]],
    unfinished: Sequence[Mapping[str, Any]] = (),
    literature: Sequence[Published] = (),
) -> list[Row]:
    """Group result files into rows, sorted by block, target and method.

    Args:
        results: contents of result.json files.
        unfinished: contents of status.json of runs that are not done; their cells are missing.
        literature: what is published, of any model; what fits no row's block is left out.
    """
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault(result["run_id"], []).append(result)
    lost: dict[str, list[Mapping[str, Any]]] = {}
    for status in unfinished:
        lost.setdefault(status["run_id"], []).append(status)
    shown = [key for key in OPTIONAL if len({str(r.get(key)) for r in results}) > 1]
    heads = columns(dict.fromkeys(r["task"] for r in results) or ("classification",))
    rows = [
        _row(run_id, groups.get(run_id, []), lost.get(run_id, []), shown, heads)
        for run_id in {**groups, **lost}
    ]
    return sorted(_joined(sorted(rows, key=_order), literature, shown), key=_order)


def _row(
    run_id: str,
    done: Sequence[Mapping[str, Any]],
    lost: Sequence[Mapping[str, Any]],
    shown: Sequence[str],
    heads: tuple[Column, ...],
) -> Row:
    what = (done or lost)[0]
    return Row(
        run_id=run_id,
        names=_names(what, shown),
        cells={
            column.key: summarise(
                [column.get(result) for result in done], exists(column, what["time"])
            )
            for column in heads
        },
        done=len(done),
        runs=len(done) + len(lost),
        block=tuple(str(what.get(key)) for key in ("model", "framework", "dataset", "time")),
        asked=what["asked"],
        by_spa=what["method"] in SPA,
        machines=frozenset(
            (r["hardware"]["cpu"], r["hardware"]["cores"], *sorted(r["latency"].items()))
            for r in done
        ),
        columns=heads,
    )


def _names(what: Mapping[str, Any], shown: Sequence[str]) -> dict[str, str]:
    how = what["criterion"] or what["method"]
    if what.get("criterion") and what["method"] != "spa":
        how = f"{what['method']} {how}"
    if drawn := what.get("config", {}).get("criterion_data"):
        how += f" ({drawn})"
    if what.get("calibration"):
        moved = {True: ", statistics refreshed", "relative": ", statistics moved"}
        how += f" ({what['calibration']}{moved.get(what.get('bn_refresh'), '')})"
    if chosen := _chosen(what):
        how += f" ({chosen})"
    names = {
        "model": what["model"],
        "time": _time(what),
        "method": how,
        "asked": asked(what),
    }
    return names | {key: str(what.get(key) or "default") for key in shown}


def _chosen(what: Mapping[str, Any]) -> str:
    """A method's own settings that are not its defaults: what tells its rows apart."""
    given = what.get("options", {}).get("method", {})
    if not given or what["method"] not in METHODS.names():
        return ""
    usual = vars(METHODS.get(what["method"]).settings())
    return ", ".join(f"{key} {value}" for key, value in given.items() if usual.get(key) != value)


def asked(what: Mapping[str, Any]) -> str:
    """Return a run's target as tables have it."""
    ((quantity, value),) = what["asked"].items()
    return f"{quantity.upper() if quantity in ('rf', 'rp') else quantity} {value:g}"


def _time(what: Mapping[str, Any]) -> str:
    """The time, with its settings where it has any and they are known."""
    options = what.get("config", {}).get("time_options", {})
    text = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{what['time']} ({text})" if text else str(what["time"])


def _order(row: Row) -> tuple[Any, ...]:
    model, framework, dataset, time = row.block
    place = list(TIMES).index(time) if time in TIMES else len(TIMES)
    rf = [published.rf for published in row.published] if not row.run_id else []
    return (
        *(model, dataset, framework, place, not row.run_id, *row.asked.items(), *rf),
        *row.names.values(),
        row.run_id,
    )


def _joined(
    rows: Sequence[Row], literature: Sequence[Published], shown: Sequence[str]
) -> list[Row]:
    """Add what is published of the rows' models, data sets and times."""
    out = list(rows)
    for published in literature:
        # Frameworks are no matter: the first block takes a row that nobody measured.
        wanted = (published.model, published.dataset, published.time)
        mine = [i for i, r in enumerate(out) if (r.block[0], *r.block[2:]) == wanted]
        if not mine:
            continue
        beside = [i for i in mine if _same(out[i], published)]
        for i in beside:
            out[i] = replace(out[i], published=(*out[i].published, published))
        if not beside:
            out.append(_unmeasured(published, out[mine[0]], shown))
    return out


def _same(row: Row, published: Published) -> bool:
    reached = row.cells["rf"].mean
    return (
        row.names["method"] == published.criterion
        and reached is not None
        and abs(reached / published.rf - 1) <= NEAR
    )


def _unmeasured(published: Published, beside: Row, shown: Sequence[str]) -> Row:
    names = {
        "model": published.model,
        "time": published.time,
        "method": published.method,
        "asked": MISSING,
    }
    return Row(
        run_id="",
        names=names | {k: published.dataset if k == "dataset" else MISSING for k in shown},
        cells={c.key: summarise([], exists(c, published.time)) for c in beside.columns},
        done=0,
        runs=0,
        block=beside.block,
        published=(published,),
        columns=beside.columns,
    )
