"""``spa frameworks``: the environments of TensorFlow, JAX and MXNet."""

from __future__ import annotations

import argparse
from typing import Any

from spa.cli.options import add_json
from spa.frameworks import environments


def register(commands: Any) -> None:
    """Adds the sub-command."""
    parser = commands.add_parser("frameworks", help="list or make frameworks' environments")
    parts = parser.add_subparsers(dest="action")
    make = parts.add_parser("install", help="make environments (0.5 to 2 GB each; kept for later)")
    make.add_argument("names", nargs="+", metavar="NAME", choices=environments.names())
    for part in (parser, make):
        add_json(part)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Returns the result as JSON-ready values and as text."""
    for name in args.names if args.action == "install" else ():
        environments.install(name)
    found = [_about(name) for name in environments.names()]
    return {"frameworks": found}, "\n".join(_line(entry) for entry in found)


def _about(name: str) -> dict[str, Any]:
    it = environments.environment(name)
    packages = environments.versions(it) if it.is_ready else {}
    return {"name": name, "ready": it.is_ready, "folder": str(it.folder), "packages": packages}


def _line(entry: dict[str, Any]) -> str:
    """Name, the versions that a user knows, and place."""
    known = ("jax", "flax", "keras", "tensorflow_cpu", "tensorflow-cpu", "mxnet")
    packages = entry["packages"]
    versions = [f"{name} {packages[name]}" for name in known if name in packages]
    state = ", ".join(versions) if entry["ready"] else "not made"
    return f"{entry['name']:12} {state}  {entry['folder']}"
