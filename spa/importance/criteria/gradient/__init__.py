"""Criteria by first-order changes of a loss."""
