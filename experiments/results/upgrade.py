"""Result files of earlier schema versions, brought to the present one; the only place that knows.

2 to 3: ``acc`` was the accuracy of each stage, null where there is no such stage; every run was a
classification. Which data a method had seen was not recorded.

Records without ``split`` are of the time when everything was measured on the test split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

READABLE = (2, 3)


def upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a result of a readable version as the present version has it."""
    out = dict(content)
    if out["schema_version"] == 2:
        acc = out.pop("acc")
        out |= {
            "schema_version": 3,
            "task": "classification",
            "metrics": {k: {"acc": v} for k, v in acc.items() if v is not None},
            "options": {
                "method": out["config"].get("options", {}),
                "criterion": {},
            },
            "seen": None,
        }
    out.setdefault("split", "test")
    return out
