"""Tries every bug on every network: ``python -m tests.mutations``.

Writes ``results/bench/mutations.csv``, a line for each bug and network, and returns 1 where the
proof missed one.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

from tests.mutations.networks import NETWORKS
from tests.mutations.trial import ABSENT, MISSED, table

RESULTS = Path(__file__).resolve().parents[2] / "results" / "bench" / "mutations.csv"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    counts: Counter[str] = Counter()
    with given.results.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["where", "bug", "network", "verdict", "said"])
        for where, bug, tried in table():
            for name in NETWORKS:
                outcome = tried(name, bug)
                counts[outcome.verdict] += 1
                if outcome.verdict == MISSED:
                    print(f"missed: {bug} ({name})", file=sys.stderr, flush=True)
                if outcome.verdict != ABSENT:
                    writer.writerow([where, bug, name, outcome.verdict, outcome.said])
    print(", ".join(f"{n} {verdict}" for verdict, n in counts.items()), file=sys.stderr)
    return 1 if counts[MISSED] else 0


if __name__ == "__main__":
    raise SystemExit(main())
