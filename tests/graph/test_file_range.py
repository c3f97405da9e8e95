"""Weights that lie in a file: whole, and what stays of them."""

import numpy as np
import pytest

from spa.errors import ModelError
from spa.graph import file_range
from spa.graph.deferred import cut_slices
from spa.graph.file_range import FileRange, stamp


@pytest.fixture
def weight(tmp_path):
    array = np.random.default_rng(0).random((37, 6, 5), dtype=np.float32)
    path = tmp_path / "weights"
    path.write_bytes(b"before" + array.tobytes() + b"after")
    return array, FileRange(path, 6, array.dtype, array.shape, stamp(path.stat()))


@pytest.mark.parametrize("block", [1, 500, 10**6])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_a_cut_reads_what_stays(weight, monkeypatch, block, axes):
    array, source = weight
    monkeypatch.setattr(file_range, "BLOCK_BYTES", block)
    rng = np.random.default_rng(1)
    masks = tuple(rng.random(n) < 0.5 if k in axes else None for k, n in enumerate(array.shape))
    assert np.array_equal(source(), array)
    assert np.array_equal(source.cut(masks), cut_slices(array, masks))


def test_a_file_that_became_another_one(weight):
    array, source = weight
    source.path.write_bytes(b"x" * 10)
    for read in (source, lambda: source.cut((np.ones(37, bool), None, None))):
        with pytest.raises(ModelError, match="was changed"):
            read()
