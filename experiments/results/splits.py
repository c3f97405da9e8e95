"""What results measured, on the split that is asked for.

Settings are chosen by what was held out of the training data, and tables show the test set. A run
on the test set has both (`experiments.results.schema.Result`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from experiments.data.base import Held
from experiments.results.schema import Result
from spa.errors import SettingError


def on(results: Sequence[Result], split: Held | None) -> list[Result]:
    """Return results as they read on a split; None: on the one that each was run for.

    Raises:
        SettingError: one was not measured on it.
    """
    return list(results) if split is None else [_on(result, split) for result in results]


def _on(result: Result, split: Held) -> Result:
    if result["split"] == split:
        return result
    if split == "validation" and "validation" in result:
        seen: Mapping[str, object] = {"metrics": result["validation"], "split": split}
        return cast(Result, {**result, **seen})
    raise SettingError(
        f"run {result['run_id']}, seed {result['seed']}, of experiment {result['experiment']} was "
        f"measured on the {result['split']} split alone, not on {split}; run it again with "
        f"split={split}, or leave it out with --where"
    )
