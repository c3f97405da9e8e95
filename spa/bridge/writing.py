"""torch to ONNX: write a module's present values back into the model that it was read from."""

from __future__ import annotations

import onnx
import torch
from torch import Tensor

from spa.bridge.normalise import inlined, plain_graph, separate
from spa.bridge.onnx_module import OnnxModule
from spa.bridge.registry import tensor_of
from spa.errors import BridgeError


def to_onnx(net: OnnxModule, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of the model with the module's weights and statistics, by name.

    Args:
        net: a module that ``to_torch`` made from this model, or from one with the same names.
        proto: the model; it is left as it is.

    Returns:
        The copy. Its graph is the same, but for tensors that one initializer shared by
        coincidence and that training has driven apart: these get initializers of their own.

    Raises:
        BridgeError: a weight's name is missing from the model, or its shape or dtype differs.
    """
    plain = plain_graph(proto)
    model = inlined(proto)
    values = {**net.weights, **net.statistics}
    for name, value in values.items():
        _check(name, value, plain.constants.get(name))
    parted = {
        name
        for name, source in plain.copies.items()
        if name in values and not _same(values[name], values.get(source), plain.constants[source])
    }
    separate(model, parted, plain)
    # What has not changed stays as it was written, bit for bit.
    changed = {n: v for n, v in values.items() if not _same(v, None, plain.constants[n])}
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            _write(tensor, changed[tensor.name])
    for node in model.graph.node:
        if node.op_type == "Constant" and node.output[0] in changed:
            tensor = onnx.TensorProto()
            tensor.CopyFrom(plain.constants[node.output[0]])
            _write(tensor, changed[node.output[0]])
            attribute = onnx.helper.make_attribute("value", tensor)
            del node.attribute[:]
            node.attribute.append(attribute)
    return model


def _check(name: str, value: Tensor, tensor: onnx.TensorProto | None) -> None:
    if tensor is None:
        raise BridgeError(
            f'the model has no tensor "{name}" to write the module\'s values into; '
            "hand over the model that the module was made from."
        )
    shape = tuple(tensor.dims)
    if shape != tuple(value.shape):
        raise BridgeError(
            f'tensor "{name}" has shape {shape} in the model but {tuple(value.shape)} in the '
            "module; hand over the model that the module was made from."
        )
    dtype = tensor_of(tensor).dtype
    if dtype != value.dtype:
        raise BridgeError(
            f'tensor "{name}" is {dtype} in the model but {value.dtype} in the module; '
            "convert the module back before it is written."
        )


def _same(value: Tensor, source: Tensor | None, tensor: onnx.TensorProto) -> bool:
    """Tell whether a value still equals another, or else the one in the file."""
    shared = tensor_of(tensor) if source is None else source.detach().cpu()
    return torch.equal(value.detach().cpu(), shared)


def _write(tensor: onnx.TensorProto, value: Tensor) -> None:
    """Replace a tensor's data, in place; name, dtype and shape stay."""
    data = value.detach().cpu().contiguous()
    if data.dtype == torch.bfloat16:  # NumPy has no such type; the bits are what counts
        data = data.view(torch.int16)
    for kind in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
        tensor.ClearField(kind)
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    array = data.numpy()
    tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
