"""``spa export``: a framework's model in, an ONNX file out, held to the framework's own outputs."""

from __future__ import annotations

import argparse
from typing import Any

from spa.cli.options import add_code, add_framework, add_json, add_trust, parse_shapes
from spa.cli.outputs import MODEL, check_ending, check_outputs
from spa.errors import SettingError
from spa.frameworks import FRAMEWORKS, framework, framework_of
from spa.graph.write import write_model


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser("export", help="write a framework's model as ONNX")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="NAME.keras, a folder with a saved model, NAME-symbol.json (MXNet, its .params beside "
        "it), NAME.npz (Flax, its .json beside it), or module:function (PyTorch; with --framework, "
        "any)",
    )
    parser.add_argument("-o", "--output", required=True, metavar="OUT.onnx")
    add_framework(parser)
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="3x224x224",
        help="shape of one example of an input, without the batch; once for each input",
    )
    add_code(parser)
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    name = args.framework or framework_of(args.model)
    if name is None:
        raise SettingError(
            f'It cannot be told whose model "{args.model}" is; say so with --framework '
            f"({', '.join(sorted(FRAMEWORKS))})."
        )
    check_outputs(
        {"--output": args.output},
        {MODEL: args.model, **{f"--code {code}": code for code in args.code}},
    )
    check_ending("--output", args.output, [".onnx"], "a framework's model")
    shapes = parse_shapes(args.shape) or None
    proto = framework(name, args.code, args.trust).export(args.model, shapes)
    write_model(args.output, proto)
    document = {
        "model": args.model,
        "framework": name,
        "output": args.output,
        "opset": proto.opset_import[0].version,
        "nodes": len(proto.graph.node),
    }
    text = (
        f"exported by {name}: opset {document['opset']}, {document['nodes']} nodes; equal to the "
        f"model's own outputs at two batch sizes\nwrote {args.output}"
    )
    return document, text
