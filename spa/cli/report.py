"""``spa report``: a page that shows what a plan takes away, by layer and by group."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import spa
from spa.cli.options import add_json, add_model, parse_inputs
from spa.cli.outputs import MODEL, check_ending, check_outputs
from spa.graph.write import write_text
from spa.progress import stage
from spa.report.page import page
from spa.showing import shown


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser(
        "report", help="write a page that shows what a plan takes away: widths, graph of groups"
    )
    add_model(parser, text="the dense ONNX file that the plan was made for")
    parser.add_argument("plan", metavar="plan.json")
    parser.add_argument(
        "-o", "--output", required=True, metavar="PAGE.html", help="opens in any browser, offline"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    plan = spa.Plan.load(args.plan)
    check_outputs({"--output": args.output}, {MODEL: args.model, "the plan": args.plan})
    check_ending("--output", args.output, [".html", ".htm"], "a plan")
    with stage(f"Loading {args.model}"):
        model = spa.load(args.model, parse_inputs(args.input))
    with stage("Drawing the groups"):
        text = page(model, plan, Path(args.model).name)
    write_text(args.output, text)
    document = {
        "model": args.model,
        "plan": args.plan,
        "output": args.output,
        "groups": len(plan.groups),
        "reached": dict(plan.reached),
    }
    return document, f"wrote {shown(args.output)}"
