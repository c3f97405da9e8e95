"""SPA, Structurally Prune Anything: removes whole channels from a network, and proves it.

    model -> graph -> labels -> groups -> importance -> plan -> surgery -> proof -> model

`prune` does it all in one call; `load`, `find_groups`, `score`, `make_plan`, `apply_plan` and
`verify` are its parts; `finetune` trains what comes out. Heavy packages are imported only where
they are used.
"""

from __future__ import annotations

from spa.starting import hush_interrupts

hush_interrupts()

from spa.coupling.groups import Group, Groups, Member  # noqa: E402
from spa.coupling.kept import KeptAxis  # noqa: E402
from spa.errors import (  # noqa: E402
    BridgeError,
    InfeasibleTarget,
    InputError,
    MissingExtra,
    ModelError,
    OutputError,
    PlanError,
    RunError,
    SettingError,
    SpaError,
    VerificationError,
)
from spa.graph.cost import Cost  # noqa: E402
from spa.graph.model import Model  # noqa: E402
from spa.graph.write import save  # noqa: E402
from spa.importance.score import Scores  # noqa: E402
from spa.prune import prune  # noqa: E402
from spa.pruning.plan import Plan  # noqa: E402
from spa.pruning.result import Pruned, Reached  # noqa: E402
from spa.pruning.verify import Proof  # noqa: E402
from spa.selection.target import Limits, Target  # noqa: E402
from spa.sources import load  # noqa: E402
from spa.training.how import Tuning  # noqa: E402
from spa.tuning import Tuned, finetune  # noqa: E402
from spa.verbs import apply_plan, find_groups, make_plan, measure_cost, score, verify  # noqa: E402

__version__ = "0.1.0"

__all__ = [
    # verbs
    "apply_plan",
    "find_groups",
    "finetune",
    "load",
    "make_plan",
    "measure_cost",
    "prune",
    "save",
    "score",
    "verify",
    # data
    "Cost",
    "Group",
    "Groups",
    "KeptAxis",
    "Limits",
    "Member",
    "Model",
    "Plan",
    "Proof",
    "Pruned",
    "Reached",
    "Scores",
    "Target",
    "Tuned",
    "Tuning",
    # errors
    "BridgeError",
    "InfeasibleTarget",
    "InputError",
    "MissingExtra",
    "ModelError",
    "OutputError",
    "PlanError",
    "RunError",
    "SettingError",
    "SpaError",
    "VerificationError",
]
