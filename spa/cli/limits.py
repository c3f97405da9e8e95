"""``--scope`` and what else holds whatever the scores say, on the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from spa.errors import SettingError
from spa.importance.options import read
from spa.selection.scope import scopes
from spa.selection.target import Limits

T = TypeVar("T")


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    kinds = "; ".join(f"{each.name}: {each.text}" for each in scopes().values())
    parser.add_argument(
        "--scope",
        default="global",
        choices=tuple(scopes()),
        help=f"which channels are ranked together; all sets of them shrink alike ({kinds})",
    )
    whole, share = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
    glob: dict[str, Any] = {"action": "append", "default": [], "metavar": "GLOB"}
    for name, settings, text in (
        ("--round-to", {**whole, "default": 1}, "kept widths are multiples of N"),
        ("--min-channels", {**whole, "default": 1}, "channels that every group keeps"),
        ("--max-ratio", share, "largest share of a group that may go (0.9; local scope: 1)"),
        ("--floor", {**glob, "metavar": "GLOB=N"},
         "channels that groups with a matching parameter or node keep; repeatable"),
        ("--cap", {**glob, "metavar": "GLOB=X"},
         "largest share of such groups that may go; repeatable"),
        ("--ratio-of", {**glob, "metavar": "GLOB=X"},
         "share that goes of such groups whatever the target; repeatable (with --ratio 0, of these "
         "alone)"),
        ("--include", glob,
         "only groups with a matching parameter or node; repeatable. Everywhere, a GLOB may be "
         "out:GLOB or in:GLOB, groups of the outputs or inputs of such weights, or group:N, the "
         "group of that number (spa inspect)"),
        ("--exclude", glob, "no groups with a matching parameter or node; repeatable"),
        ("--protect-first", {**whole, "default": 0}, "leave the first N groups alone"),
        ("--protect-last", {**whole, "default": 0}, "leave the last N groups alone"),
    ):  # fmt: skip
        parser.add_argument(name, help=text, **settings)


def limits_of(args: argparse.Namespace) -> Limits:
    """What the options say.

    Raises:
        SettingError: a number has no meaning.
    """
    return Limits(
        scope=args.scope,
        round_to=args.round_to,
        min_channels=args.min_channels,
        max_ratio=args.max_ratio,
        include=args.include,
        exclude=args.exclude,
        floors=_numbers(args.floor, "--floor", int, "a whole number"),
        caps=_numbers(args.cap, "--cap", float, "a share"),
        ratios=_numbers(args.ratio_of, "--ratio-of", float, "a share"),
        protect_first=args.protect_first,
        protect_last=args.protect_last,
    )


def _numbers(
    texts: Sequence[str], option: str, number: Callable[[str], T], kind: str
) -> dict[str, T]:
    found = {}
    for glob, value in read(texts, option).items():
        try:
            found[glob] = number(value)
        except ValueError:
            raise SettingError(
                f'{option} {glob} takes {kind} behind the =; "{value}" was given.'
            ) from None
    return found
