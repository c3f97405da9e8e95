"""Workers that crash, hang, refuse or chatter, in our own Python."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from spa.errors import FrameworkError
from spa.frameworks import process
from spa.frameworks.environments import Environment

COMMON = Path(process.WORKERS)


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """Writes the worker of a framework called ``toy``, which runs in our own environment."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "common.py").write_text((COMMON / "common.py").read_text())
    monkeypatch.setattr(process, "WORKERS", tmp_path)
    monkeypatch.setattr(process, "required", lambda name: Environment(name, tmp_path))

    def write(body):
        text = f"from common import *\ndef do(orders):\n    {body}\nmain(do)\n"
        (tmp_path / "toy_worker.py").write_text(text)

    return write


def test_arrays_and_values_go_there_and_come_back(worker):
    worker("tell(note=1); orders.send('y', orders.array('x') * orders.spec['by']); return {'a': 2}")
    heard = []
    x = np.arange(6.0).reshape(2, 3)
    reply = process.call("toy", "do", {"by": 3}, {"x": x}, listen=heard.append)
    np.testing.assert_array_equal(reply.arrays["y"], 3 * x)
    assert reply.report == {"a": 2}
    assert heard == [{"note": 1}]


def test_what_else_a_worker_prints_is_no_message(worker):
    worker("print('WARNING: 3 of 4'); print('[1, 2]'); print('7')")
    heard = []
    process.call("toy", "do", {}, listen=heard.append)
    assert heard == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('such and such')", "exit code 1.*such and such"),
        ("raise Refusal('it has no weights')", "exit code 1. Its last lines: it has no weights$"),
        ("os.kill(os.getpid(), 9)", "exit code -9"),
        ("import no_such_framework", "No module named 'no_such_framework'"),
    ],
)
def test_a_worker_that_fails_is_one_error_with_its_last_words(worker, body, words):
    worker(body)
    with pytest.raises(FrameworkError, match=rf"toy's worker \(do\) failed with {words}|{words}"):
        process.call("toy", "do", {})


def test_a_worker_that_falls_silent_is_ended(worker):
    worker("tell(a=1); time.sleep(600)")
    with pytest.raises(FrameworkError, match="said nothing for 1 s and was ended"):
        process.call("toy", "do", {}, patience=1)


def test_a_listener_s_error_ends_the_worker(worker):
    worker("tell(a=1); time.sleep(600)")

    def listen(message):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        process.call("toy", "do", {}, listen=listen)


NET = """
import json
import neighbour, common
def net(size, input_shape):
    return [size, input_shape[0], neighbour.NAME, common.NAME, json.dumps(1)]
def plain(size): return [size]
"""
BUILT = (
    "f = builder(orders.spec['builder']);"
    "return {'net': f(**taken(f, {'size': 1}, input_shape=[2]))}"
)


@pytest.mark.parametrize(
    ("function", "made"), [("net", [1, 2, "neighbour", "theirs", "1"]), ("plain", [1])]
)
def test_a_file_with_the_name_of_a_package_builds(worker, tmp_path, function, made):
    worker(BUILT)
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "json.py").write_text(NET)  # it imports the json that everybody knows
    (folder / "neighbour.py").write_text("NAME = 'neighbour'")
    (folder / "common.py").write_text("NAME = 'theirs'")  # the worker has one too
    spec = {"builder": f"{folder}/json.py:{function}"}
    assert process.call("toy", "do", spec).report == {"net": made}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros(2)}, r'lacks "b/c" and 1 more'),
        ({"a": 1, "b/c": 2, "d": 3, "e": 4}, r'has, and the network does not, "e"'),
        (
            {"a": np.zeros(2), "b/c": np.zeros((3, 1)), "d": 1},
            r'"b/c" has shape \(3, 1\) in .*\(3,\)',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(worker, tmp_path, arrays, words):
    worker("fitting(orders.spec['weights'], {'a': [2], 'b/c': [3], 'd': []})")
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(FrameworkError, match=words):
        process.call("toy", "do", {"weights": str(tmp_path / "w.npz")})
