"""Options of fine-tuning, and what the command says of it."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

import spa
from spa.errors import SettingError
from spa.training.schedule import KINDS


def add_finetuning(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group(
        "fine-tuning",
        "The smaller model is trained on labelled data before it is written. The proof and the "
        "plan are of the model before that.",
    )
    default = spa.Tuning()
    for name, kind, metavar, text in (
        ("--finetune", str, "DATA.npz", "arrays x (inputs as the model takes them) and y (labels)"),
        ("--finetune-epochs", int, "N", f"how often all data is seen ({default.epochs})"),
        ("--finetune-lr", float, "X", f"AdamW's first rate ({default.lr:g})"),
        ("--finetune-batch", int, "N", f"samples in a step ({default.batch})"),
        ("--finetune-schedule", str, "KIND", f"{', '.join(KINDS)} ({default.schedule})"),
        ("--finetune-milestones", numbers, "N,N", "of multistep: where the rate falls"),
        ("--finetune-gamma", float, "X", f"of multistep: to what share ({default.gamma:g})"),
        ("--finetune-warmup", int, "N", f"epochs in which the rate rises ({default.warmup})"),
        ("--finetune-label-smoothing", float, "S", "share of a label that all classes get (0)"),
        ("--finetune-distill", float, "W", "weight of the dense model's answers in the loss (0)"),
        (
            "--finetune-distill-temperature",
            float,
            "T",
            f"of the scores ({default.distill_temperature:g})",
        ),
        ("--finetune-ema", float, "D", "decay of a running mean of the weights (0: none)"),
    ):
        group.add_argument(name, type=kind, metavar=metavar, help=text)


def tuning_of(args: argparse.Namespace) -> spa.Tuning:
    """How to fine-tune.

    Raises:
        SettingError: a number has no meaning, or there is nothing to fine-tune on.
    """
    named = {f.name: getattr(args, f"finetune_{f.name}") for f in fields(spa.Tuning)}
    given = {name: value for name, value in named.items() if value is not None}
    if given and args.finetune is None:
        option = f"--finetune-{next(iter(given)).replace('_', '-')}"
        raise SettingError(
            f"{option} says how to fine-tune, but not on what; add --finetune DATA.npz."
        )
    return spa.Tuning(**given)


def numbers(text: str) -> tuple[int, ...]:
    """``60,80`` as numbers."""
    return tuple(int(part) for part in text.split(","))


def finetune_document(tuned: spa.Tuned | None) -> dict[str, Any] | None:
    """What came of it, JSON-ready; None where nothing was tuned."""
    if tuned is None:
        return None
    return {
        "epochs": len(tuned.rows),
        "loss": {"first": tuned.rows[0]["loss"], "last": tuned.rows[-1]["loss"]},
        "training_accuracy": {"before": tuned.before, "after": tuned.after},
        "checks": list(tuned.checks),
        "seconds": round(tuned.seconds, 3),
    }


def finetune_lines(tuned: dict[str, Any]) -> list[str]:
    """The same as text."""
    loss, accuracy = tuned["loss"], tuned["training_accuracy"]
    return [
        f"fine-tuned: {tuned['epochs']} epochs, loss {loss['first']:.4g} -> {loss['last']:.4g},"
        f" training accuracy {accuracy['before']:.1%} -> {accuracy['after']:.1%}",
        *tuned["checks"],
    ]
