"""What rows must have in common before they stand below each other.

Rows of one model, framework and data set are read as a comparison. So their runs must have
started from the same dense network (for each seed), been trained as long, on the same data, been
measured on the same split, and counted FLOPs alike. What one run recorded and another did not is
not known to be the same.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from experiments.results.frame import flat
from spa.errors import SettingError

Result = Mapping[str, Any]
# By these, the first that differs, a table can be cut in two; one of the last two always does.
_CUTS = (
    *("trainer", "split", "code.commit", "code.version", "hardware.gpu", "hardware.cpu"),
    *("run_id", "seed"),
)


class Quantity(NamedTuple):
    """What must agree: its name in messages, where it is, and whether each seed has its own."""

    name: str
    get: Callable[[Result], Any]
    by_seed: bool = False


def budget(result: Result) -> Any:
    """Return how long and how a run trained, without the name that somebody gave to that.

    Epochs that the method itself trained count as fine-tuning.
    """
    found = result["training"].get("budget") or result["config"].get("trainer")
    if found is None:
        return None
    own = result["training"].get("prune", {}).get("epochs", 0)
    parts = {key: value for key, value in found.items() if key != "name"}
    if own:
        tuned = parts.get("finetune", {})
        parts["finetune"] = {**tuned, "epochs": tuned.get("epochs", 0) + own}
    return parts


QUANTITIES = (
    Quantity("dense_sha256", lambda r: r["dense_sha256"], by_seed=True),
    Quantity("training budget", budget),
    Quantity("split", lambda r: r["split"]),
    Quantity("data_sha256", lambda r: r["data_sha256"]),
    Quantity("flops", lambda r: r["flops"]),
)


def check(results: Sequence[Result]) -> None:
    """Refuse runs that must not be compared.

    Raises:
        SettingError: two of one model, framework and data set differ in a quantity; the message
            names both runs, both values and the way out.
    """
    for quantity in QUANTITIES:
        first: dict[tuple[Any, ...], Result] = {}
        for result in results:
            key = tuple(result[name] for name in ("experiment", "model", "framework", "dataset"))
            if quantity.by_seed:
                key = (*key, result["seed"])
            before = first.setdefault(key, result)
            if quantity.get(before) != quantity.get(result):
                raise SettingError(_message(quantity, before, result))


def _message(quantity: Quantity, one: Result, two: Result) -> str:
    name, a, b = next(_differences(quantity.name, quantity.get(one), quantity.get(two)))
    seed = f" of seed {one['seed']}" if quantity.by_seed else ""
    unknown = "; what is not recorded is not known to be the same" if None in (a, b) else ""
    here, there = (flat(result) for result in (one, two))
    cut = next(key for key in _CUTS if key == "seed" or here.get(key) != there.get(key))
    keep = "null" if here.get(cut) is None else here[cut]
    return (
        f"experiment {one['experiment']}: runs of {one['model']} ({one['framework']}, "
        f"{one['dataset']}) cannot stand in one table, as they differ in {name}{seed}: "
        f"{_short(a)} in run {one['run_id']}, {_short(b)} in run {two['run_id']}{unknown}; "
        f"keep one kind with --where {shlex.quote(f'{cut}={keep}')}, or run the others again"
    )


def _differences(name: str, a: Any, b: Any) -> Iterator[tuple[str, Any, Any]]:
    """Go down to the first entries that differ, so that a message can show them."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            if a.get(key) != b.get(key):
                yield from _differences(f"{name}, {key}", a.get(key), b.get(key))
    yield name, a, b


def _short(value: Any) -> str:
    if value is None:
        return "not recorded"
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
