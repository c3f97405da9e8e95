"""What jax2onnx imports before its first export.

It imports all of its plugins, and among them its own examples and Equinox's layers, which are built
and compiled for that: nine tenths of an export's time, for what no Flax network has.
"""

from __future__ import annotations

from pathlib import Path

from jax2onnx.plugins import plugin_system

NEEDLESS = {"equinox", "examples", "__pycache__"}


def thin() -> None:
    """Lets it import what Flax's and JAX's operators need alone."""
    every = plugin_system._import_tree

    def needed(root: Path, package: str) -> None:
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and folder.name not in NEEDLESS:
                every(folder, f"{package}.{folder.name}")

    plugin_system._import_tree = needed
