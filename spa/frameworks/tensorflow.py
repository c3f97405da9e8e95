"""TensorFlow: Keras networks, as ``NAME.keras``; saved models (folders) are exported too."""

from __future__ import annotations

from spa.frameworks.worked import WorkedFramework


class TensorFlow(WorkedFramework):
    """See `spa/frameworks/workers/tensorflow_worker.py` for what happens over there."""

    name = "tensorflow"
    suffix = ".keras"
