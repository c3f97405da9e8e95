"""ONNX's own test cases for its operators: what the bridge takes, it computes right."""

import re

import numpy as np
import pytest
from onnx.backend.test.case.node import collect_testcases
from oracle import difference, run_torch

from spa.bridge import to_torch
from spa.errors import BridgeError

# Cases left out, each with its reason.
EXCEPTIONS = {
    r"_uint(16|32|64)": "torch has these types but computes nothing with them",
    r"training_dropout": "random, and decided by the module's mode",
    r"bernoulli": "random",
    r"identity_(sequence|opt)": "sequences and optionals are no tensors",
    r"reduce_(max|min)_empty": "torch takes no extremum of nothing",
    r"resize_downsample_scales_(linear|cubic)_align_corners": "ONNX Runtime rounds the size first",
    r"fp16_expanded": "half precision decomposed, rounding differs",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_case_of_every_operator_that_is_taken():
    taken, wrong = 0, []
    for case in collect_testcases(None):
        if any(re.search(pattern, case.name) for pattern in EXCEPTIONS):
            continue
        try:
            net = to_torch(case.model)
        except BridgeError:
            continue
        for inputs, expected in case.data_sets:
            if not all(isinstance(x, (np.ndarray, np.generic)) for x in (*inputs, *expected)):
                continue  # a type of four bits or of a byte that NumPy lacks
            arrays = [np.asarray(x) for x in inputs]
            if not all(np.dtype(a.dtype).char in "?bBhilqefd" for a in (*arrays, *expected)):
                continue
            taken += 1
            try:
                found = run_torch(net, dict(zip(net.input_names, arrays, strict=True)))
                if difference(found, expected[: len(found)]) > 1e-3:
                    wrong.append(case.name)
            except (AssertionError, RuntimeError, TypeError) as error:
                wrong.append(f"{case.name}: {error}")
    assert not wrong
    assert taken > 900
