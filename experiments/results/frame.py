"""Results as one pandas frame, and that frame as Parquet and CSV.

Keys that are nested in a result have dots in the frame: ``metrics.dense.acc`` and so on. What has
no fixed shape stays whole (`WHOLE`), as the lists and dictionaries that it is; a file holds it as
JSON text, since neither format keeps such values.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ground import files
from spa.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd

# Of any shape, or of more than one type (`bn_refresh`): JSON text in the files.
WHOLE = (
    *("widths", "proof", "details", "config", "training.budget", "bn_refresh"),
    *("options.method", "options.criterion"),
)


def flat(content: Mapping[str, Any], whole: Iterable[str] = (), prefix: str = "") -> dict[str, Any]:
    """Put dots between the keys of nested dictionaries; those of the keys in ``whole`` stay."""
    out: dict[str, Any] = {}
    for key, value in content.items():
        name = prefix + key
        if isinstance(value, Mapping) and name not in whole:
            out |= flat(value, whole, f"{name}.")
        else:
            out[name] = value
    return out


def frame(results: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Make a frame of results, a row each, in the order that they come in."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("pandas", "experiments", "reading records into a frame") from error
    return pd.DataFrame.from_records([flat(result, WHOLE) for result in results])


def write(results: pd.DataFrame, folder: Path) -> list[Path]:
    """Write runs.parquet and runs.csv; the columns in `WHOLE`, and all lists, as JSON text.

    Raises:
        MissingExtra: pyarrow is not there.
        OutputError: the folder cannot be written.
    """
    try:
        import pyarrow  # noqa: F401  (pandas takes it by name)
    except ImportError as error:
        raise MissingExtra("pyarrow", "experiments", "writing Parquet") from error
    plain = results.copy()
    for name in plain.columns:
        if name in WHOLE or plain[name].map(lambda value: isinstance(value, (list, dict))).any():
            plain[name] = plain[name].map(_json).astype(object)
    columns = io.BytesIO()
    plain.to_parquet(columns, engine="pyarrow", index=False)
    made = [folder / "runs.parquet", folder / "runs.csv"]
    files.write_bytes(made[0], columns.getvalue())
    files.write_text(made[1], plain.to_csv(index=False, lineterminator="\n"))
    return made


def _json(value: Any) -> str | None:
    if value is None or isinstance(value, float):  # a float is pandas' sign for a missing value
        return None
    return json.dumps(value, sort_keys=True)
