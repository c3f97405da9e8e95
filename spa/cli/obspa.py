"""``spa prune --method obspa``: what stays is refitted, without training."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import spa
from spa.cli.options import read_data
from spa.errors import SettingError
from spa.graph.model import Array, Model
from spa.graph.read import first_line
from spa.obspa.calibration import SOURCES, Source
from spa.obspa.settings import BATCH_NORMS, DAMPINGS, TARGETS, Settings
from spa.selection.target import Limits, Target

METHODS = ("spa", "obspa")
SAMPLES = 256
# Options of the other method, by what they are when nobody gives them.
_NOT_HERE: dict[str, Any] = {
    "aggregate": None, "attention": "heads", "data": None, "keep_class": False, "loss": None,
    "option": [],
}  # fmt: skip
_ONLY_HERE = {
    "calibration": None, "samples": None, "memory": None, "device": None, "targets_of_refit": None,
    "damping": None, "batch_norms": None, "no_intercept": False, "shares": None, "swaps": None,
    "greedy": False,
    "no_refit": False,
}  # fmt: skip


def add_obspa(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="spa",
        help="spa cuts and leaves all other weights alone; obspa also refits what stays by least "
        "squares, without training",
    )
    group = parser.add_argument_group("with --method obspa")
    whole = {"type": int, "metavar": "N"}
    for name, settings, text in (
        (
            "--calibration",
            {"metavar": "DIR|FILE.npz|KIND"},
            "what layers are refitted on: an .npz file with x (or arrays by input name), a folder "
            "of .npy files with a sample or a batch each, or without data one of "
            f"{', '.join(SOURCES)} (bn: inputs made from batch norms' statistics, the default; "
            "self: text that a language model writes)",
        ),
        ("--samples", whole, f"so many of them ({SAMPLES})"),
        (
            "--memory",
            {"type": float, "metavar": "GiB"},
            "what activations and batches may take (a quarter of what is free)",
        ),
        ("--device", {"metavar": "NAME"}, "where to compute, as torch names it (cpu; cuda)"),
        (
            "--refit-to",
            {"choices": TARGETS, "dest": "targets_of_refit"},
            "whose outputs refitted layers should give (by the kind of network)",
        ),
        (
            "--damping",
            {"metavar": "X"},
            f"ridge, as a share of the mean diagonal, or {' or '.join(DAMPINGS)}",
        ),
        ("--batch-norms", {"choices": BATCH_NORMS}, "what becomes of their statistics (keep)"),
        ("--shares", {"metavar": "CRITERION"}, "what says how much every group loses"),
        ("--swaps", whole, "rounds of a local search after the selection (0)"),
    ):
        group.add_argument(name, help=text, **settings)
    group.add_argument(
        "--greedy", action="store_true", help="choose within groups by exact losses, part by part"
    )
    group.add_argument("--no-intercept", action="store_true", help="leave biases alone")
    group.add_argument("--no-refit", action="store_true", help="cut, and treat batch norms, only")


def check_method(args: argparse.Namespace) -> None:
    """Finds out whether options and method fit each other.

    Raises:
        SettingError: an option of the other method was given.
    """
    others = _ONLY_HERE if args.method == "spa" else _NOT_HERE
    for name, nothing in others.items():
        if getattr(args, name, nothing) != nothing:
            option = "--refit-to" if name == "targets_of_refit" else f"--{name.replace('_', '-')}"
            other = "obspa" if args.method == "spa" else "spa"
            raise SettingError(f"{option} goes with --method {other}; leave it out.")


def settings_of(args: argparse.Namespace) -> Settings:
    """What the options say.

    Raises:
        SettingError: a value has no meaning.
    """
    given = {
        "selection": args.criterion, "normalize": args.normalize, "shares": args.shares,
        "target_outputs": args.targets_of_refit, "damping": _damping(args.damping),
        "batch_norms": args.batch_norms, "swaps": args.swaps, "samples": args.samples or SAMPLES,
        "memory": args.memory, "device": args.device,
    }  # fmt: skip
    known = {name: value for name, value in given.items() if value is not None}
    return Settings(
        **known, greedy=args.greedy, intercept=not args.no_intercept, refit=not args.no_refit,
        rounds=args.steps, seed=args.seed,
    )  # fmt: skip


def prune(
    args: argparse.Namespace,
    model: Model,
    settings: Settings,
    calibration: Source,
    target: Target,
    limits: Limits,
) -> spa.Pruned:
    """Prunes by OBSPA, as the options say."""
    import spa.obspa

    return spa.obspa.prune(
        model, target=target, limits=limits, calibration=calibration, settings=settings,
        best_effort=args.best_effort, verify=not args.no_verify,
    )  # fmt: skip


def read_calibration(text: str | None, samples: int, model: Model) -> Source:
    """Inputs of a file or of a folder; a data-free kind by its name.

    Raises:
        SettingError: it cannot be read, or holds something else than numbers.
    """
    if text is None or text in SOURCES:
        return text or "bn"
    path = Path(text)
    if path.is_dir():
        return _of_folder(path, samples, model)
    if not path.exists():
        raise SettingError(
            f"--calibration {text} is neither a file nor a folder, nor one of {', '.join(SOURCES)}."
        )
    found = read_data("--calibration", text)
    inputs = found[0] if isinstance(found, tuple) else found
    assert isinstance(inputs, (np.ndarray, Mapping))
    return inputs


def line(details: Mapping[str, Any]) -> str:
    """Says what was refitted, and on what."""
    used, asked = details["calibration_used"], details["calibration"]
    source = "the given inputs" if used == "data" else used
    return (
        f"{details['layers_refitted']} layers refitted ({details['intercepts']} with their bias) "
        f"on {details['samples']:,} samples of {source}"
        f"{'' if asked == used else f' in place of {asked}'}, to "
        f"{details['target_outputs']} outputs; as a {details['family']} network"
    )


def _of_folder(path: Path, samples: int, model: Model) -> Array:
    files = sorted(path.glob("*.npy"))
    if not files:
        raise SettingError(
            f"--calibration {path} holds no .npy files. Save inputs as the network takes them "
            "(numpy.save, one sample or one batch a file): how pictures are scaled, only the "
            "network's author knows."
        )
    arrays = []
    for file in islice(files, samples):
        try:
            arrays.append(np.load(file, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise SettingError(f"--calibration {file} cannot be read: {first_line(error)}") from (
                error
            )
    rank = len(model.declared[0].dims) if model.declared else 0
    # A sample by itself lacks the axis of samples.
    batches = [array[None] if array.ndim == rank - 1 else array for array in arrays]
    shapes = {array.shape for array in arrays}
    if any(array.dtype.kind not in "fiub" for array in arrays) or len(
        {array.shape[1:] for array in batches}
    ) > 1:  # fmt: skip
        raise SettingError(
            f"--calibration {path}: files must hold numbers and agree in shape; there are shapes "
            f"{', '.join(map(str, sorted(shapes)))}."
        )
    return np.concatenate(batches)


def _damping(text: str | None) -> float | str | None:
    if text is None or text in DAMPINGS:
        return text
    try:
        return float(text)
    except ValueError:
        raise SettingError(
            f"--damping must be a number or {' or '.join(DAMPINGS)}; {text} was given."
        ) from None
