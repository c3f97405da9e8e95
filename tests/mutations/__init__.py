"""Deliberate bugs that the proof must catch, in pruned files and in the rules that make them.

`FILE_BUGS` change a pruned file. `RULE_BUGS` change a rule, or what surgery does, while a network
is pruned and proven: whoever recomputes the surgery makes the same mistake again, so that only
numbers can tell. `NETWORKS` are what they are tried on, and `trial` says what came of each.
``python -m tests.mutations`` writes the table.
"""
