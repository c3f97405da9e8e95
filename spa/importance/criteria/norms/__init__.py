"""Criteria by the scales of norms."""
