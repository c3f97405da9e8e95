"""Torch modules made smaller: of the user's own class where that can be, proven like the file."""

import spa.bridge  # noqa: F401  says what to install where PyTorch is missing
from spa.modules.shrinking import rebuild

__all__ = ["rebuild"]
