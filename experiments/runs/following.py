"""What a process does in a run that another one leads: it takes part in the trainings."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from experiments.config.settings import Settings
from experiments.data import load
from experiments.models.network import fresh
from experiments.training.team import Processes
from spa.errors import SettingError

if TYPE_CHECKING:
    import onnx


def follow(settings: Settings, team: Processes) -> None:
    """Take part in the trainings of the first process until it is done with the run.

    What ends a training for all is for the first one to tell of, and this one waits for its next
    word. After any other error they are out of step, and this process must end.
    """
    from experiments.training.loop import fit, prepare
    from spa.bridge import to_torch
    from spa.training.team import Stopped

    while (what := team.same(None)) is not None:
        # Not before: where these fail, they do so for the first process too, which says nothing.
        device = prepare(settings.place.device, settings.place.threads)
        data = load(settings.dataset, settings.place.data_root, settings.place.workers)
        what |= {key: _parsed(what[key]) for key in ("model", "teacher")}
        model = what["model"]
        net = fresh(settings.model, data, settings.seed)[0] if model is None else to_torch(model)
        with suppress(Stopped, SettingError):
            fit(net, data, **what, seed=settings.seed, device=device, team=team)


def _parsed(content: bytes | None) -> onnx.ModelProto | None:
    import onnx

    return None if content is None else onnx.ModelProto.FromString(content)
