"""The ``spa`` command.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 the target is
out of reach, or the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import spa
from spa.cli import apply, inspect, profile, prune, verify
from spa.errors import InfeasibleTarget, SpaError

COMMANDS = (inspect, prune, apply, verify, profile)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _Parser(prog="spa", description=(spa.__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"spa {spa.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for command in COMMANDS:
        command.register(commands)
    args = parser.parse_args(arguments)
    try:
        document, text = args.run(args)
    except InfeasibleTarget as error:
        return _fail(args, error, {"asked": error.asked, "reachable": error.reachable})
    except SpaError as error:
        return _fail(args, error, {})
    except KeyboardInterrupt:
        print("spa: interrupted; nothing was written.", file=sys.stderr)
        return 1
    except MemoryError:
        print("spa: error: out of memory; nothing was written.", file=sys.stderr)
        return 1
    print(json.dumps(document, indent=1) if args.json else text)
    return 0


def _fail(args: argparse.Namespace, error: SpaError, extra: dict[str, float]) -> int:
    message = " ".join(str(error).split())
    print(f"spa: error: {message}", file=sys.stderr)
    if args.json:
        print(json.dumps({"error": message, "kind": type(error).__name__, **extra}, indent=1))
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
