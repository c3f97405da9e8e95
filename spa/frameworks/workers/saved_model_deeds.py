"""What a saved model would do beside computing: its graph may write files, and run code.

TensorFlow runs whatever the graph says, also while it is loaded. So the graph is read first, and
what it could do to the machine is said. Saving and loading a model's own weights are functions that
every saved model has; they count where what is served calls them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

_DEEDS = re.compile(
    r"Write.*|.*PyFunc.*|.*FileWriter.*|DatasetToTFRecord.*|Delete.*File.*|Rename.*|ReadFile"
    r"|MatchingFiles|.*(WholeFile|TextLine|TFRecord|FixedLengthRecord)(Reader|Dataset).*"
    r"|SaveDataset.*|DistributedSave|DebugIdentity.*|DebugNumericSummary.*|Load.*Librar.*"
)
# What savers are made of.
_SAVING = re.compile(r"Save(V2|Slices)?|MergeV2Checkpoints|Restore(V2|Slice)?|ShardedFilename")


def deeds_of(meta: Any) -> list[str]:
    """Operators of a meta graph that reach beyond it, by name, each once."""
    functions = {f.signature.name: f for f in meta.graph_def.library.function}
    every = [*meta.graph_def.node, *(n for f in functions.values() for n in f.node_def)]
    found = {node.op for node in every if _DEEDS.fullmatch(node.op) or _prints_to_file(node)}
    found |= {node.op for node in _served(meta, functions) if _SAVING.fullmatch(node.op)}
    return sorted(found)


def _prints_to_file(node: Any) -> bool:
    stream = node.attr["output_stream"].s if node.op == "PrintV2" else b""
    return bool(stream.startswith(b"file://"))


def _served(meta: Any, functions: dict[str, Any]) -> Iterator[Any]:
    """Nodes behind what the signatures give, and those of all functions that these call."""
    nodes = {node.name: node for node in meta.graph_def.node}
    pending = [
        tensor.name
        for key, signature in meta.signature_def.items()
        for tensor in signature.outputs.values()
        if key == "serving_default"
    ]
    seen: set[str] = set()
    reached: list[Any] = []
    while pending:
        name = pending.pop().lstrip("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            reached.append(nodes[name])
            pending += nodes[name].input
    called: set[str] = set()
    while reached:
        node = reached.pop()
        yield node
        for name in _calls(node.attr.values()):
            if name in functions and name not in called:
                called.add(name)
                reached += functions[name].node_def


def _calls(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield value.func.name
        yield from (function.name for function in value.list.func)
