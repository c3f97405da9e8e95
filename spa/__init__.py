"""SPA, Structurally Prune Anything: removes whole channels from a network, and proves it.

    model -> graph -> labels -> groups -> importance -> plan -> surgery -> proof -> model

`prune` does it all in one call; `load`, `find_groups`, `score`, `make_plan`, `apply_plan` and
`verify` are its parts; `finetune` trains what comes out. Heavy packages are imported only where
they are used.
"""

from __future__ import annotations

import spa.starting  # noqa: F401  (before all that takes its time)
from spa.coupling.groups import Group, Groups, Member
from spa.coupling.kept import KeptAxis
from spa.errors import (
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
from spa.graph.cost import Cost
from spa.graph.model import Model
from spa.graph.write import save
from spa.importance.score import Scores
from spa.prune import prune
from spa.pruning.plan import Plan
from spa.pruning.result import Pruned, Reached
from spa.pruning.verify import Proof
from spa.selection.target import Limits, Target
from spa.sources import load
from spa.training.how import Tuning
from spa.tuning import Tuned, finetune
from spa.verbs import apply_plan, find_groups, make_plan, measure_cost, score, verify

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
