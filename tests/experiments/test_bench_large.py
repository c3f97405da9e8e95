"""The Llama-shaped graph, and what is made of measurements."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from experiments.bench.large import extrapolated, limit_mib, table
from experiments.bench.llama import Shape, write_llama

SMALL = {"width": 32, "heads": 4, "hidden": 48, "vocabulary": 50}


@pytest.mark.parametrize(("kv_heads", "dtype"), [(2, "float32"), (4, "float16")])
def test_a_llama_runs_and_looks_back_only(tmp_path, kv_heads, dtype):
    path = tmp_path / "llama.onnx"
    params = write_llama(path, Shape(layers=2, kv_heads=kv_heads, dtype=dtype, **SMALL))
    width = np.dtype(dtype).itemsize
    norms = 5 * 32
    assert path.with_name("llama.onnx.bin").stat().st_size == width * (params - norms)
    onnx.checker.check_model(path, full_check=True)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    tokens = np.arange(14).reshape(2, 7) % 50
    other = tokens.copy()
    other[:, 5:] += 1
    a, b = (session.run(None, {"tokens": t})[0] for t in (tokens, other))
    assert a.shape == (2, 7, 50)
    np.testing.assert_allclose(a[:, :5], b[:, :5], atol=1e-3)
    assert abs(a[:, 5:] - b[:, 5:]).max() > 0.1
    assert abs(a[:, 1] - a[:, 2]).max() > 0.1
    _, limit = limit_mib(path)
    assert 2048 < limit < 2049


def test_what_all_layers_would_take():
    row = {"command": "prune", "parameters": 10, "weights_mib": 5, "limit_mib": 2050, "how": ""}
    rows = [
        {**row, "layers": n, "seconds": 10 + n, "cpu_seconds": 2.0 * n, "peak_mib": 900}
        for n in (1, 2, 4)
    ]
    (found,) = extrapolated(rows)
    assert (found["layers"], found["seconds"], found["cpu_seconds"]) == (32, 42, 64)
    assert (found["peak_mib"], found["limit_mib"]) == (900, 2050)
    assert len(table([*rows, found]).splitlines()) == 6
