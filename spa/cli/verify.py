"""``spa verify``: prove that a pruned file is what a plan makes of a dense one."""

from __future__ import annotations

import argparse
from typing import Any

import spa
from spa.cli.options import add_json, add_model, parse_inputs
from spa.graph.read import read_model
from spa.progress import stage


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "verify", help="prove that a pruned file is what a plan makes of a dense one"
    )
    add_model(parser, "dense")
    parser.add_argument("pruned", metavar="PRUNED.onnx")
    parser.add_argument("--plan", required=True, metavar="plan.json")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    plan = spa.Plan.load(args.plan)
    pruned, _ = read_model(args.pruned)
    with stage(f"Loading {args.dense}"):
        model = spa.load(args.dense, parse_inputs(args.input))
    with stage("Comparing"):
        proof = spa.verify(model, pruned, plan)
    document = {
        "dense": args.dense,
        "pruned": args.pruned,
        "plan": args.plan,
        **proof.to_json(),
    }
    return document, proof.text()
