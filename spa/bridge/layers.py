"""torch's own layers, told their new sizes: what their parameters' new shapes say.

Sizes are attributes that some layers check and others compute with, and that ``repr`` shows. Norms
without parameters have theirs from what they are called with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from spa.errors import BridgeError

# Called with a layer whose parameters were cut, and the number of its groups where that is known.
Resizer = Callable[[Any, int | None], None]
RESIZERS: list[tuple[tuple[type[nn.Module], ...], Resizer]] = []


def resizer(*kinds: type[nn.Module]) -> Callable[[Resizer], Resizer]:
    """Registers how layers of some kinds take their new sizes."""

    def register(function: Resizer) -> Resizer:
        RESIZERS.append((kinds, function))
        return function

    return register


def resize_layer(layer: nn.Module, groups: int | None) -> None:
    """Sets a layer's size attributes from the shapes of its parameters.

    Args:
        layer: any module; what is none of torch's own layers stays as it is.
        groups: groups of a convolution.

    Raises:
        BridgeError: the layer cannot be of such sizes.
    """
    for kinds, function in RESIZERS:
        if isinstance(layer, kinds):
            function(layer, groups)


@resizer(nn.Conv1d, nn.Conv2d, nn.Conv3d)
def _conv(layer: Any, groups: int | None) -> None:
    layer.groups = layer.groups if groups is None else groups
    layer.out_channels = layer.weight.shape[0]  # (O, I/g, k...)
    layer.in_channels = layer.weight.shape[1] * layer.groups


@resizer(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
def _conv_transpose(layer: Any, groups: int | None) -> None:
    layer.groups = layer.groups if groups is None else groups
    layer.in_channels = layer.weight.shape[0]  # (I, O/g, k...)
    layer.out_channels = layer.weight.shape[1] * layer.groups


@resizer(nn.Linear)
def _linear(layer: Any, groups: int | None) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


@resizer(nn.modules.batchnorm._NormBase)
def _norm_base(layer: Any, groups: int | None) -> None:
    for vector in (layer.weight, layer.running_mean):
        if vector is not None:
            layer.num_features = vector.shape[0]


@resizer(nn.LayerNorm, nn.RMSNorm)
def _layer_norm(layer: Any, groups: int | None) -> None:
    if layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)


@resizer(nn.GroupNorm)
def _group_norm(layer: Any, groups: int | None) -> None:
    if layer.weight is not None:
        layer.num_groups = layer.num_groups if groups is None else groups
        layer.num_channels = layer.weight.shape[0]


@resizer(nn.Embedding)
def _embedding(layer: Any, groups: int | None) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


@resizer(nn.PReLU)
def _prelu(layer: Any, groups: int | None) -> None:
    layer.num_parameters = layer.weight.shape[0]


@resizer(nn.RNNBase)
def _recurrent(layer: Any, groups: int | None) -> None:
    """Weights are (gates x hidden, input) and (gates x hidden, hidden or projected)."""
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    hidden = {
        weight.shape[0] // gates
        for name, weight in layer.named_parameters()
        if name.startswith("weight_hh")
    }
    if len(hidden) > 1:
        raise BridgeError(
            f"{type(layer).__name__} has one hidden size for all of its layers and directions; "
            f"the plan leaves {sorted(hidden)}."
        )
    layer.input_size = layer.weight_ih_l0.shape[1]
    (layer.hidden_size,) = hidden
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]


@resizer(nn.MultiheadAttention)
def _attention(layer: Any, groups: int | None) -> None:
    """Its forward takes as many features inside as outside, so both go together or neither."""
    outside, inside = layer.out_proj.weight.shape
    if outside != inside:
        raise BridgeError(
            "torch.nn.MultiheadAttention has one width inside and outside, "
            f"{layer.embed_dim}; the plan leaves {inside} and {outside}. --attention none and "
            "excluding its layers would keep it."
        )
    if layer.in_proj_weight is not None:
        layer.kdim = layer.vdim = outside
    else:
        layer.kdim = layer.k_proj_weight.shape[1]
        layer.vdim = layer.v_proj_weight.shape[1]
    layer.embed_dim = outside


def head_sizes(net: nn.Module) -> dict[str, int]:
    """Sets what `torch.nn.MultiheadAttention` derives from its width and its heads, if it changed.

    Its forward has no use for it, but ``repr`` and converters do. Gives what changed, by path.
    """
    changed = {}
    for path, part in net.named_modules():
        if isinstance(part, nn.MultiheadAttention):
            size = part.embed_dim // part.num_heads
            if size != part.head_dim:
                part.head_dim = size
                changed[f"{path}.head_dim" if path else "head_dim"] = size
    return changed


@contextlib.contextmanager
def following_norms(net: nn.Module) -> Iterator[dict[str, Any]]:
    """Lets norms without parameters take their sizes from what they are called with, for a while.

    Gives what changed, by dotted path.
    """
    changed: dict[str, Any] = {}

    def follow(path: str, layer: Any, sizes: Callable[[Any, Any], Any], name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            old, new = getattr(layer, name), sizes(layer, inputs[0])
            if new != old and inputs[0].dim():
                setattr(layer, name, new)
                changed[f"{path}.{name}" if path else name] = new

        return layer.register_forward_pre_hook(hook)

    hooks = [
        follow(path, part, sizes, name)
        for path, part in net.named_modules()
        for kind, sizes, name in FOLLOWERS
        if isinstance(part, kind)
        and getattr(part, "weight", None) is None
        and getattr(part, "running_mean", None) is None
    ]
    try:
        yield changed
    finally:
        for hook in hooks:
            hook.remove()


def _last_sizes(layer: Any, x: Any) -> tuple[int, ...]:
    return tuple(x.shape[-len(layer.normalized_shape) :])


def _channels(layer: Any, x: Any) -> int:
    return int(x.shape[1])


def _channels_of_instances(layer: Any, x: Any) -> int:
    """One sample may come without a batch axis: (C, ...) or (N, C, ...)."""
    return int(x.shape[0 if x.dim() == layer._get_no_batch_dim() else 1])


FOLLOWERS: tuple[tuple[Any, Callable[[Any, Any], Any], str], ...] = (
    ((nn.LayerNorm, nn.RMSNorm), _last_sizes, "normalized_shape"),
    (nn.modules.batchnorm._BatchNorm, _channels, "num_features"),
    (nn.modules.instancenorm._InstanceNorm, _channels_of_instances, "num_features"),
    (nn.GroupNorm, _channels, "num_channels"),
)
