"""A torch module made smaller: the user's own class, with smaller layers.

The plan names parameters as the state_dict does, so slicing them is plain (`spa.modules.slicing`).
What is left are numbers that say sizes:

1. attributes of torch's own layers (``in_channels``, ``num_features``, ...), which follow from the
   new shapes of their parameters, or from what they are called with (`spa.bridge.layers`);
2. attributes of the user's own classes (``num_heads``, ``hidden_dim``) that ``forward`` reads. The
   graph knows which sizes changed inside which module; which attributes mean them shows in what the
   module computes (`spa.modules.attributes`);
3. numbers that are written in ``forward`` itself: nothing can be done about these.

Whatever comes out is held to the pruned ONNX model on its own weights, on random ones and at other
sizes (`spa.modules.likeness`), and in training mode (`spa.modules.training_mode`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import onnx
import torch
from torch import nn

from spa.bridge.calls import bare, call_of, in_eval_mode, restore_class, taking_tensors
from spa.bridge.gate import outputs_of
from spa.bridge.layers import following_norms, head_sizes, resize_layer
from spa.bridge.reading import to_torch
from spa.coupling.couple import Cut
from spa.coupling.groups import Groups
from spa.errors import BridgeError, SpaError
from spa.graph.forks import opened_like
from spa.graph.model import Model
from spa.modules.attributes import Outcome, attributes_that_fit, set_attributes
from spa.modules.changes import Change, changes_of, uneven_parts
from spa.modules.drawing import draw, holding, state
from spa.modules.likeness import (
    FEW,
    Inputs,
    Likeness,
    Sample,
    agrees_on_own,
    few_samples,
    likeness,
    plain_name,
    runs,
    with_values,
)
from spa.modules.slicing import cut_tensors, group_counts
from spa.modules.training_mode import (
    Training,
    asks_for_training,
    fails_to_train,
    parts_of,
    training_of,
)
from spa.modules.training_parts import TrainingParts, training_parts
from spa.modules.trying import Trial, called
from spa.pruning.plan import Plan, Removal, cut_of
from spa.pruning.result import Pruned


@dataclass(frozen=True)
class Smaller:
    """A module made smaller.

    Attributes:
        net: the module, in eval mode.
        about: what `rebuild` needs beside the plan's parameters: ``groups`` of layers and changed
            ``attributes`` by dotted path, and slices of parameters that only ``training`` reads.
        notes: what does not follow, in sentences.
    """

    net: nn.Module
    about: dict[str, Any]
    notes: tuple[str, ...] = ()


def with_module(
    result: Pruned, module: nn.Module, inputs: Any, model: Model, groups: Groups
) -> Pruned:
    """Adds the smaller module to a pruned model: of the same class, or else a traced one.

    The pruned model is done and proven, so nothing that goes wrong here loses it: without a module
    the notes say why.

    Args:
        result: the pruned model.
        module: the dense module.
        inputs: what it is called with; see `spa.load`.
        model: its dense ONNX model, as `spa.bridge.from_torch` wrote it.
        groups: the groups of that.
    """
    try:
        return of_its_class(result, module, inputs, model, groups)
    except Exception as error:  # copying and running a user's module fails in any way it likes
        return without_class(result, module, model, error)


def of_its_class(
    result: Pruned, module: nn.Module, inputs: Any, model: Model, groups: Groups
) -> Pruned:
    """Adds the smaller module, of the class that came in; see `with_module`.

    Raises:
        BridgeError: the class cannot follow; any other error is the module's own.
    """
    plan = result.plan
    module = bare(module)
    kind = type(module)
    call = call_of(module, inputs)
    with taking_tensors(module, call):
        cut = cut_of(plan, groups.coupling)
        pruned = opened_like(result.model, model.forks)
        smaller = shrink(module, call.tensors, model, pruned, plan, cut)
    restore_class(smaller.net, kind)
    smaller.net.train(module.training)
    plan = replace(plan, module=smaller.about, notes=(*plan.notes, *smaller.notes))
    return replace(result, module=smaller.net, plan=plan)


def _reason(module: nn.Module, error: Exception) -> str:
    if isinstance(error, SpaError):
        return str(error)
    return (
        f"{type(module).__name__} cannot be made smaller as a module "
        f"({type(error).__name__}: {str(error)[:200]})."
    )


def without_class(result: Pruned, module: nn.Module, model: Model, error: Exception) -> Pruned:
    """Adds a traced module to a pruned model, and the reason why the class could not follow."""
    reason = _reason(bare(module), error)
    traced: nn.Module | None = None
    try:
        traced = to_torch(opened_like(result.model, model.forks))
        end = "The module is a traced one instead."
    except Exception as failure:  # whatever it is, the pruned model stays
        end = f"Nor can it be traced ({failure}); the ONNX model is what there is."
    plan = replace(result.plan, notes=(*result.plan.notes, f"{reason} {end}"))
    return replace(result, module=traced, plan=plan)


def shrink(
    module: nn.Module,
    inputs: Inputs,
    model: Model,
    pruned: onnx.ModelProto,
    plan: Plan,
    cut: Cut,
) -> Smaller:
    """Makes a copy of a module as small as its pruned ONNX model.

    Args:
        module: the dense module.
        inputs: its example inputs.
        model: its dense ONNX model.
        pruned: the pruned one.
        plan: what went.
        cut: the same, by label.

    Raises:
        BridgeError: the class cannot be made smaller; the message says where and why.
    """
    net = copy.deepcopy(module).eval()
    few = few_samples(pruned, inputs, FEW)
    training = _training(net, few_samples(pruned, inputs, 1), _absent(net, pruned))
    parts, notes = _only_in_training(net, few, plan, training)
    removals = (*plan.parameters, *parts.removals)
    exports = [pruned] if parts.pruned is None else [pruned, parts.pruned]
    groups = group_counts(net, removals, exports)
    _resize(net, removals, groups)
    like = likeness(net, pruned, inputs, few, lambda some: _takes(module, some))
    changes = changes_of(model, cut)
    with following_norms(net) as followed:
        attributes = _fitted(module, net, changes, like, cut)
        learnt, more_notes = _training_attributes(net, changes, like, training, parts)
    attributes = {**followed, **attributes, **learnt, **head_sizes(net)}
    notes += more_notes or _training_notes(module, net, few)
    if not like.drawn:
        notes.append(
            "With random weights the outputs are infinite or all alike, so the module was compared "
            "with the pruned model on its own weights and in eval mode only."
        )
    about: dict[str, Any] = {"attributes": attributes, "groups": groups}
    if parts.removals:
        about["training"] = [asdict(removal) for removal in parts.removals]
    return Smaller(net, about, tuple(notes))


def _takes(module: nn.Module, inputs: Inputs) -> bool:
    """Whether a dense module runs on some inputs in eval mode."""
    try:
        with in_eval_mode(module), torch.no_grad():
            outputs_of(module, inputs)
    except Exception:  # a forward fails in any way it likes
        return False
    return True


def rebuild(module: nn.Module, plan: Plan | Mapping[str, Any]) -> nn.Module:
    """Makes a fresh dense module as small as a plan says, in place.

    The result takes the state_dict of the pruned module.

    Args:
        module: as its constructor makes it.
        plan: the plan, or what its file holds, of `spa.prune` called with such a module.

    Returns:
        The same module.

    Raises:
        BridgeError: the plan is of no module, or of another one.
    """
    plan = plan if isinstance(plan, Plan) else Plan.from_json(plan)
    if plan.module is None:
        raise BridgeError("The plan is of no torch module whose class could be made smaller.")
    more = [
        Removal(entry["name"], entry["axis"], entry["size"], tuple(entry["removed"]))
        for entry in plan.module.get("training", ())
    ]
    _resize(module, (*plan.parameters, *more), plan.module["groups"])
    set_attributes(module, plan.module["attributes"])
    return module


def _resize(net: nn.Module, removals: Iterable[Removal], groups: Mapping[str, int]) -> None:
    """Makes parameters smaller, and tells torch's own layers."""
    cut_tensors(net, removals)
    for path, part in net.named_modules():
        try:
            resize_layer(part, groups.get(path))
        except BridgeError as error:
            raise BridgeError(str(error), path) from error


def _fitted(
    module: nn.Module, net: nn.Module, changes: list[Change], like: Likeness, cut: Cut
) -> dict[str, Any]:
    """Lets attributes follow until the module is the pruned model; see the module's text."""
    with holding(net, like.values):
        found, seen = attributes_that_fit(net, changes, Trial(net, like.drawn or (like.own,)))
    if found is not None and agrees_on_own(net, like):
        return found
    raise BridgeError(
        f"{type(module).__name__} cannot be made smaller as a module: {_why(net, seen)}"
        f"{uneven_parts(cut)}",
        seen.broken,
    )


def _why(net: nn.Module, seen: Outcome) -> str:
    if seen.broken is not None:
        return f"a size is written in the forward of {called(net, seen.broken)} ({seen.error})."
    return (
        "with smaller layers its forward computes something else than the pruned model, so a size "
        "is written in it."
    )


def _training_attributes(
    net: nn.Module,
    changes: list[Change],
    like: Likeness,
    training: Training | None,
    parts: TrainingParts,
) -> tuple[dict[str, Any], list[str]]:
    """Holds the module to its training mode; what follows for that, and notes."""
    if training is None or training.refused or not like.drawn:
        return {}, []
    first = like.drawn[0]
    wanted = tuple(None if k is None else first.wanted[k] for k in training.same)
    if parts.pruned is not None:
        (found,) = runs(with_values(parts.pruned, like.values), [first.inputs])
        wanted = wanted if found is None else tuple(found)
    last = Sample(first.inputs, wanted, training=True)
    with holding(net, like.values):
        if Trial(net, (last,))().equal:
            return {}, []
        numbers, seen = attributes_that_fit(net, changes, Trial(net, (*like.drawn, last)))
    if numbers is not None:
        return numbers, []
    what = (
        f"the forward of {called(net, seen.broken)} fails ({seen.error})"
        if seen.broken is not None
        else "it computes something else than in eval mode, where the dense module does not"
    )
    return {}, [f"In training mode the module does not follow: {what}."]


def _training(net: nn.Module, inputs: Inputs, absent: set[str]) -> Training | None:
    """What a dense module does in training mode; None where that is the same as in eval mode."""
    if not absent and not asks_for_training(net):
        return None
    with holding(net, draw(net, 0, 1.0)):
        return training_of(net, inputs, absent)


def _absent(net: nn.Module, pruned: onnx.ModelProto) -> set[str]:
    """Names of floating parameters and buffers that the exported model does not read."""
    tensors = {name: t for name, t in state(net).items() if t.is_floating_point()}
    names = {plain_name(tensor.name) for tensor in pruned.graph.initializer}
    read = {id(tensors[name]) for name in names if name in tensors}
    return {name for name, tensor in tensors.items() if id(tensor) not in read}


def _only_in_training(
    net: nn.Module, inputs: Inputs, plan: Plan, training: Training | None
) -> tuple[TrainingParts, list[str]]:
    """What goes of parts that only training mode runs, or a note that they do not follow."""
    if training is None or not training.only:
        return TrainingParts(), []
    names = ", ".join(f"`{part}`" for part in parts_of(net, training.only))
    if training.refused:
        why = f"the example does not run in training mode ({training.refused})"
    else:
        try:
            return training_parts(net, inputs, plan, training.only), []
        except (SpaError, ValueError, RuntimeError) as error:
            why = str(error)
    return TrainingParts(), [
        f"{names}: eval mode does not use it, so it keeps its size, which training mode may not "
        f"bear; it could not follow, as {why}."
    ]


def _training_notes(module: nn.Module, net: nn.Module, inputs: Inputs) -> list[str]:
    """Trains for one step; a module that could before and cannot any more gets a note."""
    error = fails_to_train(net, inputs)
    if not error or fails_to_train(copy.deepcopy(module), inputs):
        return []
    return [f"In training mode the module does not run ({error})."]
