"""Criteria by the size of weights."""
