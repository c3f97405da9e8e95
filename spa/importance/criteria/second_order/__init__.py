"""Criteria by second-order changes of a loss, or of what a layer gives."""
