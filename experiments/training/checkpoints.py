"""A training's state on the disk, so that a run that was interrupted goes on where it was.

The file holds tensors, numbers and texts (never a pickled object), and is read as such.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.ground import files

if TYPE_CHECKING:
    from experiments.ground.progress import Progress


class Checkpoint:
    """Keeps a training's state in a file; see `spa.training.loop.Keeper`.

    Args:
        path: the file.
        of: what the training is of, such as the hash of the network that it starts from and the
            code. A state of anything else is not gone on with.
        every: seconds between two states.
        stops: whether the run was asked to end.
    """

    def __init__(
        self,
        path: Path,
        of: str,
        *,
        every: float,
        stops: Callable[[], bool],
        progress: Progress,
    ) -> None:
        self.path = path
        self.of = of
        self._every = every
        self._stops = stops
        self._progress = progress
        self._last = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Read the state; None where there is none that fits."""
        import torch

        if not self.path.is_file():
            return None
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            state: dict[str, Any] = found["state"] if found["of"] == self.of else {}
        except Exception as error:  # torn, edited, or of another version of torch
            why = type(error).__name__
            self._progress.say(f"{self.path} cannot be read ({why}): starting over")
            return None
        if not state:
            self._progress.say(f"{self.path} is of another network or code: starting over")
            return None
        at = state["at"]
        self._progress.say(f"going on from epoch {at['epoch'] + 1}, step {at['step'] + 1}")
        return state

    def due(self) -> bool:
        """Whether so many seconds have passed."""
        return time.monotonic() - self._last >= self._every

    def stops(self) -> bool:
        """Whether the run was asked to end."""
        return self._stops()

    def save(self, state: dict[str, Any]) -> None:
        """Write the state in one step."""
        import torch

        content = io.BytesIO()
        torch.save({"of": self.of, "state": state}, content)
        files.write_bytes(self.path, content.getvalue())
        self._last = time.monotonic()
