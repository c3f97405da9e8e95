"""Ways of pruning: SPA's own, and what others wrote, in one registry; see `protocol`."""

from experiments.methods.protocol import (
    METHODS,
    Array,
    Calibration,
    Given,
    Job,
    Loss,
    Method,
    Need,
    NoSettings,
    Outcome,
    Scoring,
    TorchNetwork,
    method,
    plain,
)

__all__ = [
    "METHODS",
    "Array",
    "Calibration",
    "Given",
    "Job",
    "Loss",
    "Method",
    "Need",
    "NoSettings",
    "Outcome",
    "Scoring",
    "TorchNetwork",
    "method",
    "plain",
]
