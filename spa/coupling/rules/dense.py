"""Operators that are kept dense by design: what they read stays whole, and this is why.

An operator with neither a rule nor an entry here is kept dense too; then the reason is that there
is no rule.
"""

from __future__ import annotations

_SUBGRAPH = "its subgraphs read and make tensors by name, which are not followed"
_INTEGER = "it computes with integers whose scale depends on all channels"

KEPT_DENSE: dict[str, str] = {
    # Control flow.
    "If": _SUBGRAPH,
    "Loop": _SUBGRAPH,
    "Scan": _SUBGRAPH,
    "SequenceMap": _SUBGRAPH,
    # Quantised while the model runs.
    "ConvInteger": _INTEGER,
    "DynamicQuantizeLinear": "its scale is taken from all entries, so none may go",
    "MatMulInteger": _INTEGER,
}
