"""Ways of pruning: SPA's own, and what others wrote, in one registry; see `protocol`."""

from experiments.methods.protocol import (
    METHODS,
    Calibration,
    Job,
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
    "Calibration",
    "Job",
    "Method",
    "Need",
    "NoSettings",
    "Outcome",
    "Scoring",
    "TorchNetwork",
    "method",
    "plain",
]
