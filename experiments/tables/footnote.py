"""What stands below a table: what the numbers are and where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.results import objective
from experiments.results.columns import MISSING, NO_STAGE
from experiments.results.rows import Row, asked
from experiments.tables.layout import NOT_AVAILABLE, sources
from experiments.tasks import TASKS


def notes(
    results: Sequence[Mapping[str, Any]],
    rows: Sequence[Row] = (),
    where: Mapping[str, Sequence[str]] | None = None,
    *,
    compares: bool = True,
) -> list[str]:
    """Say what the numbers are and where they come from.

    Args:
        results: what the table was made of.
        rows: the table's, for the sources of what they quote.
        where: by which results were left out.
        compares: whether the best values are marked, and a column is SPA's own paper's.
    """
    if not results:
        return []
    splits = " or ".join(sorted({result["split"] for result in results}))
    lines = [
        "Mean ± sample standard deviation over n seeds, without a spread for one seed; "
        f"{MISSING}: missing (the run failed or is not there); {NO_STAGE}: no such stage.",
        f"RF and RP are dense / pruned FLOPs and parameters. {_measured(results)} on the {splits} "
        "split, measured with ONNX Runtime on each run's own files.",
    ]
    latency = sorted({(r["latency"]["batch"], r["latency"]["threads"]) for r in results})
    shapes = "; ".join(f"one batch of {batch}, {threads} thread(s)" for batch, threads in latency)
    lines.append(f"ms: median latency of ONNX Runtime on the CPU ({shapes}).")
    if compares:
        lines += [
            "Bold: the best of a model's rows of the same time and target, with what reads the "
            "same.",
            "SPA paper: no table of SPA's own paper could be read, so what it says is "
            f"{NOT_AVAILABLE}.",
        ]
    numbers = sources(rows)
    if numbers:
        lines.append(
            "Literature: as published, with the publications' own training, data preparation and "
            "count of FLOPs; not measured here, and not compared."
        )
    lines += [
        f"[{number}] {title}. Source: {source}" for (title, source), number in numbers.items()
    ]
    lines += _collapsed(results)
    if where:
        kept = " and ".join(f"{key} {' or '.join(values)}" for key, values in where.items())
        lines.append(f"Only runs with {kept}.")
    cpus = sorted({f"{r['hardware']['cpu']}, {r['hardware']['cores']} cores" for r in results})
    days = sorted({r["finished"][:10] for r in results})
    commits = sorted({commit(r["code"]) for r in results})
    lines.append(
        f"{len(results)} runs, {days[0]} to {days[-1]}; code {', '.join(commits)}; "
        f"{'; '.join(cpus)}."
    )
    return lines


def _measured(results: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(TASKS.get(task)().said for task in dict.fromkeys(r["task"] for r in results))


def _collapsed(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say how many runs ended as ruins: they are in the means, and explain wide spreads."""
    ruins = Counter(
        f"{result['criterion'] or result['method']} {asked(result)}"
        for result in results
        if _is_ruin(result)
    )
    if not ruins:
        return []
    each = ", ".join(f"{name}: {number}" for name, number in sorted(ruins.items()))
    return [
        f"{ruins.total()} of {len(results)} runs collapsed (less than half as good as the dense "
        f"network after the last stage); they are counted like all others ({each})."
    ]


def _is_ruin(result: Mapping[str, Any]) -> bool:
    metric = objective.first_metric(result)
    dense = result["metrics"].get("dense", {}).get(metric.key)
    last = objective.final(result)
    if dense is None or last is None or dense <= 0:
        return False
    return bool(2 * last < dense if metric.better == "more" else last > 2 * dense)


def commit(code: Mapping[str, Any]) -> str:
    """Name the code that a result was made with."""
    if code.get("commit") is None:
        return str(code.get("version"))
    return f"{code['commit'][:10]}{' with changes' if code.get('dirty') else ''}"
