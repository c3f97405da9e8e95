"""Batch norms of Keras as one node each.

Keras computes a norm that is not trained by plain arithmetic, and tf2onnx multiplies its scale into
the kernel before it. A network that is trained on would have lost its norms. So while a model is
traced its norms become TensorFlow's own operator, which the exporter writes as BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf
from tf2onnx.optimizer import back_to_back_optimizer

BACKEND = keras.src.backend.nn


@contextmanager
def norms_as_nodes() -> Iterator[None]:
    """What is traced meanwhile has one operator for a batch norm over pictures."""
    plain = BACKEND.batch_normalization

    def norm(
        x: Any,
        mean: Any,
        variance: Any,
        axis: int,
        offset: Any = None,
        scale: Any = None,
        epsilon: float = 1e-3,
    ) -> Any:
        """x: (N, H, W, C)."""
        # Constants in place of what a norm lacks would be weights that Keras does not have.
        whole = offset is not None and scale is not None
        if not whole or len(x.shape) != 4 or axis not in (-1, 3) or x.dtype != tf.float32:
            return plain(x, mean, variance, axis, offset, scale, epsilon)
        return tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=mean, variance=variance,
            epsilon=epsilon, is_training=False,
        ).y  # fmt: skip

    BACKEND.batch_normalization = norm
    try:
        yield
    finally:
        BACKEND.batch_normalization = plain


def keep_nodes() -> None:
    """Has the exporter leave norms where they are."""
    back_to_back_optimizer._func_map.pop(("Conv", "BatchNormalization"), None)
