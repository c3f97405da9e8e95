"""``spa inspect``: parameters, MACs, groups, and what is kept dense and why."""

from __future__ import annotations

import argparse
from typing import Any

import spa
from spa.cli.options import add_json, add_model, parse_inputs
from spa.coupling.couple import ATTENTION
from spa.graph.association import association_trees, drawn
from spa.graph.example import free_sizes, size_name
from spa.progress import stage
from spa.showing import all_shown

HEADING = "node association trees (ONNXPruner's, after its paper; not what SPA prunes by)"


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "inspect", help="show parameters, MACs, groups, and what is kept dense and why"
    )
    add_model(parser)
    parser.add_argument(
        "--attention", choices=ATTENTION, default="heads", help="what attention loses"
    )
    parser.add_argument(
        "--as", dest="peer", choices=("onnxpruner",),
        help="show besides what another tool would see: ONNXPruner's node association trees, after "
        "its paper",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    with stage(f"Loading {args.model}"):
        model = spa.load(args.model, parse_inputs(args.input))
    with stage("Finding groups"):
        groups = spa.find_groups(model, args.attention)
    cost = spa.measure_cost(model)
    document = {
        "model": args.model,
        "sha256": model.sha256,
        "opset": model.graph.opset,
        "nodes": len(model.graph.nodes),
        "inputs": {name: list(value.shape) for name, value in model.example.items()},
        "outputs": {name: list(model.shapes[name]) for name in model.graph.outputs},
        "free": _free_sizes(model),
        "params": cost.params,
        "macs": cost.macs,
        "groups": [_group(group) for group in groups.groups],
        "kept": [
            {
                "name": kept.tensor,
                "axis": kept.axis,
                "size": kept.size,
                "kept": kept.kept,
                "reason": kept.reason,
            }
            for kept in groups.kept
        ],
    }
    text = _text(all_shown(document))
    if args.peer is not None:
        trees = association_trees(model)
        document["trees"] = [
            tree.root.as_dict() | {"pattern": tree.pattern, "open": tree.open} for tree in trees
        ]
        text += "\n\n" + "\n".join([HEADING, *map(drawn, trees)])
    return document, text


def _free_sizes(model: spa.Model) -> list[dict[str, Any]]:
    """Sizes that the file leaves open, with the axes that share each, and where they were tried."""
    found = []
    for axes in free_sizes(model.declared):
        name, axis = axes[0]
        (declared,) = (each for each in model.declared if each.name == name)
        sizes = [model.example[name].shape[axis]]
        if model.varied is not None:
            sizes.append(model.varied.shapes[name][axis])
        found.append({
            "name": size_name(model.declared, axes),
            "named": bool(declared.symbols[axis]),
            "axes": [[name, axis] for name, axis in axes],
            "tried": sorted(set(sizes)),
        })  # fmt: skip
    return found


def _group(group: spa.Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "channels": group.channels,
        "exact": group.exact,
        "why_inexact": group.why_inexact,
        "members": [
            {"name": m.name, "axis": m.axis.axis, "per_channel": int(m.indices.shape[1])}
            for m in group.members
        ],
        "nodes": list(group.nodes),
    }


def _text(document: dict[str, Any]) -> str:
    lines = [
        f"{document['model']}: opset {document['opset']}, {document['nodes']} nodes, "
        f"{document['params']:,} parameters, {document['macs']:,} MACs per example"
    ]
    for kind in ("inputs", "outputs"):
        shapes = [f"{name} {'x'.join(map(str, s))}" for name, s in document[kind].items()]
        lines.append(f"{kind}: {', '.join(shapes)}")
    for size in document["free"]:
        axes = ", ".join(f"{name} axis {axis}" for name, axis in size["axes"])
        tried = " and ".join(map(str, size["tried"]))
        alone = "" if len(size["tried"]) > 1 else ", and at no other: the model does not run there"
        lines.append(f"free size {size['name']}: {axes}; run at {tried}{alone}")
    channels = sum(group["channels"] for group in document["groups"])
    lines.append(f"\n{len(document['groups'])} groups, {channels:,} prunable channels")
    for group in document["groups"]:
        exact = "exact" if group["exact"] else f"not exact: {group['why_inexact']}"
        lines.append(f"  group {group['id']}: {group['channels']} channels, {exact}")
        for member in group["members"]:
            times = f" x{member['per_channel']}" if member["per_channel"] > 1 else ""
            lines.append(f"    {member['name']} axis {member['axis']}{times}")
    if document["kept"]:
        lines.append("\nkept dense")
        for kept in document["kept"]:
            share = "" if kept["kept"] == kept["size"] else f"{kept['kept']} of "
            lines.append(
                f"  {kept['name']} axis {kept['axis']} ({share}{kept['size']}): {kept['reason']}"
            )
    return "\n".join(lines)
