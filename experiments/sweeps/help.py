"""What ``python -m experiments.run --help`` says: every choice with a line about it."""

from __future__ import annotations

import inspect
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments.data import DATASETS
from experiments.loggers import LOGGERS
from experiments.methods import METHODS, criteria
from experiments.models import MODELS
from experiments.sweeps import choices

ABOUT: Mapping[str, Callable[[str], Any]] = {
    "model": MODELS.get,
    # Of which each has a file.
    "dataset": lambda name: sys.modules[DATASETS.get(name).made_in],
    "method": lambda name: sys.modules[METHODS.get(name).made_in],
    "criterion": criteria.function,
    "logger": LOGGERS.get,
}
# Of models there are as many as files and as torchvision has.
FAMILIES = {
    "model": {
        "onnx/PATH": "a trained network in an ONNX file of yours",
        "torchvision/NAME": "any classifier of torchvision, with fresh weights",
    }
}
LINES = {
    "sweeper": {"grid": "every combination of lists", "optuna": "a search, by optimized_metric"},
    "framework": {
        "pytorch": "the network is PyTorch's",
        "tensorflow": "it is built, trained and exported by Keras",
        "jax": "by Flax",
        "mxnet": "by Gluon",
    },
    "hydra/launcher": {"manifest": "write a job array down, and how to submit it"},
    "logger": {"none": "the files alone"},
    "time": {
        "prune_train": "pruned before it is trained",
        "train_prune_finetune": "trained, pruned and fine-tuned",
        "train_prune": "trained and pruned; nothing after that",
        "iterative": "trained, pruned and trained by turns (time.steps, time.epochs), fine-tuned",
        "scratch": "the pruned shape, trained from fresh weights (time.budget=epochs or flops)",
    },
}
ORDER = (
    *("model", "framework", "dataset", "method", "criterion", "time", "trainer", "experiment"),
    *("sweeper", "hydra/launcher", "logger"),
)


def text(intro: str, conf: Path) -> str:
    """Write the help.

    Args:
        intro: what stands above the choices.
        conf: the folder of the configuration.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    parts = [intro.strip(), _options()]
    for group in ORDER:
        lines = dict(_lines(group, conf))
        indent = max(map(len, lines)) + 4
        body = [_filled(name, line, indent, width) for name, line in lines.items()]
        parts.append("\n".join([f"{group}=", *body]))
    settings = (conf / "config.yaml").read_text().partition("\nseed:")
    parts.append(f"settings, and what they are without you:\n\nseed:{settings[2].rstrip()}")
    parts.append("python -m experiments.run --hydra-help says what Hydra takes besides.")
    return "\n\n".join(parts) + "\n"


def _filled(name: str, line: str, indent: int, width: int) -> str:
    head = f"  {name}".ljust(indent)
    return textwrap.fill(line, width, initial_indent=head, subsequent_indent=" " * indent) or head


def _options() -> str:
    return textwrap.dedent("""\
        options:
          -m                a sweep: settings take lists, as in criterion=l1,l2
          --include PATH    a file or folder of yours that registers criteria, methods, models, data
                            sets, tasks, hooks or scopes; they are choices then
          --cfg job         show what would be run""")


def _lines(group: str, conf: Path) -> Iterator[tuple[str, str]]:
    """Choices of a group, each with a line about it."""
    stored = {path.stem: path for path in (conf / group).glob("*.yaml")}
    told = LINES.get(group, {})
    for name in sorted({*stored, *choices.names(group), *told}):
        if name in told:
            yield name, told[name]
        elif name in choices.names(group) and group in ABOUT:
            yield name, first(inspect.getdoc(ABOUT[group](name)))
        else:
            yield name, _comment(stored[name])
    yield from FAMILIES.get(group, {}).items()


def first(text: str | None) -> str:
    """The first sentence of a docstring, or its first paragraph, on one line."""
    return " ".join((text or "").partition("\n\n")[0].split())


def _comment(path: Path) -> str:
    """What a file of the configuration says of itself in its first comment."""
    lines = [line[1:].strip() for line in path.read_text().splitlines() if line.startswith("#")]
    said = " ".join(line for line in lines if not line.startswith("@package"))
    return said.partition(". ")[0].rstrip(".")
