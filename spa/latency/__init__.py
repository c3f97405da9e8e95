"""Targets of measured latency: a table of node times over widths, and a search on it."""
