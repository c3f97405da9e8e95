"""MXNet: Gluon networks, as ``NAME-symbol.json`` with ``NAME-0000.params`` beside it."""

from __future__ import annotations

from spa.frameworks.worked import WorkedFramework


class MXNet(WorkedFramework):
    """See `spa/frameworks/workers/mxnet_worker.py` for what happens over there."""

    name = "mxnet"
    suffix = "-symbol.json"
