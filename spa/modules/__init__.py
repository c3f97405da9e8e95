"""Torch modules made smaller: of the user's own class where that can be, proven like the file."""

from spa.modules.shrinking import rebuild

__all__ = ["rebuild"]
