"""The pruned file is what the plan makes of the dense one: every weight, node and attribute.

Outputs on some inputs cannot show all of a file. A back door waits for inputs that nobody tries, a
dead branch may hold any weights, and what an inexact operator reads is only compared where it is
computed. So a file is held, besides, to what it should be, piece by piece:

1. Every weight that has a name of the dense model's is the plan's slice of it, bit by bit. The
   slice is taken here, from the dense file and the indices that go; surgery has no part in it.
2. Every other weight, every node with its attributes and subgraphs, and the operator sets are those
   that surgery makes of the dense model.

How a file stores a number (raw or typed bytes, beside the model, as a Constant node), texts for
readers, and the order of nodes are its own affair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from spa.coupling.couple import Cut
from spa.errors import VerificationError
from spa.graph.deferred import Array, array_of, cut_slices, is_deferred, maker
from spa.graph.forks import close_forks
from spa.graph.model import Model
from spa.graph.nodes import DEFAULT_DOMAINS, qualified_op
from spa.pruning.surgery import cut_model


def check_structure(model: Model, pruned: onnx.ModelProto, cut: Cut) -> str:
    """Holds a pruned file to the dense one.

    Args:
        model: the dense model, with the weights that the plan leaves some of.
        pruned: the file, with its Ifs.
        cut: what goes.

    Returns:
        What was checked, as a sentence.

    Raises:
        VerificationError: something differs; the message names the weight or node.
    """
    expected = close_forks(cut_model(model, cut), model.forks)
    _compare_opsets(_opsets(pruned), _opsets(expected))
    if pruned.functions:
        names = ", ".join(f"{f.domain}::{f.name}" for f in pruned.functions[:3])
        raise VerificationError(
            f"The pruned file has {len(pruned.functions)} local functions ({names}); what the plan "
            "makes of the dense model has none."
        )
    _refuse_twins(pruned.graph)
    have, want = dict(_weights(pruned.graph)), dict(_weights(expected.graph))
    _compare_names(have, want, "weight", "weights")
    _compare_weights(have, want, model, cut)
    _compare_graphs(pruned.graph, expected.graph, "")
    return (
        f"holds nothing but what the plan makes of the dense model: {len(have)} weights and "
        f"{len(pruned.graph.node)} nodes compared"
    )


def _refuse_twins(graph: onnx.GraphProto) -> None:
    """Of two weights of one name a runtime takes one, and this check may see the other."""
    seen: set[str] = set()
    for name, _ in _weights(graph):
        if name in seen:
            raise VerificationError(f'The pruned file has two weights "{name}".')
        seen.add(name)


def _compare_weights(
    have: Mapping[str, onnx.TensorProto],
    want: Mapping[str, onnx.TensorProto],
    model: Model,
    cut: Cut,
) -> None:
    """Reads that have labels of their own may lose other slices: these are as surgery says."""
    for name, tensor in have.items():
        if _is_same(tensor, want[name]):
            continue
        known = name in model.parameters and name not in model.private_reads
        sliced = cut_slices(model.array(name), cut.of_tensor(name)) if known else None
        made = None
        if sliced is None or sliced.shape != tuple(want[name].dims):
            sliced, made = None, array_of(want[name])
        expected = made if sliced is None else sliced
        assert expected is not None
        _compare_arrays(f'Weight "{name}"', array_of(tensor), expected)


def _compare_arrays(label: str, have: Array, want: Array) -> None:
    if have.shape != want.shape or have.dtype != want.dtype:
        raise VerificationError(
            f"{label} differs from what the plan leaves of it: it is {have.dtype} of shape "
            f"{have.shape}, and should be {want.dtype} of shape {want.shape}."
        )
    if np.array_equal(_bits(have), _bits(want)):
        return
    different = int(np.sum(have != want)) if have.dtype.kind in "biuf" else 1
    raise VerificationError(
        f"{label} differs from what the plan leaves of it: {different or 'some'} of its "
        f"{have.size} numbers are others."
    )


def _bits(array: Array) -> Array:
    """What an array holds, where no number counts as another, and NaN as itself."""
    if array.dtype.kind in "OUS":
        return array
    if array.dtype.itemsize not in (1, 2, 4, 8):
        return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _is_same(a: onnx.TensorProto, b: onnx.TensorProto) -> bool:
    """Whether two weights are not held and made in one way, so that none need be made."""
    return is_deferred(a) and is_deferred(b) and maker(a) == maker(b)


def _weights(graph: onnx.GraphProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Initializers, and the tensors of Constant nodes by the name of their output."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if _is_weight(node):
            yield node.output[0], node.attribute[0].t


def _is_weight(node: onnx.NodeProto) -> bool:
    return (
        node.op_type == "Constant"
        and node.domain in DEFAULT_DOMAINS
        and len(node.attribute) == 1
        and node.attribute[0].name == "value"
        and node.attribute[0].HasField("t")
    )


def _compare_graphs(have: onnx.GraphProto, want: onnx.GraphProto, where: str) -> None:
    for graph in (have, want):
        if graph.sparse_initializer:
            name = graph.sparse_initializer[0].values.name
            raise VerificationError(
                f'The pruned file{where} has a sparse weight "{name}"; SPA writes none.'
            )
    ours = {_key(node): node for node in have.node if not _is_weight(node)}
    theirs = {_key(node): node for node in want.node if not _is_weight(node)}
    _compare_names(
        {" ".join(key): node for key, node in ours.items()},
        {" ".join(key): node for key, node in theirs.items()},
        f"node{where} that makes",
        f"nodes{where}",
    )
    for key, node in theirs.items():
        _compare_nodes(ours[key], node, where)


def _key(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(_trimmed(node.output))


def _compare_nodes(have: onnx.NodeProto, want: onnx.NodeProto, where: str) -> None:
    label = f'Node {qualified_op(have)} "{have.name or have.output[0]}"{where}'
    for what, a, b in (
        ("operator", (qualified_op(have), have.overload), (qualified_op(want), want.overload)),
        ("inputs", _trimmed(have.input), _trimmed(want.input)),
    ):
        if a != b:
            raise VerificationError(
                f"{label} is not what the plan makes of the dense model: its {what} {_shown(a)} "
                f"should be {_shown(b)}."
            )
    ours, theirs = ({a.name: a for a in node.attribute} for node in (have, want))
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            verb = "lacks" if name in theirs else "has"
            raise VerificationError(
                f"{label} {verb} the attribute {name}; what the plan makes of the dense model "
                f"{'has it' if name in theirs else 'does not'}."
            )
        _compare_attributes(ours[name], theirs[name], label)


def _compare_attributes(have: onnx.AttributeProto, want: onnx.AttributeProto, label: str) -> None:
    if have.type == want.type == onnx.AttributeProto.GRAPH:
        _compare_subgraphs(have.g, want.g, f" in {have.name} of {label[5:]}")
    elif have.type == want.type == onnx.AttributeProto.GRAPHS and len(have.graphs) == len(
        want.graphs
    ):
        for a, b in zip(have.graphs, want.graphs, strict=True):
            _compare_subgraphs(a, b, f" in {have.name} of {label[5:]}")
    elif have.type == want.type == onnx.AttributeProto.TENSOR:
        _compare_arrays(f"Attribute {have.name} of {label[5:]}", array_of(have.t), array_of(want.t))
    elif _plain(have) != _plain(want):
        raise VerificationError(
            f"{label} is not what the plan makes of the dense model: its attribute {have.name} "
            f"is {_value(have)}, and should be {_value(want)}."
        )


def _compare_subgraphs(have: onnx.GraphProto, want: onnx.GraphProto, where: str) -> None:
    for what in ("input", "output"):
        a, b = ([v.name for v in getattr(graph, what)] for graph in (have, want))
        if a != b:
            raise VerificationError(
                f"The {what}s{where} are {_shown(a)}, and should be {_shown(b)}."
            )
    ours, theirs = dict(_weights(have)), dict(_weights(want))
    _compare_names(ours, theirs, f"weight{where}", f"weights{where}")
    for name, tensor in theirs.items():
        _compare_arrays(f'Weight "{name}"{where}', array_of(ours[name]), array_of(tensor))
    _compare_graphs(have, want, where)


def _compare_names(
    have: Mapping[str, object], want: Mapping[str, object], one: str, many: str
) -> None:
    for name in have:
        if name not in want:
            raise VerificationError(
                f'The pruned file has a {one} "{name}", which the plan does not make of the dense '
                f"model ({len(have)} {many}, where {len(want)} should be)."
            )
    for name in want:
        if name not in have:
            raise VerificationError(
                f'The pruned file lacks the {one} "{name}", which the plan makes of the dense '
                f"model ({len(have)} {many}, where {len(want)} should be)."
            )


def _opsets(proto: onnx.ModelProto) -> dict[str, int]:
    return {
        "ai.onnx" if e.domain in DEFAULT_DOMAINS else e.domain: e.version
        for e in proto.opset_import
    }


def _compare_opsets(have: Mapping[str, int], want: Mapping[str, int]) -> None:
    for domain in sorted(have.keys() | want.keys()):
        a, b = have.get(domain, "none"), want.get(domain, "none")
        if a != b:
            raise VerificationError(
                f"The pruned file is for version {a} of the operators {domain}; the dense one is "
                f"for version {b}."
            )


def _trimmed(names: Sequence[str]) -> list[str]:
    """Names at the end that are left out mean nothing."""
    found = list(names)
    while found and not found[-1]:
        found.pop()
    return found


def _plain(attribute: onnx.AttributeProto) -> bytes:
    copy = onnx.AttributeProto()
    copy.CopyFrom(attribute)
    for name in ("doc_string", "ref_attr_name"):
        copy.ClearField(name)
    return bytes(copy.SerializeToString(deterministic=True))


def _value(attribute: onnx.AttributeProto) -> object:
    return onnx.helper.get_attribute_value(attribute)


def _shown(value: Sequence[str]) -> str:
    return " ".join(filter(None, value)) or "none"
