"""What to reach, on the command line: one target, and what latency is measured on."""

from __future__ import annotations

import argparse
import re

import spa
from spa.errors import SettingError
from spa.latency.machine import Machine

UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
TIMES = {"ms": 1.0, "us": 1e-3, "s": 1e3}


def add_targets(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--rf", type=float, help="dense FLOPs over pruned FLOPs, such as 2")
    target.add_argument("--rp", type=float, help="dense parameters over pruned parameters")
    target.add_argument("--ratio", type=float, help="removed share of the channels, in [0, 1)")
    target.add_argument("--bytes", metavar="SIZE", help="what weights take at most, such as 10MB")
    target.add_argument(
        "--latency", metavar="TIME", help="measured time of one inference, such as 5ms"
    )
    target.add_argument(
        "--latency-ratio", type=float, metavar="X", help="dense over pruned measured latency"
    )
    group = parser.add_argument_group("latency", "What it is measured on, with ONNX Runtime.")
    group.add_argument(
        "--provider", default=Machine.provider, help=f"execution provider ({Machine.provider})"
    )
    group.add_argument(
        "--threads", type=int, default=Machine.threads, help="its threads (1); 0 takes all cores"
    )
    group.add_argument("--batch", type=int, help="samples at once (the example's)")


def target_of(args: argparse.Namespace) -> spa.Target:
    """What the options ask for.

    Raises:
        SettingError: a number has no meaning.
    """
    size = None if args.bytes is None else _amount(args.bytes, "--bytes", UNITS, 1.0)
    time = None if args.latency is None else _amount(args.latency, "--latency", TIMES, None)
    return spa.Target(
        rf=args.rf,
        rp=args.rp,
        ratio=args.ratio,
        bytes=size,
        latency_ms=time,
        latency_ratio=args.latency_ratio,
    )


def machine_of(args: argparse.Namespace) -> Machine:
    """What latency is measured on.

    Raises:
        SettingError: there is no such provider here, or a number has no meaning.
    """
    return Machine(args.provider, args.threads, args.batch)


def _amount(text: str, option: str, units: dict[str, float] | dict[str, int],
            bare: float | None) -> float:  # fmt: skip
    """A number with a unit.

    Args:
        text: such as ``10MB``.
        option: for messages.
        units: by name, what each is.
        bare: what a number without a unit is; None: it needs one.
    """
    found = re.fullmatch(r"\s*([0-9.eE+-]+?)\s*([A-Za-z]*)\s*", text)
    known = {**units, **({"": bare} if bare is not None else {})}
    try:
        number = float(found[1]) if found else float("nan")
        factor = known[found[2].lower()] if found else 1.0
    except (ValueError, KeyError):
        number, factor = float("nan"), 1.0
    if not number > 0:
        raise SettingError(
            f'{option} takes a number above 0 with a unit ({", ".join(units)}); "{text}" was given.'
        )
    return number * factor
