"""What happens to every operator: the table of docs/support.md, made from the registries.

python -m spa.coupling.support
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import onnx

from spa.coupling.rules.base import RULES
from spa.coupling.rules.dense import KEPT_DENSE

NOT_YET = "not yet: what it reads stays dense, with the reason"


def standard_operators() -> list[str]:
    """Operators of ONNX's standard domain, those that newer opsets dropped included."""
    return sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain})


def support_table() -> str:
    """The table as Markdown: operators that shrink by rule, and those kept dense, with the reason.

    Operators that share a rule's file share a row; that file's first line says what it does.
    """
    standard = standard_operators()
    other = sorted({*RULES, *KEPT_DENSE}.difference(standard))
    rows = ["| operators | what happens |", "|---|---|"]
    by_file: dict[tuple[str, str], list[str]] = {}
    for op in [*standard, *other]:
        if op in RULES:
            path = RULES[op].__module__
            line = (sys.modules[path].__doc__ or "").partition("\n")[0]
            by_file.setdefault((path.rpartition(".")[2], line), []).append(op)
    for (name, line), ops in sorted(by_file.items()):
        link = f"[{name}](../spa/coupling/rules/{name}.py)"
        rows.append(f"| {_listed(ops)} | rule {link}: {line.rstrip('.')} |")
    by_reason: dict[str, list[str]] = {}
    for op in [*standard, *other]:
        if op in KEPT_DENSE:
            by_reason.setdefault(KEPT_DENSE[op], []).append(op)
    for reason, ops in sorted(by_reason.items(), key=lambda item: item[1]):
        rows.append(f"| {_listed(ops)} | dense by design: {reason} |")
    missing = [op for op in standard if op not in RULES and op not in KEPT_DENSE]
    if missing:
        rows.append(f"| {_listed(missing)} | {NOT_YET} |")
    return "\n".join(rows)


def _listed(ops: Iterable[str]) -> str:
    return ", ".join(op.replace("com.microsoft::", "com.microsoft.") for op in ops)


if __name__ == "__main__":
    print(support_table())
