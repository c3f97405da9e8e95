"""``spa apply``: replay a plan on the file that it was made for."""

from __future__ import annotations

import argparse
from typing import Any

import spa
from spa.cli.options import add_json, add_model, parse_inputs
from spa.cli.outputs import MODEL, check_ending, check_outputs
from spa.graph.write import write_model
from spa.progress import stage
from spa.showing import shown


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser("apply", help="replay a plan on the file that it was made for")
    add_model(parser)
    parser.add_argument("--plan", required=True, metavar="plan.json")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.onnx")
    parser.add_argument("--no-verify", action="store_true", help="skip the proof")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    plan = spa.Plan.load(args.plan)
    check_outputs({"--output": args.output}, {MODEL: args.model, "--plan": args.plan})
    check_ending("--output", args.output, [".onnx"], "an ONNX file")
    with stage(f"Loading {args.model}"):
        model = spa.load(args.model, parse_inputs(args.input))
    with stage("Applying the plan"):
        groups = spa.find_groups(model, **plan.coupled)
        pruned = spa.apply_plan(model, plan, groups)
        proof = None if args.no_verify else spa.verify(model, pruned, plan, groups)
    write_model(args.output, pruned)
    document = {
        "model": args.model,
        "plan": args.plan,
        "output": args.output,
        "reached": dict(plan.reached),
        "proof": None if proof is None else proof.to_json(),
    }
    reached = ", ".join(f"{shown(name)} {value:.3f}" for name, value in plan.reached.items())
    lines = [f"applied {shown(args.plan)}: {reached}"]
    lines += ["not verified (--no-verify)"] if proof is None else [proof.text()]
    lines.append(f"wrote {shown(args.output)}")
    return document, "\n".join(lines)
