"""The ``spa`` command.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 failed, 2 the target is
out of reach, or the command line is wrong, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import spa
from spa.cli import apply, export, frameworks, inspect, profile, prune, report, verify
from spa.errors import InfeasibleTarget, SpaError
from spa.graph.read import first_line
from spa.showing import MOST_OF_A_MESSAGE, shown
from spa.starting import INTERRUPTED, SAID

# Not the package's docstring: Python leaves these out where it is told to optimise.
ABOUT = "SPA, Structurally Prune Anything: removes whole channels from a network, and proves it."
COMMANDS = (inspect, prune, apply, verify, report, profile, export, frameworks)
TRACEBACK = "SPA_TRACEBACK"  # with this set in the environment, a defect shows its traceback
DEFECT = "this is a defect of SPA"


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = _Parser(prog="spa", description=ABOUT)
    parser.add_argument("--version", action="version", version=f"spa {spa.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    for command in COMMANDS:
        command.register(commands)
    args = parser.parse_args(arguments)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # what libraries warn of tells a user nothing
                warnings.simplefilter("ignore")
            document, text = args.run(args)
    except InfeasibleTarget as error:
        return _fail(args, error, {"asked": error.asked, "reachable": error.reachable})
    except SpaError as error:
        return _fail(args, error, {})
    except KeyboardInterrupt:
        print(SAID, file=sys.stderr)
        return INTERRUPTED
    except MemoryError as error:
        return _fail(args, error, {}, "out of memory; nothing was written.")
    except Exception as error:  # whatever it is, a traceback tells a user nothing
        if os.environ.get(TRACEBACK):
            raise
        return _fail(args, error, {}, _defect(error))
    return 0 if _print(json.dumps(document, indent=1) if args.json else text) else 1


def _fail(
    args: argparse.Namespace, error: Exception, extra: dict[str, float], message: str = ""
) -> int:
    message = shown(message or " ".join(str(error).split()), MOST_OF_A_MESSAGE)
    print(f"spa: error: {message}", file=sys.stderr)
    if args.json:
        _print(json.dumps({"error": message, "kind": type(error).__name__, **extra}, indent=1))
    return error.exit_code if isinstance(error, SpaError) else 1


def _defect(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{DEFECT}: {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}: "
        f"{first_line(error)} Please report it with the model; nothing was written "
        f"({TRACEBACK}=1 shows the traceback)."
    )


def _print(text: str) -> bool:
    """Prints whatever the terminal can show of a text; a reader may have left (``| head``).

    Returns:
        Whether it could be written.
    """
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except OSError as error:
        # What Python flushes as it ends must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return True
        print(f"spa: error: stdout cannot be written: {error.strerror}.", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
