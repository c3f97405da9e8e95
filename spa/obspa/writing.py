"""Text that a language model writes itself, token by token: calibration without data.

Half of the texts begin with one of the first tokens of the table, where vocabularies have the marks
that texts begin with, the others with tokens drawn at random, so that they differ; every text is
drawn at one of `TEMPERATURES`. Any decoder will do whose file takes token ids (N, T) and gives the
next tokens' logits (N, T, V); a mask of ones goes with the ids where the file takes one, and
positions count from 0.
"""

from __future__ import annotations

import numpy as np

from spa.errors import SettingError
from spa.graph.example import Declared
from spa.graph.execute import run_session, session
from spa.graph.model import Array, Model
from spa.observe.data import SEEDS, table_rows
from spa.progress import Progress

TEMPERATURES = (0.7, 1.0, 1.3)
# Tokens of a text where the file leaves it open (it keeps no state, so every token costs a run over
# all before it), texts that are written together, and how many tokens texts begin with.
LENGTH = 64
TOGETHER = 32
MARKS = 3


def write(model: Model, samples: int, seed: int) -> dict[str, Array]:
    """Writes texts.

    Args:
        model: a language model.
        samples: how many texts.
        seed: of whatever is drawn.

    Returns:
        Its inputs by name.

    Raises:
        SettingError: the model is none that writes.
    """
    ids = _ids_of(model)
    output = model.graph.outputs[0]
    shape = model.shapes.get(output, ())
    example = model.example[ids.name].shape
    vocabulary = table_rows(model, ids.name) or 0
    if len(shape) != 3 or shape[:2] != example or shape[2] < vocabulary:
        raise SettingError(
            f'calibration self needs a model that gives logits of every token; output "{output}" '
            f"of shape {shape} is none for ids of {example}. Give text, or ask for noise."
        )
    rng = np.random.default_rng(seed % SEEDS)
    length = (ids.dims[1] if len(ids.dims) > 1 else None) or LENGTH
    fixed = ids.dims[0]
    together = fixed or TOGETHER
    count = -(-samples // together) * together if fixed else samples
    texts = np.empty((count, length), ids.dtype)
    runner = session(model.proto)
    with Progress("Writing texts", total=length * -(-count // together)) as progress:
        for first in range(0, count, together):
            size = min(together, count - first)
            text = np.zeros((size, length), ids.dtype)
            text[:, 0] = rng.integers(0, vocabulary, size)
            text[::2, 0] = np.resize(np.arange(min(MARKS, vocabulary)), len(text[::2]))
            heat = np.resize(TEMPERATURES, size)[:, None]
            for at in range(1, length):
                # What a fixed length asks for besides is behind, and not seen by what is before.
                seen = text if ids.dims[1] is not None else text[:, :at]
                logits = run_session(runner, _feeds(model, ids, seen))[0][:, at - 1]
                text[:, at] = _drawn(logits[:, :vocabulary], heat, rng)
                progress.advance()
            texts[first : first + size] = text
    return _feeds(model, ids, texts)


def _ids_of(model: Model) -> Declared:
    for declared in model.declared:
        if declared.dtype.kind in "iu" and len(declared.dims) == 2 and table_rows(
            model, declared.name
        ):  # fmt: skip
            return declared
    raise SettingError(
        "calibration self needs a language model: an input of token ids (N, T) that index a table, "
        "and this model has none. Give inputs, or ask for bn, noise or uniform."
    )


def _feeds(model: Model, ids: Declared, text: Array) -> dict[str, Array]:
    feeds: dict[str, Array] = {}
    for declared in model.declared:
        if declared.name == ids.name:
            feeds[declared.name] = text
        elif len(declared.dims) == 2 and "position" in declared.name:
            feeds[declared.name] = np.broadcast_to(
                np.arange(text.shape[1]), text.shape
            ).astype(declared.dtype)  # fmt: skip
        elif len(declared.dims) == 2 and "type" in declared.name:
            feeds[declared.name] = np.zeros(text.shape, declared.dtype)
        elif len(declared.dims) == 2:
            feeds[declared.name] = np.ones(text.shape, declared.dtype)
        else:
            raise SettingError(
                f"calibration self knows how to fill token ids, masks and positions, and not input "
                f"{declared.describe()}; export the model without it, or give text."
            )
    return feeds


def _drawn(logits: Array, heat: Array, rng: np.random.Generator) -> Array:
    """One token of every row, by the largest of noisy logits (Gumbel)."""
    noise = rng.gumbel(size=logits.shape)
    return np.asarray((logits / heat + noise).argmax(axis=1))
