"""How the runs stand: ``python -m experiments.status [EXPERIMENT] [--json]``.

state        what it means
done         finished; its result is whole
running      a process works on it, and showed so lately
failed       it ended with an error; launching again runs it again
interrupted  it was ended from outside, or its process is gone; the next try goes on with it
torn         it says done, but its result is torn or was edited; it is run again
waiting      launched, and not begun yet

Below the table are the commands that run again what failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.sweeps.survey import document, names, survey, text
from spa.errors import SpaError


def main(argv: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", nargs="?", help="one experiment; all when not given")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--json", action="store_true", help="a JSON object on stdout")
    args = parser.parse_args(argv)
    try:
        states = [s for name in names(args.results, args.experiment)
                  for s in survey(args.results, name)]  # fmt: skip
    except SpaError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(document(states), indent=2) if args.json else text(states))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
