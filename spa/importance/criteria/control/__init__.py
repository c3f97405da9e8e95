"""Criteria that any other must beat."""
