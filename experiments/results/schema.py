"""result.json: every key, with its unit. results/README.md is the long form.

Raise SCHEMA_VERSION when a key is renamed or changes its meaning; adding keys needs nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

SCHEMA_VERSION = 3
# How every method's FLOPs are counted, its own count aside (`spa.graph.cost`).
FLOPS = "1 MAC = 2 FLOPs; of convolutions, matrix products, recurrent cells and attention"


class Pair(TypedDict):
    """A number of the dense and of the pruned network."""

    dense: float
    pruned: float


class Reached(TypedDict):
    """What the plan reached, dense / pruned, at least 1."""

    rf: float
    rp: float


class Metrics(TypedDict, total=False):
    """What the task's metrics measured on the split, by their keys; only stages that exist."""

    dense: dict[str, float]
    pruned: dict[str, float]
    finetuned: dict[str, float]


class Options(TypedDict):
    """The own settings of what was chosen; those that were left at a default of null are not."""

    method: dict[str, Any]
    criterion: dict[str, Any]


class Seen(TypedDict):
    """Data that a method has looked at while it pruned."""

    kind: str  # labelled, noise, calibration or training
    source: str  # train, or how calibration inputs were made: id, ood, bn, noise, uniform
    samples: int


class Width(TypedDict):
    """A group of coupled channels: how many there are of them."""

    name: str  # the parameter that is first in the group, by its name in plan_input's file
    dense: int
    pruned: int


class Seconds(TypedDict):
    """Wall clock of one run, waiting for a shared baseline and what was done before a resume too.

    What is left of the total is the harness's own.
    """

    total: float | None
    dense: float | None  # until the dense baseline was there
    prune: float
    finetune: float
    measure: float | None  # accuracy and latency


class Config(TypedDict, total=False):
    """What the run id is a hash of; these are the parts that something looks at."""

    version: int
    time_options: dict[str, Any]
    criterion_data: str
    trainer: dict[str, Any]


class Part(TypedDict, total=False):
    """A part of a training budget; the rest is `experiments.training.budget.Budget`'s."""

    epochs: int


class Budgets(TypedDict, total=False):
    """How long and how a run of that trainer trains, whether it does or not."""

    name: str
    train: Part
    finetune: Part


class Trained(TypedDict, total=False):
    """One training that the run had."""

    epochs: int
    seconds: float
    processes: int


class Training(TypedDict, total=False):
    """The trainings of a run, by stage, and the budget that they had."""

    dense: Trained
    prune: Trained
    finetune: Trained
    budget: Budgets


class Hardware(TypedDict):
    """What a run was timed on."""

    cpu: str
    cores: int | None
    gpu: str | None


class Code(TypedDict):
    """What a run was made with."""

    version: str | None
    commit: str | None
    dirty: bool | None


class _Always(TypedDict):
    """What every finished run has."""

    schema_version: int
    checksum: str  # sha256 of everything else; see `checksum`
    run_id: str
    experiment: str
    # As typed.
    model: str
    framework: str
    dataset: str
    task: str  # of the data set; says what metrics there are
    split: str  # what was measured on: test, or validation, which settings are chosen by
    method: str
    criterion: str | None  # None: the method takes none
    time: str
    trainer: str
    seed: int
    # Asked: exactly one of rf, rp, ratio; settings as given, None = the default.
    asked: dict[str, float]
    scope: str | None  # None: the method plans otherwise, as for what follows
    aggregate: str | None
    normalize: str | None
    calibration: str | None  # None: the method takes none
    bn_refresh: bool | str | None
    options: Options
    # Measured.
    reached: Reached
    metrics: Metrics
    params: Pair
    macs: Pair  # of one sample; FLOPs = 2 x MACs
    prune_seconds: float  # scoring, planning, reconstruction, surgery and proof
    latency_ms: Pair  # median of one batch, ONNX Runtime, CPU
    latency: dict[str, int]  # batch, threads, warmup, repeats
    widths: list[Width]
    seen: list[Seen] | None  # None: not recorded
    seconds: Seconds
    # Provenance.
    config: Config
    flops: str  # the convention by which FLOPs are counted
    data_sha256: str | None  # of the data set's samples; None: not recorded
    dense_sha256: str  # of dense.onnx
    plan_input: dict[str, str]  # file and sha256 of what plan.json applies to; weights: see README
    proof: list[Any]
    scores: str | None  # OBSPA: static or renewed; None elsewhere
    details: dict[str, Any]  # what else the method says about itself
    training: Training
    hardware: Hardware
    code: Code
    started: str | None  # UTC, ISO 8601; of the first try that was gone on with
    finished: str


class Result(_Always, total=False):
    """One finished run."""

    # The same metrics on what was held out of the training data, where the data set holds out
    # something and the split is the test set: settings are chosen by these, and never by those.
    validation: Metrics


class Status(TypedDict):
    """How a run stands: what status.json says of one that has no result."""

    state: Literal["running", "done", "failed", "interrupted"]
    run_id: str
    seed: int
    model: str
    framework: str
    dataset: str
    method: str
    criterion: str | None
    time: str
    trainer: str
    asked: dict[str, float]
    calibration: str | None


REQUIRED = tuple(_Always.__annotations__)


def checksum(result: Mapping[str, Any]) -> str:
    """Hash a result without its own checksum, whatever the order of its keys."""
    content = {key: value for key, value in result.items() if key != "checksum"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def by_stage(result: Result) -> Mapping[str, Mapping[str, float]]:
    """What the task's metrics measured, by stage; only stages that exist."""
    return cast(Mapping[str, Mapping[str, float]], result["metrics"])
