"""How close a pruned language model is to the dense one. Arrays in, numbers out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def mean_pooled(hidden: Array, mask: Array) -> Array:
    """Unit sentence vectors from token vectors.

    Args:
        hidden: (N, T, D).
        mask: (N, T), 1 for tokens and 0 for padding.

    Returns:
        (N, D), of length 1 each.
    """
    weights = mask[..., None].astype(hidden.dtype)
    means = (hidden * weights).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def embedding_agreement(dense: Array, pruned: Array) -> dict[str, float]:
    """Compares unit vectors of the same N sentences, each (N, D).

    Returns:
        ``cosine``, the mean over sentences; ``cosine_low``, its 5 % quantile; ``pearson`` and
        ``spearman``, correlations of the cosine similarities of all pairs of sentences.
    """
    from scipy.stats import pearsonr, spearmanr

    cosines = (dense * pruned).sum(axis=1)
    pairs = np.triu_indices(len(dense), 1)
    ours, theirs = (dense @ dense.T)[pairs], (pruned @ pruned.T)[pairs]
    return {
        "cosine": float(cosines.mean()),
        "cosine_low": float(np.quantile(cosines, 0.05)),
        "pearson": float(pearsonr(ours, theirs).statistic),
        "spearman": float(spearmanr(ours, theirs).statistic),
    }


def probe_accuracy(
    train: Array, train_labels: Array, test: Array, test_labels: Array
) -> dict[str, float]:
    """Test accuracy of a logistic regression on frozen embeddings."""
    from sklearn.linear_model import LogisticRegression

    probe = LogisticRegression(max_iter=1000).fit(train, train_labels)
    return {"probe_accuracy": float(probe.score(test, test_labels))}


class NextTokens:
    """Sums what next-token logits say, batch by batch.

    Args:
        dense: the dense model's choices, (batches * N, T - 1); None for the dense model itself.
    """

    def __init__(self, dense: Array | None = None) -> None:
        self._dense = dense
        self._loss, self._right = 0.0, 0
        self._chosen: list[Array] = []

    def add(self, logits: Array, tokens: Array) -> None:
        """logits: (N, T, V); tokens: (N, T). Every token but the first is predicted."""
        scores, targets = logits[:, :-1], tokens[:, 1:, None]
        top = scores.max(axis=-1, keepdims=True)
        total = np.log(np.exp(scores - top).sum(axis=-1, keepdims=True, dtype=np.float64)) + top
        self._loss += float((total - np.take_along_axis(scores, targets, -1)).sum())
        chosen = scores.argmax(axis=-1)
        self._right += int((chosen == targets[..., 0]).sum())
        self._chosen.append(chosen)

    @property
    def chosen(self) -> Array:
        """The most likely next tokens, (batches * N, T - 1)."""
        return np.concatenate(self._chosen)

    def result(self) -> dict[str, float]:
        """``perplexity``, ``accuracy``, and ``agreement`` with the dense model's choices."""
        chosen = self.chosen
        dense = chosen if self._dense is None else self._dense
        return {
            "perplexity": math.exp(self._loss / chosen.size),
            "accuracy": self._right / chosen.size,
            "agreement": float((chosen == dense).mean()),
        }
