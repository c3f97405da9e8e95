"""The table of operators in docs/support.md is what the registries say, and leaves none out."""

from __future__ import annotations

import re
from pathlib import Path

import onnx

import spa  # noqa: F401  (fills the registries)
from spa.coupling.rules.base import RULES
from spa.coupling.rules.dense import KEPT_DENSE
from spa.coupling.support import NOT_YET, support_table

PAGE = Path(__file__).parent.parent / "docs" / "support.md"


def _table() -> str:
    return PAGE.read_text().split("<!-- operators -->\n")[1].split("<!-- /operators -->")[0]


def test_the_page_has_the_table_that_the_registries_make():
    """If this fails: python -m spa.coupling.support prints the table to put in."""
    assert _table().strip() == support_table()


def test_every_operator_of_the_standard_domain_stands_in_one_row():
    operators = {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain}
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", _table(), flags=re.MULTILINE)[1:]
    listed = [name for names, _ in rows for name in names.split(", ")]
    assert len(listed) == len(set(listed))
    assert operators <= set(listed)
    for names, what in rows:
        for name in names.split(", "):
            name = name.replace("com.microsoft.", "com.microsoft::")
            if what.startswith("rule"):
                assert name in RULES
            elif what.startswith("dense by design"):
                assert name in KEPT_DENSE
                assert name not in RULES
            else:
                assert what == NOT_YET
