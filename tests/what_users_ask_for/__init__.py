"""What users of pruning tools asked for or complained about, item by item.

Every test reproduces the situation of an issue thread, named in its docstring, as a small model
that torch exports, without any hint; then it asks for the groups that are right there, prunes, and
has the result proven by SPA and by the oracle that shares no code with it.
"""
