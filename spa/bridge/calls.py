"""How a module is called: its example inputs in whatever containers, as a row of tensors.

An export has tensors for inputs, one after another. A module may take lists, dicts, keyword
arguments, None and plain numbers; what is no tensor stays what it is in the example.
"""

from __future__ import annotations

import contextlib
import inspect
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spa.errors import InputError

HOW = (
    "Give a tensor, a tuple or list of the positional arguments, a dict of keyword arguments, or "
    "the shapes of the tensors."
)


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        tensors: all tensors of the arguments, in order.
        leaves: what the arguments hold beside containers; None where one of the tensors stands.
        spec: the containers around the leaves.
    """

    tensors: tuple[Tensor, ...]
    leaves: tuple[Any, ...]
    places: tuple[int, ...]
    spec: Any

    @property
    def is_plain(self) -> bool:
        """Whether the tensors are the positional arguments, and all that is given."""
        args, kwargs = self.arguments(self.tensors)
        return not kwargs and len(args) == len(self.tensors) == len(self.leaves)

    def arguments(self, tensors: Sequence[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments with other tensors in the place of the example's."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return tuple(args), dict(kwargs)


def call_of(module: nn.Module, inputs: Any) -> Call:
    """Reads example inputs as a user gives them.

    Args:
        module: what is called with them.
        inputs: a tensor; a tuple or list of arguments; a dict of keyword arguments; a shape, or a
            tuple of shapes, of which random tensors are made. Arguments may be None, and hold
            tensors in tuples, lists and dicts.

    Raises:
        InputError: it is nothing of that.
    """
    if isinstance(inputs, Call):
        return inputs
    if inputs is None:
        raise InputError(f"A PyTorch module needs example inputs: pass inputs=... {HOW}")
    shapes = _shapes_in(inputs)
    if shapes is not None:
        return _of_shapes(module, shapes)
    args, kwargs = _arguments(module, inputs)
    leaves, spec = pytree.tree_flatten((list(args), kwargs))
    leaves = [torch.from_numpy(x) if isinstance(x, np.ndarray) else x for x in leaves]
    places = tuple(i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
    if not places:
        raise InputError(
            f"The example inputs of {type(module).__name__} ({_said(inputs)}) hold no tensor. {HOW}"
        )
    tensors = tuple(leaves[place] for place in places)
    held = tuple(None if i in places else leaf for i, leaf in enumerate(leaves))
    return Call(tensors, held, places, spec)


def example_of(proto: onnx.ModelProto, call: Call) -> dict[str, np.ndarray[Any, Any]]:
    """A call's tensors by the names that an export has for them.

    A free batch of 1 is made 2, so that it is never mistaken for an axis of size 1.
    """
    found = {}
    names = numbered("input", len(call.tensors))
    for name, tensor in zip(names, call.tensors, strict=True):
        declared = next((v for v in proto.graph.input if v.name == name), None)
        if declared is None:  # no output needs it
            continue
        array = tensor.detach().cpu().numpy()
        dims = declared.type.tensor_type.shape.dim
        if dims and dims[0].dim_param and array.shape[0] == 1:
            array = np.repeat(array, 2, axis=0)
        found[name] = np.ascontiguousarray(array) if array.ndim else array
    return found


def numbered(stem: str, count: int) -> list[str]:
    """Names of a module's inputs or outputs in its export."""
    return [stem] if count == 1 else [f"{stem}_{i}" for i in range(count)]


def _arguments(module: nn.Module, inputs: Any) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(inputs, (Tensor, np.ndarray)):
        return [inputs], {}
    if isinstance(inputs, Mapping):  # transformers' BatchEncoding is one, and no dict
        given = dict(inputs)
        return ([], given) if _are_parameters(module, given, 0) else ([given], {})
    if isinstance(inputs, (tuple, list)):
        args = list(inputs)
        last = args[-1] if args else None
        # torch.onnx.export takes keyword arguments as a dict at the end.
        if (
            len(args) > 1
            and isinstance(last, Mapping)
            and _are_parameters(module, last, len(args) - 1)
        ):
            return args[:-1], dict(last)
        return args, {}
    raise InputError(
        f"Example inputs of {type(module).__name__} cannot be a {type(inputs).__name__}. {HOW}"
    )


def _are_parameters(module: nn.Module, given: Mapping[Any, Any], taken: int) -> bool:
    """Whether the keys are names of forward's parameters behind those that are taken."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return False
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        names = {p.name for p in parameters[:taken]}
        return all(isinstance(key, str) and key not in names for key in given)
    return set(given) <= {p.name for p in parameters[taken:] if p.kind is not p.VAR_POSITIONAL}


def _shapes_in(inputs: Any) -> list[tuple[int, ...]] | None:
    """The shapes, where inputs are one or several; None where they are something else."""
    if not isinstance(inputs, (tuple, list)) or not inputs:
        return None
    one = _shape(inputs)
    if one is not None:
        return [one]
    several = [_shape(each) for each in inputs]
    return None if None in several else [shape for shape in several if shape is not None]


def _shape(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, (tuple, list)) or not value:
        return None
    try:
        sizes = tuple(operator.index(size) for size in value)
    except TypeError:
        return None
    return None if any(isinstance(size, (bool, Tensor, np.ndarray)) for size in value) else sizes


def _of_shapes(module: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Call:
    """Random numbers, or whole ones where the module does not take these (token ids)."""
    if any(size < 1 for shape in shapes for size in shape):
        raise InputError(f"Shapes have sizes of 1 or more; {_said(shapes)} was given.")
    generator = torch.Generator().manual_seed(0)
    numbers = [torch.randn(shape, generator=generator) for shape in shapes]
    whole = [torch.randint(0, 2, shape, generator=generator) for shape in shapes]
    error: Exception | None = None
    for tensors in (numbers, whole):
        try:
            with in_eval_mode(module), torch.no_grad():
                module(*tensors)
        except Exception as failure:  # a forward fails in any way it likes
            error = error or failure
            continue
        return call_of(module, tuple(tensors))
    raise InputError(
        f"{type(module).__name__} does not run on random inputs of shape {_said(shapes)} "
        f"({type(error).__name__}: {str(error)[:200]}). Give tensors that it takes."
    )


def _said(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 80 else f"{text[:80]}..."


@contextlib.contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards that of every part before."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def taking_tensors(module: nn.Module, call: Call) -> Iterator[None]:
    """Lets a module be called with the tensors of a call alone, in their order.

    It is of a class derived from its own for so long, so that copies are called alike, and names of
    its parts stay what they are.
    """
    if call.is_plain:
        yield
        return
    kind = type(module)

    def forward(self: nn.Module, *tensors: Tensor) -> Any:
        args, kwargs = call.arguments(tensors)
        return kind.forward(self, *args, **kwargs)

    names = [
        inspect.Parameter(f"input_{i}", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        for i in range(len(call.tensors))
    ]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    forward.__signature__ = inspect.Signature([own, *names])  # type: ignore[attr-defined]
    about = {"forward": forward, "__module__": kind.__module__, "__doc__": kind.__doc__}
    module.__class__ = type(kind.__name__, (kind,), about)
    try:
        yield
    finally:
        restore_class(module, kind)


def restore_class(module: nn.Module, kind: Callable[..., nn.Module]) -> None:
    """Gives a module, or a copy that was made of it, its own class back."""
    module.__class__ = kind  # type: ignore[assignment]


def bare(module: nn.Module) -> nn.Module:
    """The module in the wrappers of torch.compile and of parallel training."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(
            module, (nn.DataParallel, nn.parallel.DistributedDataParallel)
        ):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner
