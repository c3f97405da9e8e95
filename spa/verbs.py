"""The library's verbs as they are called from outside: held to what they take.

Inside of the library the type checker says what goes where; outside, whoever hands over the wrong
thing learns which one is wanted and what makes it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import onnx

from spa.coupling import groups as _groups
from spa.coupling.groups import Groups
from spa.errors import SettingError
from spa.graph import cost as _cost
from spa.graph.cost import Cost
from spa.graph.model import Model
from spa.importance import score as _score
from spa.importance.score import Scores
from spa.pruning import planning, surgery
from spa.pruning import verify as _verify
from spa.pruning.plan import Plan
from spa.selection.target import Limits, Target
from spa.sources import Source, load

P = ParamSpec("P")
R = TypeVar("R")

# What makes a thing of each kind.
MADE_BY = {
    Model: "spa.load(...)",
    Groups: "spa.find_groups(model)",
    Scores: "spa.score(model, groups)",
    Plan: "spa.make_plan(...), spa.Plan.load(path), or result.plan",
    Target: "spa.Target(rf=2.0)",
    Limits: "spa.Limits(...)",
    onnx.ModelProto: "result.model, spa.apply_plan(...) or onnx.load(path)",
}


def takes(**kinds: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Checks arguments of a function by name; one that may be None may be None."""

    def held(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            given = signature.bind(*args, **kwargs).arguments
            for name, kind in kinds.items():
                value = given.get(name, signature.parameters[name].default)
                if value is not signature.parameters[name].default and not isinstance(value, kind):
                    raise SettingError(
                        f"spa.{function.__name__} takes {name} as a {kind.__name__}, made by "
                        f"{MADE_BY[kind]}; a {type(value).__name__} was given."
                    )
            return function(*args, **kwargs)

        return call

    return held


find_groups = takes(model=Model)(_groups.find_groups)
score = takes(model=Model, groups=Groups)(_score.score)
make_plan = takes(groups=Groups, scores=Scores, target=Target, limits=Limits)(planning.make_plan)
apply_plan = takes(model=Model, plan=Plan, groups=Groups)(surgery.apply_plan)
verify = takes(model=Model, pruned=onnx.ModelProto, plan=Plan, groups=Groups)(_verify.verify)


def measure_cost(model: Model | Source) -> Cost:
    """Parameters and MACs of a model: a loaded one, or whatever `spa.load` takes."""
    return _cost.measure_cost(model if isinstance(model, Model) else load(model))
